"""Released trajectories in the form of simulated ones: a folder a molecule, a row of the manifest a replica."""

from __future__ import annotations

import csv
import logging
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rdkit import Chem
from tqdm import tqdm

from egi.chem.molecules import canonical_smiles
from egi.config import SimulationSettings
from egi.data.storage import atomic
from egi.md.common import NM_PER_ANGSTROM, Rejected
from egi.md.frames import write_frames
from egi.md.manifest import of_shard
from egi.md.molecule import Job, with_conformer
from egi.md.released import STAGE, Trajectory, find_folders, match, read_folder, read_positions, smiles_of, whole
from egi.md.system import read_provenance, write_json
from egi.units import whole_multiple

log = logging.getLogger("egi")

FOLDERS = ("folder", "split", "molecule", "replica", "status", "reason")


@dataclass(frozen=True)
class Release:
    """Published trajectories and where they go.

    Attributes
    ----------
    root : path
        Folder with ``train``, ``val`` and ``test``.
    settings : SimulationSettings
        Frames and their interval must be as these say.
    output : path
        Folder that gets a folder a molecule.
    """

    root: Path
    settings: SimulationSettings
    output: Path

    def take(self, jobs: list[Job], shard: int, shards: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Take over the trajectories of one shard of the molecules; what an earlier run took over is kept.

        Parameters
        ----------
        jobs : list of Job
            All molecules.
        shard, shards : int

        Returns
        -------
        manifest : list of dict
            A row a replica, and a rejected one for each that a molecule has fewer than start conformers.
        folders : list of dict
            Columns of `FOLDERS`; in shard 0 also folders that belong to no molecule.
        """
        mine = of_shard(jobs, shard, shards)
        found, folders = self._matched(jobs)
        if shard:
            folders = []
        manifest = []
        for job in tqdm(mine, "released trajectories", unit=" molecules"):
            for replica, (trajectory, order) in enumerate(found[job.id]):
                manifest.append(self._replica(job, replica, trajectory, order))
                folders.append(self._folder_row(trajectory.folder, trajectory.split, manifest[-1]))
            for replica in range(len(found[job.id]), len(job.starts)):
                manifest.append(_rejected(job, replica, "there is no released trajectory of it"))
        return manifest, folders

    def smiles(self) -> list[str]:
        """Canonical SMILES of the molecules of all trajectories that can be read, each once."""
        found: dict[str, None] = {}
        for split, folder in tqdm(find_folders(self.root), "released trajectories"):
            try:
                found[smiles_of(read_folder(split, folder))] = None
            except (Rejected, ValueError) as failure:
                log.warning("%s: %s", folder.relative_to(self.root), failure)
        return list(found)

    def _matched(self, jobs: list[Job]) -> tuple[dict[str, list[tuple[Trajectory, np.ndarray]]], list[dict]]:
        """Trajectories with the order of their atoms by molecule, and rows of the folders that belong to none."""
        by_graph = defaultdict(list)
        for job in jobs:
            by_graph[canonical_smiles(job.mol, stereo=False)].append(job)
        found, rejected = defaultdict(list), []
        for split, folder in tqdm(find_folders(self.root), "molecules of released trajectories"):
            try:
                trajectory = read_folder(split, folder)
                job, order = match(trajectory, by_graph)
                found[job.id].append((trajectory, order))
            except Rejected as failure:
                rejected.append(self._folder_row(folder, split, {"status": "rejected", "reason": failure.reason}))
        return found, rejected

    def _folder_row(self, folder: Path, split: str, row: dict[str, Any]) -> dict[str, Any]:
        known = {name: row.get(name, "") for name in ("molecule", "replica", "status", "reason")}
        return {"folder": str(folder.relative_to(self.root)), "split": split, **known}

    def _replica(self, job: Job, replica: int, trajectory: Trajectory, order: np.ndarray) -> dict[str, Any]:
        """Row of the manifest; the replica's files, if it can be used, are written."""
        folder, name = self.output / job.id, f"replica_{replica}"
        about = (trajectory.folder / "traj.xtc").stat()
        origin = [str(trajectory.folder.relative_to(self.root)), about.st_size, about.st_mtime_ns]
        provenance = read_provenance(folder)
        known = provenance.get(name, {})
        if known.get("origin") == origin and (folder / f"{name}.xtc").is_file():
            return known["row"]
        try:
            frames = self._write(job, folder, name, trajectory, order)
        except Rejected as failure:
            log.warning("%s: %s", origin[0], failure)
            return _rejected(job, replica, failure.reason)
        row = {
            "molecule": job.id, "split": job.split, "replica": replica, "status": "ok", "frames": frames,
            "topology": f"{job.id}/topology.pdb", "trajectory": f"{job.id}/{name}.xtc", "charges": STAGE,
            "interval_ps": float(self.settings.frame_interval_ps), "platform": STAGE,
        }  # fmt: skip
        entry = {"origin": origin, "atoms": trajectory.solute[order].tolist(), "row": row}
        write_json(folder / "provenance.json", {**provenance, "source": STAGE, name: entry})
        return row

    def _write(self, job: Job, folder: Path, name: str, trajectory: Trajectory, order: np.ndarray) -> int:
        """Write all frames in our order; their number. Bonds and hands in them are the business of `egi.md.quality`."""
        positions, times, boxes = read_positions(trajectory.folder / "traj.xtc")
        self._check_times(times)
        positions = whole(positions[:, trajectory.solute[order]], boxes, job.mol)
        folder.mkdir(parents=True, exist_ok=True)
        with atomic(folder / "topology.pdb") as partial:
            Chem.MolToPDBFile(with_conformer(job.mol, positions[0] / NM_PER_ANGSTROM), str(partial))
        times = np.arange(1, len(times) + 1) * float(self.settings.frame_interval_ps)
        boxes = np.zeros((len(times), 3, 3)) if boxes is None else boxes
        write_frames(folder / f"{name}.xtc", positions, times, boxes)
        return len(times)

    def _check_times(self, times: np.ndarray) -> None:
        settings = self.settings
        wanted = whole_multiple(settings.production_ps, settings.frame_interval_ps, "production", "frame_interval")
        interval = float(settings.frame_interval_ps)
        if len(times) != wanted:
            raise Rejected(STAGE, f"traj.xtc has {len(times)} frames; production and frame_interval give {wanted}")
        if not np.allclose(np.diff(times.astype(float)), interval, atol=0.02 * interval):
            raise Rejected(STAGE, f"frames of traj.xtc are not {interval:g} ps apart, as frame_interval says")


def _rejected(job: Job, replica: int, reason: str) -> dict[str, Any]:
    return {"molecule": job.id, "split": job.split, "replica": replica, "status": "rejected", "stage": STAGE,
            "reason": reason}  # fmt: skip


def write_folders(rows: list[dict[str, Any]], path: Path) -> None:
    """Write the table of folders."""
    with atomic(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, FOLDERS)
        writer.writeheader()
        writer.writerows(rows)
