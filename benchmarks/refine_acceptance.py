"""Refined frames of molecules of the embedded sets against gas-phase MD: bonds, angles, torsions, energies.

    OMP_NUM_THREADS=1 python benchmarks/refine_acceptance.py [--frames 500] [--names cenobamate doripenem …]
        [--soft-time '1 ps'] [--friction 5/ps]

Five runs of gas-phase MD a molecule with the force field of refinement (NAGL charges): four are the reference, the
fifth the oracle. What is refined stands in for generated frames: ``noisy`` are the oracle's frames with 0.1 angstrom of
noise on each coordinate and every other one reflected; ``twisted`` are noisy ones whose single bonds outside rings were
first turned by 30 degrees (standard deviation), about what a network of little training leaves; ``etkdg`` are RDKit's
conformers. The log is a table: raw / refined JSD, in brackets the ratio to the oracle with as many frames; the overlap
of energies with the reference's; and by how much the median energy is above the reference's, in kJ/mol, in brackets
the part that is left when refined frames and MD frames are minimised: the wells, which refinement leaves. The last
line is one JSON object: by kind of frames the mean and the largest ratio over molecules for bonds and angles (goal:
1.3), the least and the mean overlap (goal: 0.8), means of the two energies, the least share of torsions within 30
degrees of the generated ones at the end of the stiff restraint (goal: 0.95), the mean change of the torsions' JSD, and
the share of frames refined. ``oracle`` is what sampling alone does: each of the five runs against the other four, over
the mean of these five.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
from pathlib import Path

import numpy as np
import openmm
import pandas as pd
from rdkit import Chem
from rdkit.Chem import rdMolTransforms

from egi import seeds
from egi.chem.conformers import sample_conformers
from egi.chem.molecules import parse_smiles, record_of
from egi.config import SimulationSettings
from egi.md.charges import molecule_charges
from egi.md.common import NM_PER_ANGSTROM
from egi.md.refine import Refined, Refiner
from egi.md.refinement_settings import RefinementSettings
from egi.metrics import energetics, nulls
from egi.metrics.distributions import compare
from egi.metrics.ensembles import Ensemble, Measures, Observed, measures_of, observe

#: names in the two sets of molecules below config/
MOLECULES = {
    "qm9": ("pentan-2-ol", "hexan-3-ol", "(2e)-hex-2-enal", "1-butoxy-2-propanol"),
    "drugs": ("valproic acid", "dimethyl fumarate", "methyl aminolevulinate", "phenylephrine", "citric acid"),
}
RUNS, INTERVAL_STEPS, SETTLING_STEPS, NOISE_ANGSTROM, TWIST = 5, 600, 5000, 0.1, np.pi / 6
#: frames of an ensemble that are minimised
MINIMISED = 100
KINDS = ("bond_length", "bond_angle", "torsion")
log = logging.getLogger("benchmark")


def molecules(names: list[str]) -> dict[str, str]:
    """SMILES by name; of those of `MOLECULES` if no names are given."""
    folder = Path(__file__).parents[1] / "config" / "molecules"
    known = {name: pd.read_csv(folder / f"{name}.csv").set_index("name")["smiles"] for name in MOLECULES}
    if names:
        every = pd.concat(known.values())
        return {name: every[~every.index.duplicated()][name] for name in names}
    return {name: known[origin][name] for origin, own in MOLECULES.items() for name in own}


def prepared(name: str, smiles: str, settings: RefinementSettings) -> tuple[Refiner, np.ndarray]:
    """A molecule's refiner, and a start conformer (N, 3) for each run."""
    mol = sample_conformers(parse_smiles(smiles), RUNS, 1)[0]
    simulation = SimulationSettings(charges="nagl")
    with tempfile.TemporaryDirectory() as folder:
        charges = molecule_charges(mol, name, simulation, 0, Path(folder, "charges.json"))
    starts = np.stack([conformer.GetPositions() for conformer in mol.GetConformers()])
    return Refiner(record_of(mol, name), charges, simulation, settings), np.resize(starts, (RUNS, *starts.shape[1:]))


def simulated(refiner: Refiner, start: np.ndarray, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """All-atom frames (T, N, 3), 2.4 ps apart, of unrestrained MD, and their energies (T,)."""
    integrator = openmm.LangevinMiddleIntegrator(refiner.temperature, 1.0, 0.004)
    integrator.setRandomNumberSeed(seed)
    platform = openmm.Platform.getPlatformByName("Reference")
    system = openmm.XmlSerializer.clone(refiner._system)
    system.removeForce(system.getNumForces() - 1)  # the restraint
    context = openmm.Context(system, integrator, platform)
    context.setPositions(start * NM_PER_ANGSTROM)
    openmm.LocalEnergyMinimizer.minimize(context, 10, 200)
    context.setVelocitiesToTemperature(refiner.temperature, seed)
    integrator.step(SETTLING_STEPS)
    frames, energies = [], []
    for _ in range(count):
        integrator.step(INTERVAL_STEPS)
        state = context.getState(positions=True, energy=True)
        frames.append(state.getPositions(asNumpy=True)._value / NM_PER_ANGSTROM)
        energies.append(state.getPotentialEnergy()._value)
    return np.array(frames), np.array(energies)


def minimised(refiner: Refiner, frames: np.ndarray) -> float:
    """Median energy of some of the all-atom frames (T, N, 3), minimised without restraint."""
    system = openmm.XmlSerializer.clone(refiner._system)
    system.removeForce(system.getNumForces() - 1)
    integrator, platform = openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference")
    integrator.setConstraintTolerance(1e-3)  # the minimiser is slow with a tight one
    context = openmm.Context(system, integrator, platform)
    found = []
    for positions in energetics.evenly(frames, MINIMISED):
        context.setPositions(positions * NM_PER_ANGSTROM)
        openmm.LocalEnergyMinimizer.minimize(context, 5, 500)
        found.append(context.getState(energy=True).getPotentialEnergy()._value)
    return float(np.median(found))


def twisted(refiner: Refiner, frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """All-atom frames (T, N, 3) with each single bond outside rings that has a torsion turned at random."""
    mol = Chem.Mol(refiner.record.mol)
    bonds = {tuple(t): mol.GetBondBetweenAtoms(*t[1:3]) for t in refiner.record.modelled[refiner.torsions].tolist()}
    free = [t for t, bond in bonds.items() if bond.GetBondType() == Chem.BondType.SINGLE and not bond.IsInRing()]
    made = []
    for positions in frames:
        conformer = Chem.Conformer(mol.GetNumAtoms())
        conformer.SetPositions(np.ascontiguousarray(positions))
        mol.RemoveAllConformers()
        mol.AddConformer(conformer)
        for torsion in free:
            angle = rdMolTransforms.GetDihedralRad(mol.GetConformer(), *torsion)
            rdMolTransforms.SetDihedralRad(mol.GetConformer(), *torsion, angle + rng.normal(0, TWIST))
        made.append(mol.GetConformer().GetPositions())
    return np.array(made)


def seen(frames: np.ndarray, measures: Measures) -> Observed:
    """Bonds, angles and torsions of frames (T, n, 3)."""
    return observe(Ensemble("", [frames]), measures)


def distances(reference: Observed, other: Observed) -> np.ndarray:
    """JSD of bonds, angles, torsions."""
    return np.array([compare(getattr(reference, k), getattr(other, k), k).distance.mean() for k in KINDS])


def row(raw: np.ndarray, found: Refined, oracle: np.ndarray, reference: Observed, context: tuple) -> dict[str, float]:
    """Numbers of one kind of frames of one molecule."""
    measures, refiner, energies, well = context
    modelled = refiner.record.modelled
    ok = found.status == 0
    before, after = (distances(reference, seen(x, measures)) for x in (raw, found.all_atoms[ok][:, modelled]))
    return {
        **{f"{k}_raw": b for k, b in zip(KINDS, before, strict=True)},
        **{f"{k}_refined": a for k, a in zip(KINDS, after, strict=True)},
        **{f"{k}_ratio": a / o for k, a, o in zip(KINDS, after, oracle, strict=True)},
        "overlap": energetics.overlap(energies, found.energy_after[ok]),
        "above": float(np.median(found.energy_after[ok]) - np.median(energies)),
        "wells": minimised(refiner, found.all_atoms[ok]) - well,
        "kept_stiff": float(found.kept_stiff[ok].mean()), "refined": float(ok.mean()),
    }  # fmt: skip


def measured(name: str, smiles: str, count: int, settings: RefinementSettings) -> list[dict[str, object]]:
    """Rows of one molecule: the oracle, noisy frames, ETKDG conformers."""
    refiner, starts = prepared(name, smiles, settings)
    record, modelled = refiner.record, refiner.record.modelled
    measures = measures_of(record)
    runs = [simulated(refiner, start, count, k + 1) for k, start in enumerate(starts)]
    frames = [positions[:, modelled] for positions, _ in runs]
    every = [distances(seen(np.concatenate(frames[:k] + frames[k + 1 :]), measures), seen(frames[k], measures))
             for k in range(RUNS)]  # fmt: skip
    energies, oracle = np.concatenate([e for _, e in runs[:-1]]), every[-1]
    reference = seen(np.concatenate(frames[:-1]), measures)
    well = minimised(refiner, np.concatenate([positions for positions, _ in runs[:-1]]))
    rng = seeds.stream(0, name)
    moved = {"noisy": frames[-1], "twisted": twisted(refiner, runs[-1][0], rng)[:, modelled]}
    kinds = {kind: x + rng.normal(0, NOISE_ANGSTROM, x.shape) for kind, x in moved.items()}
    for noisy in kinds.values():
        noisy[::2, :, 0] *= -1
    kinds |= {"etkdg": nulls.etkdg(record, count, 1, most=count).trajectories[0].astype(float)}
    ratios = np.array(every) / np.mean(every, axis=0)
    rows: list[dict[str, object]] = [
        {"molecule": name, "frames": "oracle", **{f"{k}_refined": v for k, v in zip(KINDS, own, strict=True)},
         **{f"{k}_ratio": v for k, v in zip(KINDS, ratio, strict=True)},
         "overlap": energetics.overlap(energies, runs[-1][1])}
        for own, ratio in zip(every, ratios, strict=True)
    ]  # fmt: skip
    for kind, raw in kinds.items():
        found = refiner.refine(raw, [seeds.integer(0, name, kind, frame) for frame in range(len(raw))])
        context = measures, refiner, energies, well
        rows.append({"molecule": name, "frames": kind, **row(raw, found, oracle, reference, context)})
    for made in rows[RUNS - 1 :]:
        parts = [f"{made.get(f'{k}_raw', np.nan):.3f} / {made[f'{k}_refined']:.3f} ({made[f'{k}_ratio']:.2f})"
                 for k in KINDS]  # fmt: skip
        log.info("%-22s %-7s %s  overlap %.2f  above %.1f (%.1f)", name, made["frames"], "  ".join(parts),
                 made["overlap"], made.get("above", np.nan), made.get("wells", np.nan))  # fmt: skip
    return rows


def summary(rows: pd.DataFrame) -> dict[str, dict[str, float]]:
    """The numbers of the JSON line, by kind of frames."""
    made: dict[str, dict[str, float]] = {}
    for kind, own in rows.groupby("frames"):
        made[str(kind)] = {
            **{f"{k}_ratio_{how}": getattr(own[f"{k}_ratio"], how)() for k in KINDS[:2] for how in ("mean", "max")},
            "overlap_min": own["overlap"].min(), "overlap_mean": own["overlap"].mean(),
        }  # fmt: skip
        if kind != "oracle":
            change = (own["torsion_refined"] - own["torsion_raw"]).mean()
            made[str(kind)] |= {
                "above_mean": own["above"].mean(),
                "wells_mean": own["wells"].mean(),
                "torsions_kept_stiff_min": own["kept_stiff"].min(),
                "torsion_change": change,
                "refined": own["refined"].mean(),
            }
    return {kind: {name: round(float(value), 4) for name, value in own.items()} for kind, own in made.items()}


def main() -> None:
    """Measure every molecule and print the JSON line."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--frames", type=int, default=500, help="of each run and of each kind")
    made.add_argument("--names", nargs="+", default=[], help="molecules of config/molecules/*.csv, instead")
    for flag in ("soft_time", "friction"):
        default = RefinementSettings().plain()[flag]
        made.add_argument(f"--{flag.replace('_', '-')}", default=default, help=f"of refinement ({default})")
    args = made.parse_args()
    settings = RefinementSettings.model_validate({"soft_time": args.soft_time, "friction": args.friction})
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(message)s")
    log.setLevel(logging.INFO)
    rows = [
        row for name, smiles in molecules(args.names).items() for row in measured(name, smiles, args.frames, settings)
    ]
    table = pd.DataFrame(rows)
    print(json.dumps({"molecules": table["molecule"].nunique(), "frames": args.frames, **summary(table)}))


if __name__ == "__main__":
    main()
