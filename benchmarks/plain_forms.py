"""The networks' layers written straight from their equations, and what the benchmarks share."""

from __future__ import annotations

import multiprocessing
import resource
import time
from collections.abc import Callable

import torch
from rdkit import Chem
from torch_geometric.data import Batch, Data

from egi.chem.features import atom_features
from egi.chem.graph import edges
from egi.nn.basic import frequencies, norm
from egi.nn.linear import Linear, SiLULinear
from egi.nn.spatial import EGCL
from egi.nn.temporal import TemporalAttention

#: by number of modelled atoms
SMILES = {9: "C#C[C@@](O)(CC)COC", 25: "COC(=O)C1CCN(Cc2cc(=O)oc3cc(OCC)ccc23)CC1"}


class PlainTemporalAttention(TemporalAttention):
    """Temporal attention with frames x frames tensors; same weights and result."""

    def forward(self, x, h):
        """As `TemporalAttention.forward`."""
        query, key, value = self.query(h), self.key(h), self.value(h)
        frames = torch.arange(x.shape[1], dtype=torch.float64)
        angle = (frames[:, None] - frames)[..., None] * frequencies(self.n_frequencies, x.device)
        relative = self.relative(torch.cat([angle.sin(), angle.cos()], dim=-1).to(h.dtype))  # [t, s, hidden]
        logits = query @ key.transpose(1, 2) + torch.einsum("nth,tsh->nts", query, relative)
        attention = logits.softmax(dim=-1)
        dh = attention @ value + torch.einsum("nts,tsh->nth", attention, relative)
        difference = x[:, :, None] - x[:, None]  # [nodes, t, s, 3]
        weight = (attention * self.scale(value).transpose(1, 2)).unsqueeze(-1)
        return (weight * difference).sum(dim=2), dh


class PlainEGCL(EGCL):
    """EGCL with inputs concatenated edge by edge; same weights and result."""

    def forward(self, graph, x, h):
        """As `EGCL.forward`."""
        h = h.expand(-1, x.shape[1], -1)
        i, j = graph.target, graph.source
        distance = norm(x[i] - x[j])
        inputs = torch.cat([h[i], h[j], distance, graph.features.expand(-1, x.shape[1], -1)], dim=-1)
        first = torch.cat([self.from_target.weight, self.from_source.weight, self.from_edge.weight], dim=1)
        message = torch.nn.functional.linear(inputs, first, self.from_target.bias)
        message = torch.nn.functional.silu(self.message(message))
        dx = graph.sum(self.coordinate(message) * (x[i] - x[j]) / (distance + 1)) * graph.inverse_degree
        inputs = torch.cat([h, graph.sum(message)], dim=-1)
        weight = torch.cat([self.from_self.weight, self.from_messages.weight], dim=1)
        hidden = torch.nn.functional.linear(inputs, weight, self.from_messages.bias)
        return dx, self.invariant(hidden)


class PlainSiLULinear(torch.nn.Linear):
    """SiLU, then a linear layer, both torch's."""

    def forward(self, x):
        """As `SiLULinear.forward`."""
        return super().forward(torch.nn.functional.silu(x))


def plain(model: torch.nn.Module) -> torch.nn.Module:
    """The model itself, or a layer, with all in it turned to plain forms."""
    forms = {
        TemporalAttention: PlainTemporalAttention, EGCL: PlainEGCL,
        Linear: torch.nn.Linear, SiLULinear: PlainSiLULinear,
    }  # fmt: skip
    for module in model.modules():
        module.__class__ = forms.get(type(module), type(module))
    return model


def molecule(atoms: int) -> Batch:
    """A batch of one real molecule with that many modelled atoms."""
    mol = Chem.MolFromSmiles(SMILES[atoms])
    edge_index, edge_type = edges(mol)
    numbers = torch.tensor([atom.GetAtomicNum() for atom in mol.GetAtoms()])
    return Batch.from_data_list([Data(
        atomic_numbers=numbers, features=torch.from_numpy(atom_features(mol)), num_nodes=atoms,
        edge_index=torch.from_numpy(edge_index), edge_type=torch.from_numpy(edge_type),
    )])  # fmt: skip


def measure(prepare: Callable, *arguments, repeats: int, threads: int) -> tuple[float, float]:
    """Least seconds of `repeats` calls, and the peak memory that they add (MiB), in a process of its own.

    `prepare(*arguments)` gives the function to call; what it holds is not counted.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    worker = context.Process(target=_measure, args=(sender, prepare, arguments, repeats, threads))
    worker.start()
    sender.close()
    try:
        result = receiver.recv()
    except EOFError:
        raise RuntimeError(f"the measurement of {arguments} ended early, most likely out of memory") from None
    finally:
        worker.join()
    return result


def _measure(sender, prepare: Callable, arguments: tuple, repeats: int, threads: int) -> None:
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    call = prepare(*arguments)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    sender.send((min(seconds), peak / 1024))
