"""Share of generated frames with the molecule's hand, and flips between neighbours: the paper's layers and ours.

EGInterpolator without pretraining learns short trajectories of a few chiral molecules and their mirror images
(conformers that shake by 0.05 angstrom, neighbouring frames correlated), then draws them from noise. Training and test
molecules are the same: the question is what the layers can tell apart. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json

import numpy as np
import torch
from rdkit import Chem
from rdkit.Chem import AllChem
from torch_geometric.data import Batch

from egi.chem.molecules import record_of
from egi.chem.stereo import stereocentres
from egi.config import DiffusionSettings, ModelSettings, SamplingSettings
from egi.data.batches import graph_of
from egi.diffusion.loss import diffusion_loss
from egi.diffusion.samplers import sample
from egi.diffusion.schedule import Schedule
from egi.metrics.validity import flips, hands
from egi.models import build

SMILES = ("CCC[C@@H](O)CC#N", "CCC[C@H](O)CC#N", "C[C@H](C=O)NCC=O", "C[C@@H](C=O)NCC=O", "C#C[C@@](O)(CC)COC",
          "C#C[C@](O)(CC)COC")  # fmt: skip


def conformers(smiles: str):
    """Record of a molecule and its centred conformers, [nodes, conformers, 3] in Å."""
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    AllChem.EmbedMultipleConfs(mol, 20, randomSeed=1)
    AllChem.MMFFOptimizeMoleculeConfs(mol)
    positions = np.stack([c.GetPositions() for c in mol.GetConformers()], axis=1)
    record = record_of(mol, smiles)
    modelled = torch.tensor(positions[record.modelled], dtype=torch.float32)
    return record, modelled - modelled.mean(dim=0)


def shaken(positions: torch.Tensor, frames: int, generator: torch.Generator) -> torch.Tensor:
    """A random conformer that shakes by 0.05 Å over the frames, [nodes, frames, 3]."""
    chosen = positions[:, torch.randint(positions.shape[1], (1,), generator=generator)]
    noise = torch.randn(len(positions), frames + 3, 3, generator=generator).unfold(1, 4, 1).mean(-1) * 2
    return chosen + 0.05 * noise


def study(chirality_aware: bool, args: argparse.Namespace) -> dict[str, float]:
    """Train, draw, and count."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    data, schedule = [conformers(smiles) for smiles in SMILES], Schedule(DiffusionSettings())
    model = build("egi_naive", ModelSettings(hidden=48, layers=3, chirality_aware=chirality_aware))
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    batch = Batch.from_data_list([graph_of(record) for record, _ in data] * 2)
    for step in range(args.steps):
        positions = torch.cat([shaken(known, args.frames, generator) for _, known in data * 2])
        loss = diffusion_loss(model, schedule, batch, positions, None, generator)
        optimiser.param_groups[0]["lr"] = 1e-3 * (1 - step / args.steps)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
    graphs = Batch.from_data_list([graph_of(record) for record, _ in data] * args.samples)
    nothing = torch.zeros(graphs.num_nodes, args.frames, dtype=torch.bool)
    settings = SamplingSettings(samples=args.samples, sampler="ddim", steps=100)
    start = torch.zeros(*nothing.shape, 3)
    with torch.no_grad():
        drawn = sample(model, schedule, graphs, start, nothing, settings, generator)
    parts = drawn.positions.split(graphs.ptr.diff().tolist())
    series = [hands(p.permute(1, 0, 2).numpy(), stereocentres(data[i % len(data)][0])) for i, p in enumerate(parts)]
    return {"right_hand": float(np.mean(np.concatenate(series) == 1)), "flips": float(np.mean(flips(series)))}


def main(argv: list[str] | None = None) -> None:
    """Run both and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--frames", type=int, default=6)
    parser.add_argument("--layers", choices=("both", "paper", "chirality_aware"), default="both")
    parser.add_argument("--samples", type=int, default=8, help="trajectories a molecule")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    result = {}
    for name, aware in (("paper", False), ("chirality_aware", True)):
        if args.layers not in ("both", name):
            continue
        result |= {f"{key}_{name}": round(value, 3) for key, value in study(aware, args).items()}
        print(name, result, flush=True)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
