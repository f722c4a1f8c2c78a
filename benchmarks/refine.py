"""Frames refined in a second of one core's time.

    OMP_NUM_THREADS=1 python benchmarks/refine.py [--frames 200] [--soft-time '2 ps'] [--friction 5/ps]

Frames are RDKit conformers with 0.08 angstrom of noise on each coordinate, about what a good model leaves. Time is the
process's CPU time, so that a busy machine does not count; building a molecule's system, once, is left out. The last
line is one JSON object: ``frames_per_second`` (all molecules together; goal: 200 for molecules of up to 9 heavy
atoms), the same of each molecule, and the share of frames that were refined.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time

import numpy as np
import openmm
from rdkit import Chem
from rdkit.Chem import AllChem

from egi import seeds
from egi.chem.conformers import sample_conformers
from egi.chem.molecules import parse_smiles, record_of
from egi.config import SimulationSettings
from egi.md.refine import Refiner
from egi.md.refinement_settings import RefinementSettings

MOLECULES = ("CCC[C@@H](O)CC#N", "OC[C@H]1CC[C@@H](O)C1", "CCOC(=O)C[C@H](C)O", "Cc1ccc(CN)o1", "CCCCCCCCC")
_NOISE_ANGSTROM = 0.08
log = logging.getLogger("benchmark")


def refined(smiles: str, count: int, settings: RefinementSettings) -> tuple[float, float]:
    """CPU seconds of `count` frames of a molecule, and the share that came out refined."""
    mol = sample_conformers(parse_smiles(smiles), 20, 1)[0]
    AllChem.ComputeGasteigerCharges(mol)
    charges = np.array([atom.GetDoubleProp("_GasteigerCharge") for atom in mol.GetAtoms()])
    record = record_of(mol, "m")
    refiner = Refiner(record, charges - charges.mean(), SimulationSettings(), settings)
    conformers = np.stack([c.GetPositions() for c in mol.GetConformers()])[:, record.modelled]
    frames = np.resize(conformers, (count, *conformers.shape[1:]))
    frames = frames + seeds.stream(0, smiles).normal(0, _NOISE_ANGSTROM, frames.shape)
    started = time.process_time()
    found = refiner.refine(frames, list(range(count)))
    seconds, ok = time.process_time() - started, float((found.status == 0).mean())
    log.info("%-24s %2d heavy atoms, %2d atoms: %.0f frames a second, %.0f%% refined", smiles,
             Chem.RemoveHs(mol).GetNumAtoms(), mol.GetNumAtoms(), count / seconds, 100 * ok)  # fmt: skip
    return seconds, ok


def main() -> None:
    """Time every molecule and print the JSON line."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--frames", type=int, default=200, help="of each molecule")
    for flag in ("soft_time", "friction"):
        default = RefinementSettings().plain()[flag]
        made.add_argument(f"--{flag.replace('_', '-')}", default=default, help=f"of refinement ({default})")
    args = made.parse_args()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")
    settings = RefinementSettings.model_validate({"soft_time": args.soft_time, "friction": args.friction})
    runs = {smiles: refined(smiles, args.frames, settings) for smiles in MOLECULES}
    result = {
        "frames_per_second": round(len(runs) * args.frames / sum(seconds for seconds, _ in runs.values()), 1),
        "each": {smiles: round(args.frames / seconds, 1) for smiles, (seconds, _) in runs.items()},
        "refined": round(float(np.mean([ok for _, ok in runs.values()])), 4),
        "openmm": openmm.version.version,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
