"""Score generated trajectories of a molecule against reference ones, whatever made them."""

from __future__ import annotations

import argparse
import logging
import math
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rdkit import Chem, rdBase

from egi.chem.molecules import record_of
from egi.cli import UserError
from egi.config import EvaluationSettings
from egi.data.storage import MoleculeRecord
from egi.metrics import evaluation, figure_data, tables
from egi.metrics.ensembles import Ensemble, cut, measures_of
from egi.metrics.validity import contacts, graph_and_clashes, in_nanometres, relative_bonds

log = logging.getLogger(__name__)
HELP = "score generated trajectories of a molecule against reference ones"
METRICS = evaluation.FRAME_METRICS + evaluation.DYNAMICS_METRICS + evaluation.OCCUPANCY_METRICS
#: bins of decorrelation times, a frame wide each, as many as the paper's
_TIME_BINS = 276


def _xtc(path: Path) -> tuple[np.ndarray, float | None]:
    from mdtraj.formats import XTCTrajectoryFile  # slow to import

    with XTCTrajectoryFile(str(path)) as file:
        positions, times, _, _ = file.read()
    interval = float(np.median(np.diff(times))) if len(times) > 1 and times[-1] > times[0] else None
    return 10.0 * positions, interval  # nm to Å


def _dcd(path: Path) -> tuple[np.ndarray, float | None]:
    from mdtraj.formats import DCDTrajectoryFile

    with DCDTrajectoryFile(str(path)) as file:
        return file.read()[0], None


def _pdb(path: Path) -> tuple[np.ndarray, float | None]:
    from mdtraj.formats import PDBTrajectoryFile

    with PDBTrajectoryFile(str(path)) as file:
        return np.asarray(file.positions), None


def _npy(path: Path) -> tuple[np.ndarray, float | None]:
    return np.load(path, allow_pickle=False), None


#: ending -> from a path to positions in Å, and the time between frames where the format has it
_READERS = {".xtc": _xtc, ".dcd": _dcd, ".npy": _npy, ".pdb": _pdb}


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Flags of the subcommand."""
    files = f"trajectories, one file each ({', '.join(_READERS)}; .npy in angstrom, [frames, atoms, 3])"
    parser.add_argument("--reference", nargs="+", type=Path, required=True, metavar="FILE", help=f"reference {files}")
    parser.add_argument("--generated", nargs="+", type=Path, required=True, metavar="FILE", help=f"generated {files}")
    parser.add_argument("--oracle", nargs="*", type=Path, default=[], metavar="FILE", help=f"held-out MD {files}")
    parser.add_argument("--topology", type=Path, required=True, help="the molecule (SDF), atoms in the files' order")
    parser.add_argument("--interval-ps", type=_positive(Decimal), required=True, help="time between frames")
    parser.add_argument("--tica-lag", type=_positive(int), default=2, help="frames")
    parser.add_argument("--msm-lag", type=_positive(int), default=10, help="frames")
    parser.add_argument("--output", type=Path, default=Path("evaluation"), help="folder for tables and figures")
    parser.add_argument("--seed", type=int, default=0, help="of k-means and the null models")


def _positive(kind: Callable[[str], Any]) -> Callable[[str], Any]:
    """Parser of a positive number, for argparse."""

    def _parse(text: str) -> Any:
        try:
            number = kind(text)
        except (ValueError, ArithmeticError):
            number = 0
        if not (math.isfinite(number) and number > 0):
            raise argparse.ArgumentTypeError(f"{text!r}; wanted a positive number")
        return number

    return _parse


def main(args: argparse.Namespace) -> None:
    """Read, score, print the table, write `scores.csv`, `evaluation.h5` and figures."""
    interval_ps = float(args.interval_ps)
    record, listed = read_molecule(args.topology)
    settings = EvaluationSettings.model_validate({
        "coverage_threshold": "0.5 angstrom", "tica_lag": f"{args.tica_lag * args.interval_ps} ps",
        "msm_lag": f"{args.msm_lag * args.interval_ps} ps", "decorrelation_bin": f"{args.interval_ps} ps",
        "decorrelation_maximum": f"{_TIME_BINS * args.interval_ps} ps",
    })  # fmt: skip
    reference, generated, oracle = (
        Ensemble(method, [read_frames(path, record, listed, interval_ps) for path in paths])
        for method, paths in (("reference", args.reference), ("generated", args.generated), ("md_oracle", args.oracle))
    )
    for ensemble, paths in ((reference, args.reference), (oracle, args.oracle), (generated, args.generated)):
        for path, frames in zip(paths, ensemble.trajectories, strict=True):
            _check_graph(path, frames, record, simulated=ensemble is not generated)
    held_out = [oracle, cut(oracle, generated, "md_oracle_matched")] if args.oracle else []
    drawn, failed = evaluation.null_models(record, reference, generated.frames, args.seed)
    compared = [*held_out, generated, *drawn]
    case = evaluation.Case(record, measures_of(record), interval_ps, reference, compared, failed)
    scores, arrays = score(case, settings, args.seed)
    tables.write(args.output / "scores.csv", scores)
    with figure_data.create(args.output / "evaluation.h5", interval_ps) as file:
        file.add(record.id, record.smiles, arrays)
    draw(args.output / "evaluation.h5", args.output)
    sys.stdout.write(table_of(scores).to_string() + "\n")
    log.info("%d scores of %s, figures and tables in %s", len(scores), record.smiles, args.output)


def score(case: evaluation.Case, settings: EvaluationSettings, seed: int) -> tuple[pd.DataFrame, dict]:
    """All metrics of a molecule as a long table, and the arrays for figures."""
    frames = evaluation.distributions_of(case, settings, seed)
    moving = evaluation.dynamics_of(case, settings).rows + evaluation.occupancies_of(case, settings, seed).rows
    return tables.per_molecule(frames.rows + moving), frames.arrays


def draw(data: Path, folder: Path) -> None:
    """Distributions, autocorrelations, occupancies and free energy surfaces, SVG and PNG."""
    from egi.figures import distributions, dynamics, kinetics, surfaces  # matplotlib is slow to import
    from egi.figures.evaluation import Evaluation
    from egi.figures.style import save

    with Evaluation(data) as found:
        methods = ["generated", "md_oracle"]
        figures = {
            "distributions": distributions.distributions(distributions.histograms_of(found, methods, 1), found.edges),
            "autocorrelation": dynamics.autocorrelations(found, methods=methods, molecules=1),
            "occupancy": dynamics.occupancies(found, methods=methods, molecules=1),
            "kinetics": kinetics.kinetics(found, methods=methods, molecules=1),
            "surfaces": surfaces.surfaces(found, methods=methods, molecules=1),
        }
    for name, figure in figures.items():
        save(figure, folder / f"{name}.svg")


def table_of(scores: pd.DataFrame) -> pd.DataFrame:
    """Metrics by method; a missing value shows its status."""
    shown = scores["value"].map("{:.4g}".format).where(scores["value"].notna(), scores["status"])
    wide = scores.assign(shown=shown).pivot_table(index="metric", columns="method", values="shown", aggfunc="first")
    methods = list(dict.fromkeys(scores["method"]))
    return wide.reindex(index=[m for m in METRICS if m in wide.index], columns=methods).fillna("")


def read_molecule(path: Path) -> tuple[MoleculeRecord, int]:
    """The molecule of an SDF file, hydrogens added where it has none, and how many atoms the file lists.

    Raises
    ------
    UserError
        If the file holds no valid molecule.
    """
    if not path.is_file():
        raise FileNotFoundError(f"topology {path} does not exist")
    with rdBase.BlockLogs():
        mol = next(iter(Chem.SDMolSupplier(str(path), removeHs=False)), None)
    if mol is None or mol.GetNumAtoms() == 0:
        raise UserError(f"topology {path} holds no molecule that RDKit can read; wanted an SDF file")
    listed = mol.GetNumAtoms()
    if mol.GetConformer().Is3D():
        Chem.AssignStereochemistryFrom3D(mol)
    return record_of(Chem.AddHs(mol, addCoords=True), path.stem.replace("/", "_")), listed


def interval_of(path: Path) -> float | None:
    """Time between the frames of a file that `read_frames` reads, ps; None where the file has no times."""
    return _READERS[path.suffix](path)[1]


def read_frames(path: Path, record: MoleculeRecord, listed: int, interval_ps: float) -> np.ndarray:
    """Modelled atoms of a trajectory, [T, n, 3] Å.

    Parameters
    ----------
    path : Path
    record : MoleculeRecord
    listed : int
        Atoms in the topology file.
    interval_ps : float
        Checked against the times in the file, where it has any.

    Raises
    ------
    UserError
        If the file is empty, has other atoms, another interval or another unit of length.
    """
    if not path.is_file():
        raise FileNotFoundError(f"trajectory {path} does not exist")
    if path.suffix not in _READERS:
        raise UserError(f"{path} has the ending {path.suffix!r}; allowed: {', '.join(_READERS)}")
    try:
        positions, interval = _READERS[path.suffix](path)
    except (OSError, EOFError, RuntimeError, ValueError, LookupError) as error:
        raise UserError(f"{path} is empty, damaged or no {path.suffix} file: {str(error).splitlines()[0]}") from error
    if positions.ndim != 3 or positions.shape[2] != 3:
        raise UserError(f"{path} has shape {positions.shape}; wanted [frames, atoms, 3]")
    atoms, modelled = positions.shape[1], record.modelled
    if not len(positions):
        raise UserError(f"{path} holds no frames")
    if atoms == len(modelled):
        frames = positions
    elif atoms in (listed, record.mol.GetNumAtoms()) and modelled.max() < atoms:
        frames = positions[:, modelled]
    else:
        raise UserError(f"{path} has {atoms} atoms; the topology has {record.mol.GetNumAtoms()} with hydrogens, "
                         f"{len(modelled)} modelled")  # fmt: skip
    if interval is not None and abs(interval - interval_ps) > 1e-3 * interval_ps:
        raise UserError(f"{path} has frames every {interval:g} ps; --interval-ps is {interval_ps:g}")
    _check_unit(path, frames, record)
    return frames.astype(np.float32)


def _check_unit(path: Path, frames: np.ndarray, record: MoleculeRecord) -> None:
    limits = contacts(record)
    ratios = relative_bonds(frames[np.isfinite(frames).all((1, 2))], limits)
    ratio = float(np.median(ratios)) if ratios.size else 1.0
    if not 0.5 < ratio < 2:
        known = {"the file is in nm": in_nanometres(frames, limits),
                 "angstrom were written as nm": in_nanometres(frames / 100, limits)}  # fmt: skip
        cause = next((text for text, so in known.items() if so), "the unit, or the order of atoms, is another")
        raise UserError(f"{path} has bonds {ratio:.3g} times as long as they should be; {cause}; wanted angstrom")


def _check_graph(path: Path, frames: np.ndarray, record: MoleculeRecord, simulated: bool) -> None:
    """Simulated frames have the molecule's bonds; a generator may be that bad, which is a warning."""
    known = frames[np.isfinite(frames).all((1, 2))]
    if not len(known):
        return
    intact = graph_and_clashes(known, contacts(record))[0].mean()
    text = f"{path}: {intact:.0%} of the frames have the molecule's bonds; are its atoms in the order of --topology?"
    if simulated and intact < 0.5:
        raise UserError(text)
    if intact == 0:
        log.warning(text)
