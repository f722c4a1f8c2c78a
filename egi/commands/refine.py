"""Turn frames of a molecule, heavy atoms or all, into all-atom frames that obey the force field.

Each frame gets new hydrogens (polar ones where the force field has them), is minimised with its torsions restrained,
and gets 0.6 ps of Langevin dynamics in the gas phase. Frames that cannot be refined are left out of the trajectory and
stand with their reason in the table. Populations, rates and the order of the frames stay what they were.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
from pathlib import Path

import numpy as np
import pandas as pd

from egi import seeds
from egi.cli import UserError
from egi.commands.evaluate import interval_of, read_frames, read_molecule
from egi.config import SimulationSettings
from egi.data.storage import MoleculeRecord, atomic, package_versions
from egi.md.refinement_settings import RefinementSettings

HELP = "all-atom frames that obey the force field, from heavy-atom or all-atom frames"
log = logging.getLogger("egi.refine")


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Flags of the subcommand; times and restraints with a unit, as in a configuration."""
    plain = RefinementSettings().plain()
    kinds = ".xtc, .dcd, .pdb; .npy in angstrom, [frames, atoms, 3]"
    parser.add_argument("--input", type=Path, required=True, metavar="FILE", help=f"frames ({kinds})")
    parser.add_argument("--topology", type=Path, required=True, help="the molecule (SDF), atoms in the file's order")
    parser.add_argument("--interval-ps", type=float, default=None, help="time between frames; as in the file, else 1")
    parser.add_argument("--charges", choices=("am1bcc", "nagl"), default="am1bcc", help="how charges are computed")
    parser.add_argument("--charges-file", type=Path, metavar="JSON", help="charges.json of the molecule's simulation")
    parser.add_argument("--force-field", default=SimulationSettings().force_field, help="OpenFF force field")
    parser.add_argument("--temperature", default="300 K", help="of the dynamics")
    for name in ("stiff", "soft", "stiff_time", "soft_time", "timestep", "friction"):
        parser.add_argument(f"--{name.replace('_', '-')}", default=plain[name], help="see docs/metrics.md, Refinement")
    parser.add_argument("--keep-mirror-images", action="store_true", help="do not reflect frames of the wrong hand")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("refined"), metavar="DIR", help="folder for the files")


def main(args: argparse.Namespace) -> None:
    """Frames in; refined.xtc, topology.pdb, refined.csv (a row a frame) and refined.json out."""
    from egi.md.common import Rejected  # OpenMM is slow to import
    from egi.md.refine import Refiner

    simulation, settings = settings_of(args)
    record, listed = read_molecule(args.topology)
    frames = read_frames(args.input, record, listed, math.nan if args.interval_ps is None else args.interval_ps)
    try:
        refiner = Refiner(record, charges_of(args, record, simulation), simulation, settings)
    except Rejected as failure:
        raise UserError(f"{args.topology}: {failure}") from failure
    except ValueError as error:
        if args.force_field not in str(error):
            raise
        raise UserError(f"--force-field {args.force_field}: {error}") from error
    found = refiner.refine(frames, [seeds.integer(args.seed, record.id, frame) for frame in range(len(frames))])
    write(args, refiner, found)
    summary = {
        "smiles": record.smiles, "input": args.input.name, "seed": args.seed, "refinement": settings.plain(),
        "force_field": simulation.force_field, "temperature_kelvin": simulation.temperature_kelvin,
        "frames": len(frames), "refined": int((found.status == 0).sum()),
        "mirror_images": int((found.hand == -1).sum()), "reflected": int(found.reflected.sum()),
        "versions": package_versions(),
    }  # fmt: skip
    with atomic(args.output / "refined.json") as partial:
        partial.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    log.info("%d of %d frames of %s refined, %d reflected, in %s",
             summary["refined"], len(frames), record.smiles, summary["reflected"], args.output)  # fmt: skip


def settings_of(args: argparse.Namespace) -> tuple[SimulationSettings, RefinementSettings]:
    """Settings from the flags.

    Raises
    ------
    UserError
        If a value is out of range or lacks its unit.
    """
    names = ("stiff", "soft", "stiff_time", "soft_time", "timestep", "friction")
    try:
        simulation = SimulationSettings.model_validate(
            {"force_field": args.force_field, "charges": args.charges, "temperature": args.temperature}
        )
        chosen = {name: getattr(args, name) for name in names}
        return simulation, RefinementSettings.model_validate({**chosen, "reflect": not args.keep_mirror_images})
    except ValueError as error:
        faults = getattr(error, "errors", list)() or [{"loc": ("settings",), "msg": str(error)}]
        text = "; ".join(f"--{'.'.join(map(str, f['loc']))} {f.get('input', '')}: {f['msg']}" for f in faults)
        raise UserError(text) from error


def charges_of(args: argparse.Namespace, record: MoleculeRecord, simulation: SimulationSettings) -> np.ndarray:
    """Charges from the file, else computed and kept in the output folder.

    Raises
    ------
    UserError
        If the file holds no charges.
    """
    if args.charges_file is None:
        from egi.md.charges import molecule_charges

        args.output.mkdir(parents=True, exist_ok=True)
        return molecule_charges(record.mol, record.id, simulation, args.seed, args.output / "charges.json")
    try:
        return np.array(json.loads(args.charges_file.read_text(encoding="utf-8"))["charges"], dtype=float)
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"--charges-file {args.charges_file} holds no charges; wanted a charges.json") from error


def write(args: argparse.Namespace, refiner, found) -> None:
    """Write the trajectory of refined frames, its topology and the table."""
    from egi.md.common import NM_PER_ANGSTROM
    from egi.md.frames import write_frames
    from egi.md.refine import STATUSES
    from egi.md.system import write_pdb

    interval = (interval_of(args.input) or 1.0) if args.interval_ps is None else args.interval_ps
    times = np.arange(len(found.status)) * interval
    table = pd.DataFrame({
        "frame": np.arange(len(times)), "time_ps": times, "status": [STATUSES[k] for k in found.status],
        "hand": found.hand, "reflected": found.reflected, "energy_before": found.energy_before,
        "energy_after": found.energy_after, "torsion_moved_stiff": found.moved_stiff, "torsion_moved": found.moved,
        "torsions_kept_stiff": found.kept_stiff, "torsions_kept": found.kept,
    })  # fmt: skip
    args.output.mkdir(parents=True, exist_ok=True)
    with atomic(args.output / "refined.csv") as partial:
        table.to_csv(partial, index=False)
    ok = found.status == 0
    if not ok.any():
        raise UserError(f"none of the {len(ok)} frames could be refined; {args.output / 'refined.csv'} says why")
    positions = found.all_atoms[ok]
    with atomic(args.output / "topology.pdb") as partial:
        write_pdb(refiner.topology, positions[0], partial)
    boxes = np.zeros((len(positions), 3, 3))
    write_frames(args.output / "refined.xtc", positions * NM_PER_ANGSTROM, times[ok], boxes)
