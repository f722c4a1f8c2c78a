"""Read, filter and store a GeoDiff-style list of QM9-sized conformers, against the plain way.

    python benchmarks/filter_geom.py [--conformers 10000 100000] [--workers 2]

The plain way unpickles the whole list with the real classes and runs RDKit's checks on each conformer anew. Conformers
are jittered, five a molecule; molecules differ by isotope labels where there are not enough. The last line is one JSON
object: ``conformers_per_second`` (goal: 1500 on two idle cores) and the same by CPU time of all processes together,
``speedup`` over the plain way, and ``memory_growth``, peak memory at the largest over that at the smallest number (1 if
memory is flat), with the plain way's beside it.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import multiprocessing
import os
import pickle
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import networkx
import numpy as np
import torch
from rdkit import Chem
from rdkit.Chem import AllChem

from egi.chem.collect import Outputs, collect
from egi.config import SPLITS, GeomSettings

STARTS = ("C", "CC", "CC(C)", "C=C", "N", "O", "OC", "CO", "FC", "N#C", "C1CC1")
MIDDLES = ("C", "CC", "C(=O)", "C(O)", "OC", "NC", "C(=O)N", "C(C)C", "C=C", "C#C")
ENDS = ("C", "O", "N", "C#N", "C=O", "OC", "F", "CF", "C(=O)O", "C(N)=O", "C1CC1", "CO")
PER_MOLECULE = 5
log = logging.getLogger("benchmark")


class Lazily:
    """Pickles like a list whose items are made while it is written."""

    def __init__(self, items: Iterator):
        self.items = items

    def __reduce__(self):
        return list, (), None, self.items


def molecules() -> list[Chem.Mol]:
    """Different flexible molecules of up to nine heavy atoms, with a conformer each."""
    found = {}
    for parts in itertools.product(STARTS, MIDDLES, ENDS):
        mol = Chem.MolFromSmiles("".join(parts))
        if mol is not None and mol.GetNumHeavyAtoms() <= 9:
            found.setdefault(Chem.MolToSmiles(mol), Chem.AddHs(mol))
    return [mol for mol in found.values() if AllChem.EmbedMolecule(mol, randomSeed=1) == 0]


def items(mols: list[Chem.Mol], count: int) -> Iterator[dict]:
    """`count` conformers as the authors store them."""
    rng = np.random.default_rng(0)
    for k in range(count // PER_MOLECULE):
        mol = Chem.Mol(mols[k % len(mols)])
        if label := k // len(mols):
            mol.GetAtomWithIdx(0).SetIsotope(20 + label)
        smiles = Chem.MolToSmiles(Chem.RemoveHs(mol))
        bonds = [(b.GetBeginAtomIdx(), b.GetEndAtomIdx()) for b in mol.GetBonds()]
        flat = mol.GetConformer().GetPositions()
        for _ in range(PER_MOLECULE):
            mol.GetConformer().SetPositions(flat + rng.normal(0, 0.01, flat.shape))
            yield {
                "atom_type": torch.tensor([a.GetAtomicNum() for a in mol.GetAtoms()]),
                "pos": torch.tensor(mol.GetConformer().GetPositions(), dtype=torch.float32),
                "edge_index": torch.tensor(bonds).T.contiguous(),
                "edge_type": torch.ones(len(bonds), dtype=torch.long),
                "nx": networkx.Graph(bonds),
                "rdmol": Chem.Mol(mol),
                "smiles": smiles,
                "totalenergy": -100.0,
                "boltzmannweight": 0.2,
            }  # fmt: skip


def ours(path: Path, folder: Path, workers: int) -> None:
    """Read, filter, split and store."""
    elements = ["C", "N", "O", "F"]
    settings = GeomSettings(source="geodiff", files={"all": str(path)}, elements=elements, workers=workers)
    splits = {split: folder / f"{split}.h5" for split in SPLITS}
    tally = collect({"all": path}, settings, 0, Outputs(splits, folder / "rejects.csv", folder / "counts.csv"))
    log.info("stored %d conformers, rejected %s", sum(tally.conformers.values()), dict(tally.rejected))


def plain(path: Path, folder: Path, workers: int) -> None:
    """Unpickle everything, check each conformer anew, store one array a molecule."""
    with path.open("rb") as file:
        listed = pickle.load(file)  # written by this script
    kept: dict[str, list] = {}
    for item in listed:
        mol = item["rdmol"]
        Chem.SanitizeMol(mol)
        stored = Chem.MolFromSmiles(item["smiles"])
        same = stored is not None and Chem.MolToSmiles(Chem.RemoveHs(mol)) == Chem.MolToSmiles(stored)
        if same and len(Chem.GetMolFrags(mol)) == 1:
            kept.setdefault(item["smiles"], []).append(Chem.RemoveHs(mol).GetConformer().GetPositions())
    np.savez(folder / "plain.npz", **{f"m{k}": np.stack(frames) for k, frames in enumerate(kept.values())})


def measured(way: Callable, *arguments) -> tuple[float, float, float]:
    """Seconds, CPU seconds with workers, and peak memory in MB of the process that reads, a process of its own."""
    context = multiprocessing.get_context("spawn")
    receive, send = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(send, way, arguments))
    process.start()
    result = receive.recv()
    process.join()
    return result


def _child(send, way: Callable, arguments: tuple) -> None:
    start = time.perf_counter()
    way(*arguments)
    seconds = time.perf_counter() - start
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    send.send((seconds, sum(u.ru_utime + u.ru_stime for u in usages), usages[0].ru_maxrss / 1024))


def main() -> None:
    """Write the lists, time both ways, print the numbers."""
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--conformers", nargs="+", type=int, default=[10_000, 100_000])
    flags.add_argument("--workers", type=int, default=2)
    args = flags.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    mols = molecules()
    log.info("%d different molecules, %.1f atoms each", len(mols), np.mean([m.GetNumAtoms() for m in mols]))
    rates, cpu_rates, memories = {}, {}, {ours: [], plain: []}
    for count in args.conformers:
        with tempfile.TemporaryDirectory() as name:
            folder, path = Path(name), Path(name) / "list.pkl"
            with path.open("wb") as file:
                writer = pickle.Pickler(file)
                writer.fast = True
                writer.dump(Lazily(items(mols, count)))
            for way in (ours, plain):
                seconds, cpu, memory = measured(way, path, folder, args.workers)
                rates[way], cpu_rates[way] = count / seconds, count / cpu
                memories[way].append(memory)
                log.info("%s: %d conformers, %.0f a second, %.0f MB", way.__name__, count, count / seconds, memory)
    print(json.dumps({
        "conformers_per_second": round(rates[ours]),
        "conformers_per_cpu_second": round(cpu_rates[ours]),
        "speedup": round(rates[ours] / rates[plain], 2),
        "memory_growth": round(memories[ours][-1] / memories[ours][0], 2),
        "memory_growth_plain": round(memories[plain][-1] / memories[plain][0], 2),
    }))  # fmt: skip


if __name__ == "__main__":
    main()
