"""What the evaluation scripts share: flags, the inputs that these name, and writing of tables and figures' arrays."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from egi.cli import parser
from egi.config import TASKS, DatasetSettings, Settings
from egi.metrics import evaluation, figure_data
from egi.metrics.ensembles import sample_files
from egi.metrics.tables import Tables


def flags(description: str, *, task: bool = True, figures: bool = False) -> argparse.ArgumentParser:
    """A parser with the flags of an evaluation.

    Parameters
    ----------
    description : str
    task : bool
        With `--task`.
    figures : bool
        With `--figures-data`.

    Returns
    -------
    argparse.ArgumentParser
    """
    made = parser(description)
    if task:
        made.add_argument("--task", choices=TASKS, required=True)
    made.add_argument("--trajectories", type=Path, required=True, help="test trajectories (HDF5)")
    made.add_argument("--samples", nargs="*", default=[], metavar="METHOD=PATH", help="samples of each method (HDF5)")
    made.add_argument("--table", type=Path, required=True, help="table to write (CSV), a row a method")
    made.add_argument("--per-molecule", type=Path, required=True, help="table to write (CSV), a row a molecule")
    if figures:
        made.add_argument("--figures-data", type=Path, required=True, help="arrays for figures to write (HDF5)")
    return made


def inputs(args: argparse.Namespace, settings: Settings, dataset: DatasetSettings, **more) -> evaluation.Inputs:
    """What the flags name; `more` are further fields of `Inputs`.

    Raises
    ------
    UserError
        If `--samples` is not METHOD=PATH.
    """
    samples = tuple(sample_files(args.samples))
    return evaluation.Inputs(args.trajectories, samples, dataset.evaluation, settings.seed, **more)


def evaluate(
    args: argparse.Namespace,
    settings: Settings,
    dataset: DatasetSettings,
    score: Callable[[evaluation.Inputs, str], evaluation.Outcome],
    metrics: tuple[str, ...],
) -> str:
    """Score a task's samples and null models, write both tables and, where the flags have it, the file for figures.

    Parameters
    ----------
    args, settings, dataset
        Flags of `flags`, and what they select.
    score : callable
        Outcome of the inputs and a molecule.
    metrics : tuple of str
        Columns of the tables.

    Returns
    -------
    str
        A summary for the log.
    """
    given = inputs(args, settings, dataset, truncate=args.task == "forward", null_models=True)
    output = getattr(args, "figures_data", None)
    rows = []
    with ExitStack() as stack:
        if output is not None:
            smiles, interval_ps = figure_data.smiles_and_interval(args.trajectories)
            figures = stack.enter_context(figure_data.create(output, interval_ps))
        for outcome in evaluation.run(score, given, metrics):
            rows += outcome.rows
            if output is not None:
                figures.add(outcome.molecule, smiles[outcome.molecule], outcome.arrays)
    tables = Tables(args.table, args.per_molecule, metrics, dataset.evaluation.bootstrap, settings.seed)
    return tables.write(rows) + ("" if output is None else f", {output}")
