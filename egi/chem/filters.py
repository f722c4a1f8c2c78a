"""Which conformers pass (FACTS 2): the paper's five filters in its order, then ours.

==============  ============================================================================================
filter          a conformer is rejected when
==============  ============================================================================================
``sanitize``    the stored molecule does not sanitise in RDKit
``fragments``   it has more than one component
``reacted``     its canonical SMILES differs from that of the stored SMILES; without stereo, which is set from 3D
``smiles``      RDKit cannot make a molecule of the stored SMILES
``hydrogens``   some of its hydrogens are no atoms, or RDKit cannot remove them
``elements``    a modelled atom's element is not in the dataset's list; retained hydrogens are always allowed (A-7)
``coordinates`` numbers are missing or not finite, all zero, of a drawing, or two atoms lie closer than 0.5 Å
``stereo``      its 3D configuration differs from that of most conformers of the molecule; can be switched off
==============  ============================================================================================
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from rdkit import Chem

from egi.chem.molecules import bare_smiles, identity, record_of
from egi.data.storage import MoleculeRecord

FILTERS = ("sanitize", "fragments", "reacted", "smiles", "hydrogens", "elements", "coordinates", "stereo")
CLOSEST_ANGSTROM = 0.5
HARTREE = 2625.499639  # kJ/mol


@dataclass(frozen=True)
class Candidate:
    """A molecule as a reader gives it.

    Attributes
    ----------
    id, smiles : str
    conformers : sequence of Chem.Mol
        All atoms, one conformer each, perhaps unsanitised.
    energies, weights : sequence of float, optional
        kJ/mol and Boltzmann weight of each conformer.
    positions : sequence of (all atoms, 3) ndarray, optional
        Coordinates in Å to take instead of those in `conformers`.
    faults : dict
        Why a conformer, by its place, could not be refined.
    """

    id: str
    smiles: str
    conformers: Sequence[Chem.Mol]
    energies: Sequence[float] | None = None
    weights: Sequence[float] | None = None
    positions: Sequence[np.ndarray] | None = None
    faults: dict[int, str] = field(default_factory=dict)


@dataclass
class Filtered:
    """What is left of a molecule.

    Attributes
    ----------
    record : MoleculeRecord or None
        None if no conformer passed.
    identity : str
        Canonical SMILES without stereo, '' where there is none.
    arrays : dict
        ``positions`` [C, all atoms, 3] float32, and ``energies`` and ``weights`` [C] where known.
    rejects : list of dict
        Columns of rejects.csv.
    passed, rejected : Counter
        Conformers by filter.
    """

    record: MoleculeRecord | None = None
    identity: str = ""
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    rejects: list[dict] = field(default_factory=list)
    passed: Counter = field(default_factory=Counter)
    rejected: Counter = field(default_factory=Counter)


class Rejected(ValueError):
    """A conformer did not pass; `args` are the filter's name and the detail."""


def reject_row(molecule: str, smiles: str, conformer: int | str, name: str, detail: str) -> dict:
    """A row of rejects.csv."""
    return {"molecule": molecule, "smiles": smiles, "conformer": conformer, "stage": "conformers",
            "filter": name, "detail": detail}  # fmt: skip


def filter_candidate(
    candidate: Candidate, elements: Sequence[str], most: int | None = None, stereo_filter: bool = True
) -> Filtered:
    """Apply the filters to each conformer and put what passes into the stored form.

    Parameters
    ----------
    candidate : Candidate
    elements : sequence of str
        Symbols allowed for the modelled atoms.
    most : int, optional
        Keep so many conformers, those of the largest weight, else the first.
    stereo_filter : bool
        Without it, conformers of every configuration pass; that of most still names the molecule's stereochemistry.
    """
    result = Filtered()
    checks = _GraphChecks(candidate.smiles, frozenset(elements))
    result.identity = checks.wanted or ""
    kept, molecules, positions = [], [], []
    for index, mol in enumerate(candidate.conformers):
        try:
            if index in candidate.faults:
                raise Rejected("refine", candidate.faults[index])
            sane = checks.run(mol, result)
            reference = molecules[0] if molecules else sane
            given = _given(mol) if candidate.positions is None else candidate.positions[index]
            coordinates = _checked(given, reference.GetNumAtoms())[_order(reference, sane)]
        except Rejected as fault:
            _reject(result, candidate, index, *fault.args)
            continue
        result.passed["coordinates"] += 1
        kept.append(index)
        molecules.append(sane)
        positions.append(coordinates)
    if not kept:
        return result
    stacked = np.stack(positions)  # [C, atoms, 3]
    same = _majority(_configurations(molecules[0], stacked))
    passing = same if stereo_filter else np.ones_like(same)
    for place in np.flatnonzero(~passing):
        _reject(result, candidate, kept[place], "stereo", "configuration in 3D differs from that of most conformers")
    result.passed["stereo"] += int(passing.sum())
    chosen = _heaviest(candidate, np.array(kept), passing, most)
    _store(result, candidate, np.array(kept)[chosen], stacked[chosen])
    named = next((k for k in chosen if same[k]), int(np.argmax(same)))
    result.record = _record(candidate.id, molecules[named], stacked[named])
    return result


def _reject(result: Filtered, candidate: Candidate, index: int, name: str, detail: str) -> None:
    result.rejected[name] += 1
    result.rejects.append(reject_row(candidate.id, candidate.smiles, index, name, detail))


def _heaviest(candidate: Candidate, kept: np.ndarray, passing: np.ndarray, most: int | None) -> np.ndarray:
    """Which of the kept conformers are stored: those that pass, at most so many."""
    chosen = np.flatnonzero(passing)
    if most is not None and candidate.weights is not None:
        chosen = np.sort(chosen[np.argsort(-np.asarray(candidate.weights)[kept[chosen]], kind="stable")][:most])
    return chosen[:most]


def _store(result: Filtered, candidate: Candidate, indices: np.ndarray, positions: np.ndarray) -> None:
    result.arrays["positions"] = positions.astype(np.float32)
    for name in ("energies", "weights"):
        if (values := getattr(candidate, name)) is not None:
            result.arrays[name] = np.asarray(values, dtype=np.float64)[indices]


def _record(molecule: str, mol: Chem.Mol, positions: np.ndarray) -> MoleculeRecord:
    """The molecule with the stereochemistry of one conformer, (all atoms, 3)."""
    bare = Chem.Mol(mol, True)
    conformer = Chem.Conformer(bare.GetNumAtoms())
    conformer.SetPositions(np.ascontiguousarray(positions, dtype=np.float64))
    bare.AddConformer(conformer)
    return record_of(bare, molecule)


class _GraphChecks:
    """Filters that look at the graph only, run once for each distinct graph among a molecule's conformers."""

    def __init__(self, smiles: str, elements: frozenset[str]):
        self.elements = elements
        self.done: dict[bytes, tuple[Chem.Mol | None, list[str], Rejected | None]] = {}
        try:
            self.wanted = identity(smiles)
        except ValueError as error:
            self.wanted, self.fault = None, str(error)

    def run(self, mol: Chem.Mol, result: Filtered) -> Chem.Mol:
        """The sanitised molecule without coordinates; counts what it passed."""
        bare = Chem.Mol(mol, True)
        key = bare.ToBinary()
        if key not in self.done:
            passed: list[str] = []
            try:
                self.done[key] = (self._check(bare, passed), passed, None)
            except Rejected as fault:
                self.done[key] = (None, passed, fault)
        sane, passed, fault = self.done[key]
        result.passed.update(passed)
        if fault is not None:
            raise fault
        return sane

    def _check(self, mol: Chem.Mol, passed: list[str]) -> Chem.Mol:
        try:
            Chem.SanitizeMol(mol)
        except Exception as error:  # RDKit raises several types, all about this molecule
            raise Rejected("sanitize", str(error)) from error
        passed.append("sanitize")
        if (count := len(Chem.GetMolFrags(mol))) != 1:
            raise Rejected("fragments", f"{count} components")
        passed.append("fragments")
        try:
            modelled = Chem.RemoveHs(mol)
        except Exception as error:  # as above
            raise Rejected("hydrogens", str(error)) from error
        if self.wanted is not None and (seen := bare_smiles(modelled, stereo=False)) != self.wanted:
            raise Rejected("reacted", f"graph is {seen}, the stored SMILES says {self.wanted}")
        passed.append("reacted")
        if self.wanted is None:
            raise Rejected("smiles", self.fault)
        passed.append("smiles")
        if missing := sum(atom.GetTotalNumHs() for atom in mol.GetAtoms()):
            raise Rejected("hydrogens", f"{missing} hydrogens are no atoms with coordinates")
        passed.append("hydrogens")
        check_elements(modelled, self.elements)
        passed.append("elements")
        return mol


def check_elements(mol: Chem.Mol, elements: Iterable[str]) -> None:
    """Raise `Rejected` if an atom other than hydrogen is of none of the elements."""
    found = {atom.GetSymbol() for atom in mol.GetAtoms()} - {"H"}
    if foreign := sorted(found - set(elements)):
        raise Rejected("elements", f"{', '.join(foreign)}; allowed: {', '.join(sorted(elements))}")


def _given(mol: Chem.Mol) -> np.ndarray:
    """Coordinates of the molecule's only conformer."""
    if mol.GetNumConformers() != 1:
        raise Rejected("coordinates", f"{mol.GetNumConformers()} sets of coordinates in one conformer")
    if not mol.GetConformer().Is3D():
        raise Rejected("coordinates", "a drawing: z is 0 throughout and the record is not marked 3D")
    return mol.GetConformer().GetPositions()


def _checked(positions: np.ndarray, atoms: int) -> np.ndarray:
    """The coordinates if they can be those of so many atoms."""
    if positions.shape != (atoms, 3):
        raise Rejected("coordinates", f"positions of shape {positions.shape} for {atoms} atoms")
    if not np.isfinite(positions).all():
        raise Rejected("coordinates", "not finite")
    if atoms > 1 and not positions.any():
        raise Rejected("coordinates", "all zero")
    squared = ((positions[:, None] - positions[None]) ** 2).sum(-1)
    squared[np.diag_indices(atoms)] = np.inf
    if squared.min() < CLOSEST_ANGSTROM**2:
        raise Rejected("coordinates", f"two atoms {np.sqrt(squared.min()):.2f} angstrom apart")
    return positions


def _order(reference: Chem.Mol, mol: Chem.Mol) -> np.ndarray:
    """Atoms of `mol` in the order of `reference`, a molecule with the same SMILES."""
    atoms = reference.GetNumAtoms()
    if reference is mol or np.array_equal(_coloured_bonds(reference), _coloured_bonds(mol)):
        return np.arange(atoms)
    match = mol.GetSubstructMatch(reference)
    if len(match) != atoms:
        raise Rejected("coordinates", "atoms cannot be matched to those of the first conformer")
    return np.array(match)


def _coloured_bonds(mol: Chem.Mol) -> np.ndarray:
    """Adjacency with atomic numbers on the diagonal."""
    matrix = Chem.GetAdjacencyMatrix(mol).copy()
    np.fill_diagonal(matrix, [atom.GetAtomicNum() for atom in mol.GetAtoms()])
    return matrix


def _configurations(mol: Chem.Mol, positions: np.ndarray) -> np.ndarray:
    """Sign of each potential stereocentre's volume and of each stereo double bond's side, [C, centres]."""
    signs = []
    for stereo in Chem.FindPotentialStereo(mol):
        around = [atom for atom in stereo.controllingAtoms if atom < mol.GetNumAtoms()]
        if stereo.type == Chem.StereoType.Atom_Tetrahedral and len(around) >= 3 and not _inverts(mol, stereo):
            arms = positions[:, around[:3]] - positions[:, [stereo.centeredOn]]  # [C, 3, 3]
            signs.append(np.sign(np.linalg.det(arms)))
        elif stereo.type == Chem.StereoType.Bond_Double and len(stereo.controllingAtoms) == 4:
            bond = mol.GetBondWithIdx(stereo.centeredOn)
            begin = next(a for a in around if mol.GetBondBetweenAtoms(a, bond.GetBeginAtomIdx()))
            end = next(a for a in around[::-1] if mol.GetBondBetweenAtoms(a, bond.GetEndAtomIdx()))
            axis = positions[:, bond.GetEndAtomIdx()] - positions[:, bond.GetBeginAtomIdx()]
            left = np.cross(axis, positions[:, begin] - positions[:, bond.GetBeginAtomIdx()])
            right = np.cross(axis, positions[:, end] - positions[:, bond.GetEndAtomIdx()])
            signs.append(np.sign((left * right).sum(-1)))
    return np.array(signs, dtype=np.int8).reshape(-1, len(positions)).T


def _inverts(mol: Chem.Mol, stereo: Chem.StereoInfo) -> bool:
    """Whether the centre is an amine's nitrogen, whose hand no SMILES of 3D coordinates states."""
    centre = mol.GetAtomWithIdx(stereo.centeredOn)
    return centre.GetAtomicNum() == 7 and centre.GetDegree() == 3


def _majority(configurations: np.ndarray) -> np.ndarray:
    """Which rows are the commonest row, the earliest of equally common ones."""
    rows = [tuple(row) for row in configurations.tolist()]
    commonest = Counter(rows).most_common(1)[0][0]
    return np.array([row == commonest for row in rows])
