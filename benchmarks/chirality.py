"""Share of generated frames with the molecule's hand, and flips between neighbours: the paper's layers and ours.

As in the paper, a structure model learns single conformers of a few chiral molecules and their mirror images, then
EGInterpolator, with that model frozen inside, learns short trajectories (a conformer that shakes by 0.05 angstrom,
neighbouring frames correlated). Both draw from noise. Training and test molecules are the same: the question is what
the layers can tell apart. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import time

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


def learn(
    model: torch.nn.Module, data: list, copies: int, frames: int, steps: int, generator: torch.Generator
) -> float:
    """Train on shaken conformers, `copies` of each molecule a step; mean loss of the last tenth."""
    schedule, rate, losses = Schedule(DiffusionSettings()), 1e-3, []
    optimiser = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=rate)
    batch = Batch.from_data_list([graph_of(record) for record, _ in data] * copies)
    for step in range(steps):
        positions = torch.cat([shaken(known, frames, generator) for _, known in data * copies])
        loss = diffusion_loss(model, schedule, batch, positions, None, generator)
        optimiser.param_groups[0]["lr"] = rate * (1 - step / steps)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        losses.append(loss.item())
    return float(np.mean(losses[-max(1, steps // 10) :]))


def draw(model: torch.nn.Module, data: list, samples: int, frames: int, generator: torch.Generator) -> list[np.ndarray]:
    """Hands [frames, centres] of each drawn trajectory, samples of all molecules in turn."""
    graphs = Batch.from_data_list([graph_of(record) for record, _ in data] * samples)
    nothing = torch.zeros(graphs.num_nodes, frames, dtype=torch.bool)
    settings = SamplingSettings(samples=samples, sampler="ddim", steps=100)
    start = torch.zeros(*nothing.shape, 3)
    drawn = sample(model, Schedule(DiffusionSettings()), graphs, start, nothing, settings, generator)
    parts = drawn.positions.split(graphs.ptr.diff().tolist())
    centres = [stereocentres(record) for record, _ in data] * samples
    return [hands(part.permute(1, 0, 2).numpy(), own) for part, own in zip(parts, centres, strict=True)]


def study(chirality_aware: bool, args: argparse.Namespace) -> dict[str, float]:
    """Train, draw, and count."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    data = [conformers(smiles) for smiles in SMILES]
    settings = ModelSettings(hidden=48, layers=3, chirality_aware=chirality_aware)
    structure, model = build("basices", settings), build("egi", settings)
    result = {"conformer_loss": learn(structure, data, 8, 1, args.pretraining_steps, generator)}
    model.structure.load_state_dict(structure.state_dict())
    result["trajectory_loss"] = learn(model, data, 2, args.frames, args.steps, generator)
    conformer_hands = draw(structure, data, 5 * args.samples, 1, generator)
    series = draw(model, data, args.samples, args.frames, generator)
    return {
        **result,
        "right_hand_conformers": float(np.mean(np.concatenate(conformer_hands) == 1)),
        "right_hand_frames": float(np.mean(np.concatenate(series) == 1)),
        "flips": float(np.mean(flips(series))),
    }


def main(argv: list[str] | None = None) -> None:
    """Run both and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pretraining-steps", type=int, default=1500)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--frames", type=int, default=6)
    parser.add_argument("--layers", choices=("both", "paper", "chirality_aware"), default="both")
    parser.add_argument("--samples", type=int, default=16, help="trajectories a molecule")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    result = {}
    for name, aware in (("paper", False), ("chirality_aware", True)):
        if args.layers not in ("both", name):
            continue
        start = time.perf_counter()
        found = {**study(aware, args), "minutes": (time.perf_counter() - start) / 60}
        print(name, found, flush=True)
        result |= {f"{key}_{name}": round(value, 3) for key, value in found.items()}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
