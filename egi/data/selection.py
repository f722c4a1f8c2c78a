"""Which molecules are simulated, and from which conformers (FACTS 3, 5)."""

from __future__ import annotations

import csv
import logging
from pathlib import Path

import numpy as np
from rdkit import Chem
from rdkit.Chem.rdMolDescriptors import CalcMolFormula

from egi.chem.molecules import canonical_smiles, parse_smiles
from egi.chem.readers import smiles_rows
from egi.cli import UserError
from egi.config import SPLITS, SelectionSettings
from egi.data.storage import Reader, atomic
from egi.seeds import integer, stream

log = logging.getLogger(__name__)

COLUMNS = (
    "id", "smiles", "split", "formula", "atoms", "heavy_atoms", "modelled_atoms", "start_conformers", "reason"
)  # fmt: skip


def select_molecules(paths: dict[str, Path], settings: SelectionSettings, seed: int) -> list[dict]:
    """Rows of molecules.csv.

    A split's molecules are ordered at random by seed and the first ones taken, so that a smaller selection is
    contained in a larger one of the same seed. Where the split has fewer molecules than asked, all are taken.

    Parameters
    ----------
    paths : dict
        Conformer file of each split.
    settings : SelectionSettings
    seed : int

    Raises
    ------
    UserError
        If the molecule list is missing, holds what is no SMILES, or names no molecule of the conformer files.
    """
    listed = None if settings.molecule_list is None else _read_list(Path(settings.molecule_list))
    rows = []
    for split in SPLITS:
        with Reader(paths[split], "egi-conformers") as reader:
            rows += _select_split(reader, split, settings, seed, listed)
    if listed is not None:
        missing = sorted(listed - {row["smiles"] for row in rows})
        if len(missing) == len(listed):
            raise UserError(f"molecule list {settings.molecule_list}: none of its {len(listed)} molecules is usable")
        if missing:
            log.warning("%d molecules of the list are not there or too large: %s", len(missing), ", ".join(missing))
    return rows


def _read_list(path: Path) -> set[str]:
    if not path.is_file():
        raise UserError(f"molecule list {path} does not exist; wanted a .smi, or a .csv with a column 'smiles'")
    rows = list(smiles_rows(path))
    try:
        listed = {canonical_smiles(parse_smiles(smiles)) for smiles, _ in rows}
    except ValueError as error:
        raise UserError(f"molecule list {path}: {error}") from error
    if not listed:
        raise UserError(f"molecule list {path} is empty; wanted at least one SMILES")
    return listed


def _select_split(
    reader: Reader, split: str, settings: SelectionSettings, seed: int, listed: set[str] | None
) -> list[dict]:
    order = sorted(reader.ids, key=lambda molecule: (integer(seed, "select", molecule), molecule))
    wanted = settings.molecules.get(split, 0) if listed is None else len(order)
    rows: list[dict] = []
    too_large = 0
    for molecule in order:
        if len(rows) == wanted:
            break
        group = reader.group(molecule)
        conformers, atoms = group["positions"].shape[:2]
        if listed is not None and group.attrs["smiles"] not in listed:
            continue
        if settings.max_atoms is not None and atoms > settings.max_atoms:
            too_large += 1
            continue
        reason = "in the molecule list" if listed is not None else f"drawn {len(rows) + 1} of {wanted}, seed {seed}"
        starts = _start_conformers(conformers, settings.replicas, seed, molecule)
        rows.append(_row(reader, molecule, split, starts, reason))
    short = len(rows) < wanted and listed is None
    log.log(
        logging.WARNING if short else logging.INFO,
        "%s: %d molecules selected of %d there%s%s", split, len(rows), len(order),
        f", {wanted} were asked for" if short else "",
        f", {too_large} passed over with more than {settings.max_atoms} atoms" if too_large else "",
    )  # fmt: skip
    return rows


def _start_conformers(conformers: int, replicas: int, seed: int, molecule: str) -> list[int]:
    """A conformer a replica, all different while there are enough."""
    order = stream(seed, "start", molecule).permutation(conformers)
    return np.resize(order, replicas).tolist()


def _row(reader: Reader, molecule: str, split: str, starts: list[int], reason: str) -> dict:
    record = reader.record(molecule)
    mol: Chem.Mol = record.mol
    return {
        "id": molecule,
        "smiles": record.smiles,
        "split": split,
        "formula": CalcMolFormula(mol),
        "atoms": mol.GetNumAtoms(),
        "heavy_atoms": mol.GetNumHeavyAtoms(),
        "modelled_atoms": len(record.modelled),
        "start_conformers": " ".join(map(str, starts)),
        "reason": reason,
    }


def write_molecules(path: Path, rows: list[dict]) -> None:
    """Write molecules.csv; it appears only when complete."""
    with atomic(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
