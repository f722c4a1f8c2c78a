"""Reading `results/{dataset}/evaluation/{task}.h5`, the arrays behind the figures (written by `egi.metrics`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np

from egi.data.storage import StorageError
from egi.figures.style import ORACLE, REFERENCE, ordered


class Evaluation:
    """An evaluation file, read piece by piece; use as a context manager.

    Raises
    ------
    StorageError
        If the file is missing, damaged, or of another format or version.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        if not self.path.is_file():
            raise StorageError(f"{self.path} does not exist; wanted an evaluation file")
        try:
            self._file = h5py.File(self.path, "r")
        except OSError as error:
            raise StorageError(f"{self.path} is damaged or no HDF5 file; wanted an evaluation file") from error
        seen = (self._file.attrs.get("format"), self._file.attrs.get("version"))
        if seen != ("egi-evaluation", 1):
            self._file.close()
            raise StorageError(f"{self.path} has format {seen[0]} version {seen[1]}; wanted egi-evaluation version 1")

    def __enter__(self) -> Evaluation:
        return self

    def __exit__(self, *exception) -> None:
        self._file.close()

    @property
    def interval_ps(self) -> float:
        """Time between frames in ps."""
        return float(self._file.attrs["interval_ps"])

    @property
    def molecules(self) -> list[str]:
        """Molecule ids in the file's order."""
        return [name for name in self._file if name != "edges"]

    @property
    def edges(self) -> dict[str, np.ndarray]:
        """Histogram edges (bins + 1,) of each quantity, in Å or radian."""
        return {name: edges[...] for name, edges in self._file["edges"].items()}

    def methods(self, molecule: str, wanted: Sequence[str] = ()) -> list[str]:
        """Methods of a molecule in the order of legends, the reference first.

        With `wanted`, the reference and those; all, if none of the generated ones is wanted.
        """
        every = ordered(set(self._file[molecule]))
        kept = [m for m in every if m in (REFERENCE, *wanted)]
        return kept if set(kept) - {REFERENCE, ORACLE} else every

    def array(self, molecule: str, method: str, name: str) -> np.ndarray | None:
        """A dataset of a molecule and method; None where it was not computed or is empty."""
        group = self._file[molecule].get(method)
        if group is None or name not in group or group[name].size == 0:
            return None
        return group[name][...]

    def why_missing(self, molecule: str, method: str, name: str) -> str:
        """Why a dataset is absent, in words for an empty panel."""
        group = self._file[molecule].get(method)
        if group is None:
            return "no samples of this molecule"
        return str(group.attrs.get(f"missing_{name}", f"no {name}")).split(": ", 1)[-1]

    def having(self, *names: str, method: str = REFERENCE, limit: int | None = None) -> list[str]:
        """First molecules whose `method` has all of the named datasets."""
        found = [m for m in self.molecules if all(self.array(m, method, name) is not None for name in names)]
        return found[:limit]

    def paths(self, molecule: str, method: str) -> np.ndarray | None:
        """Projected trajectories (paths, frames, 2) of an interpolation; None where there are none."""
        points = self.array(molecule, method, "paths")
        if points is None or points.ndim != 3 or points.shape[2] < 2:
            return None
        points = points[np.isfinite(points).all(axis=(1, 2)), :, :2]
        return points if len(points) else None
