"""Null models: what a trajectory generator must beat. Drawn as often as the generated frames.

``etkdg``: independent RDKit conformers, no learning, no dynamics. ``shuffled_md``: the reference's own frames
in random order, the right populations without dynamics.
"""

from __future__ import annotations

import numpy as np
from rdkit import Chem
from rdkit.Chem import rdDistGeom

from egi.data.storage import MoleculeRecord
from egi.metrics.ensembles import Ensemble
from egi.metrics.scores import Unscorable

METHODS = ("etkdg", "shuffled_md")
_TIMEOUT_SECONDS = 60


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
        Largest number that is drawn; a note says so.

    Raises
    ------
    Unscorable
        If RDKit finds no conformer.
    """
    parameters = rdDistGeom.ETKDGv3()
    parameters.randomSeed, parameters.numThreads, parameters.clearConfs = seed, 1, True
    parameters.timeout = _TIMEOUT_SECONDS
    mol = Chem.Mol(record.mol)
    Chem.SanitizeMol(mol)
    made = list(rdDistGeom.EmbedMultipleConfs(mol, min(frames, most), parameters))
    if not made:
        raise Unscorable("failed", "RDKit's ETKDGv3 finds no conformer")
    positions = np.stack([mol.GetConformer(i).GetPositions() for i in made])[:, record.modelled]
    note = "" if len(made) == frames else f"{len(made)} conformers where {frames} frames were generated"
    return Ensemble("etkdg", [positions.astype(np.float32)], note=note)


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
