"""XTC files: nm and ps inside, on a grid of 0.01 Å; written whole, then renamed."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np

from egi.data.storage import atomic


def write_frames(path: Path, positions: np.ndarray, times: np.ndarray, boxes: np.ndarray) -> None:
    """Write a trajectory that appears under its name only when complete.

    Parameters
    ----------
    path : path
    positions : (frames, atoms, 3) ndarray
        nm.
    times : (frames,) ndarray
        ps.
    boxes : (frames, 3, 3) ndarray
        Box vectors, nm; zeros without a box.

    Raises
    ------
    OSError
        ENOSPC if not all frames could be written.
    """
    from mdtraj.formats import XTCTrajectoryFile

    with atomic(path) as partial:
        try:
            with XTCTrajectoryFile(str(partial), "w", force_overwrite=True) as file:
                file.write(
                    np.ascontiguousarray(positions, dtype=np.float32),
                    time=times.astype(np.float32),
                    step=np.arange(1, len(times) + 1, dtype=np.int32),
                    box=np.ascontiguousarray(boxes, dtype=np.float32),
                )
        except RuntimeError as error:  # mdtraj does not say why
            raise OSError(errno.ENOSPC, f"trajectory could not be written, disk full? ({error})", str(path)) from error
        if frame_count(partial) != len(times):
            raise OSError(errno.ENOSPC, "trajectory could not be written in full, disk full?", str(path))


def read_frames(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions (frames, atoms, 3) in nm, times (frames,) in ps, boxes (frames, 3, 3) in nm."""
    from mdtraj.formats import XTCTrajectoryFile

    with XTCTrajectoryFile(str(path)) as file:
        positions, times, _, boxes = file.read()
    if np.ndim(boxes) != 3:  # mdtraj gives None where no frame has a box
        boxes = np.zeros((len(positions), 3, 3), dtype=np.float32)
    return positions, times, boxes


def frame_count(path: Path) -> int:
    """Frames in a file; 0 if it is missing or cannot be read."""
    from mdtraj.formats import XTCTrajectoryFile

    if not path.is_file() or path.stat().st_size == 0:
        return 0
    try:
        with XTCTrajectoryFile(str(path)) as file:
            return len(file.read()[1])
    except (OSError, RuntimeError):
        return 0
