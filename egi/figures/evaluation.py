"""Reading `results/{dataset}/evaluation/{task}.h5`, the arrays behind the figures (written by `egi.metrics`)."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from egi.data.storage import StorageError
from egi.figures.style import REFERENCE, ordered

_NOT_MOLECULES = ("edges", "paths")


class Evaluation:
    """An evaluation file, read piece by piece; use as a context manager.

    Raises
    ------
    StorageError
        If the file is missing, damaged, or lacks histogram edges.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        if not self.path.is_file():
            raise StorageError(f"{self.path} does not exist; wanted an evaluation file")
        try:
            self._file = h5py.File(self.path, "r")
        except OSError as error:
            raise StorageError(f"{self.path} is damaged or no HDF5 file; wanted an evaluation file") from error
        if "edges" not in self._file:
            self._file.close()
            raise StorageError(f"{self.path} has no group 'edges'; wanted an evaluation file")

    def __enter__(self) -> Evaluation:
        return self

    def __exit__(self, *exception) -> None:
        self._file.close()

    @property
    def interval_ps(self) -> float:
        """Time between frames in ps."""
        return float(self._file.attrs["interval_ps"])

    @property
    def task(self) -> str:
        """Name of the file without its ending."""
        return self.path.stem

    @property
    def molecules(self) -> list[str]:
        """Molecule ids in the file's order."""
        return [name for name in self._file if name not in _NOT_MOLECULES]

    def edges(self, quantity: str) -> np.ndarray:
        """Histogram edges (bins + 1,) of a quantity, in Å or radian."""
        return self._file["edges"][quantity][...]

    def methods(self, molecule: str) -> list[str]:
        """Methods of a molecule in the order of legends, the reference first."""
        return ordered(set(self._file[molecule]))

    def array(self, molecule: str, method: str, name: str) -> np.ndarray | None:
        """A dataset of a molecule and method; None where it was not computed or is empty."""
        group = self._file[molecule].get(method)
        if group is None or name not in group or group[name].size == 0:
            return None
        return group[name][...]

    def having(self, *names: str, method: str = REFERENCE, limit: int | None = None) -> list[str]:
        """First molecules whose `method` has all of the named datasets."""
        found = [m for m in self.molecules if all(self.array(m, method, name) is not None for name in names)]
        return found[:limit]
