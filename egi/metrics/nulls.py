"""Null models: what a trajectory generator must beat. Drawn as often as the generated frames.

``etkdg``: independent RDKit conformers, no learning, no dynamics. ``shuffled_md``: the reference's own frames
in random order, the right populations without dynamics.
"""

from __future__ import annotations

import time

import numpy as np
from rdkit import Chem
from rdkit.Chem import rdDistGeom

from egi.data.storage import MoleculeRecord
from egi.metrics.ensembles import Ensemble
from egi.metrics.scores import Unscorable

METHODS = ("etkdg", "shuffled_md")
_TIMEOUT_SECONDS = 60
_BATCH = 50


def etkdg(record: MoleculeRecord, frames: int, seed: int, most: int = 1000) -> Ensemble:
    """Independent ETKDGv3 conformers as a trajectory of unrelated frames.

    Parameters
    ----------
    record : MoleculeRecord
    frames : int
        Wanted number.
    seed : int
        31 bits.
    most : int
        Largest number that is drawn; a note says so. Drawing stops after a minute, too.

    Raises
    ------
    Unscorable
        If RDKit finds no conformer.
    """
    mol = Chem.Mol(record.mol)
    Chem.SanitizeMol(mol)
    positions = _embedded(mol, min(frames, most), np.random.default_rng(seed))[:, record.modelled]
    note = "" if len(positions) == frames else f"{len(positions)} conformers where {frames} frames were generated"
    return Ensemble("etkdg", [positions.astype(np.float32)], note=note)


def _embedded(mol: Chem.Mol, wanted: int, rng: np.random.Generator) -> np.ndarray:
    """Positions [conformers, atoms, 3], in batches: RDKit gives up all conformers of a call that runs out of time."""
    parameters = rdDistGeom.ETKDGv3()
    parameters.numThreads, parameters.clearConfs = 1, True
    parts, left, end = [], wanted, time.monotonic() + _TIMEOUT_SECONDS
    while left > 0 and time.monotonic() < end:
        parameters.randomSeed = int(rng.integers(2**31 - 1))
        parameters.timeout = max(1, round(end - time.monotonic()))
        made = [i for i in rdDistGeom.EmbedMultipleConfs(mol, min(left, _BATCH), parameters) if i >= 0]
        if not made:
            break
        parts += [mol.GetConformer(i).GetPositions() for i in made]
        left -= min(left, _BATCH)
    if not parts:
        raise Unscorable("failed", "RDKit's ETKDGv3 finds no conformer")
    return np.stack(parts)


def shuffled(reference: Ensemble, frames: int, rng: np.random.Generator) -> Ensemble:
    """Frames of the reference in random order; without repetition where there are enough.

    Parameters
    ----------
    reference : Ensemble
    frames : int
    rng : numpy Generator
    """
    pooled = np.concatenate(reference.trajectories)
    chosen = rng.choice(len(pooled), frames, replace=frames > len(pooled))
    return Ensemble("shuffled_md", [pooled[chosen]])
