"""Read a batch of trajectory segments from disk, against the training step that it is for, at the paper's sizes.

    python benchmarks/read_segments.py [--molecules 40] [--batches 20] [--threads 2]

Frames and batches are those of config/paper.yaml (a device's part of a batch), trajectories have 961 frames, five
replicas a molecule. The file is put out of the page cache before each batch is read. A molecule's graph is built when
it is first met: ``first`` is for batches of new molecules, ``later`` for all others. The last line is one JSON object
with milliseconds a batch, and ``read_over_step`` of each case: the slowest kind of reading over the training step
(goal: below 0.1).
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from rdkit import Chem
from torch_geometric.data import Batch

from egi.chem.molecules import record_of
from egi.config import Settings, load_settings
from egi.data.datasets import SegmentDataset
from egi.data.step_batches import StepBatches
from egi.data.storage import create
from egi.models import build
from egi.training import loss_of

ROOT = Path(__file__).parents[1]
CASES = {("qm9", "unconditional"): "CC(O)CCC(=O)OC", ("drugs", "forward"): "COc1ccc(CCNC(=O)c2ccc(F)cc2C)cc1OC(C)C"}
FRAMES, REPLICAS = 961, 5


def write(path: Path, smiles: str, molecules: int) -> int:
    """Trajectories like those of `subsample`; number of modelled atoms."""
    rng = np.random.default_rng(0)
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    with create(path, "egi-trajectories", {}, interval_ps=5.2) as writer:
        for k in range(molecules):
            record = record_of(mol, f"m{k}")
            shape = (1, len(record.modelled), FRAMES, 3)
            writer.add(record, {f"replica_{r}": rng.normal(size=shape).astype(np.float32) for r in range(REPLICAS)})
    return len(record.modelled)


def forget(path: Path) -> None:
    """Put a file out of the page cache."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def read(path: Path, frames: int, size: int, batches: int) -> tuple[float, float, Batch]:
    """Median seconds to read a batch of new molecules and of known ones, and a batch."""
    seconds = []
    for known in (False, True):
        dataset = SegmentDataset(path, frames)
        if known:
            list(dataset)
        each = []
        for wanted in StepBatches(len(dataset), size, range(batches), seed=int(known)):
            if not known:
                dataset = SegmentDataset(path, frames)
            forget(path)
            start = time.perf_counter()
            batch = Batch.from_data_list([dataset[item] for item in wanted])
            each.append(time.perf_counter() - start)
        seconds.append(float(np.median(each)))
    return *seconds, batch


def step(batch: Batch, settings: Settings, dataset: str, task: str, repeats: int) -> float:
    """Least seconds of a training step of EGInterpolator."""
    chosen = settings.dataset(dataset)
    model, loss = build("egi", chosen.model), loss_of("egi", task, chosen.diffusion)
    optimiser = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-4)
    each = []
    for k in range(repeats):
        start = time.perf_counter()
        optimiser.zero_grad()
        loss(model, batch, torch.Generator().manual_seed(k)).backward()
        optimiser.step()
        each.append(time.perf_counter() - start)
    return min(each)


def main() -> None:
    """Measure each case and print."""
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--molecules", type=int, default=40)
    flags.add_argument("--batches", type=int, default=20)
    flags.add_argument("--steps", type=int, default=2, help="training steps of which the fastest counts")
    flags.add_argument("--threads", type=int, default=2)
    args = flags.parse_args()
    torch.set_num_threads(args.threads)
    settings, summary = load_settings(ROOT / "config/paper.yaml"), {}
    for (dataset, task), smiles in CASES.items():
        chosen = settings.dataset(dataset).tasks[task]
        size = chosen.training.batch_size // chosen.training.devices
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "train.h5"
            atoms = write(path, smiles, args.molecules)
            first, later, batch = read(path, chosen.frames, size, args.batches)
        print(f"{dataset} {task}: {size} segments of {atoms} atoms and {chosen.frames} frames", flush=True)
        seconds = step(batch, settings, dataset, task, args.steps)
        name = f"{dataset}_{task}"
        summary |= {
            f"read_over_step_{name}": round(max(first, later) / seconds, 5),
            f"first_ms_{name}": round(1000 * first, 2),
            f"later_ms_{name}": round(1000 * later, 2),
            f"step_ms_{name}": round(1000 * seconds),
        }
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
