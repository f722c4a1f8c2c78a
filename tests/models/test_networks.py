"""Every network: symmetries, batches, gradients, parameter counts, bad input."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch_geometric.data import Batch, Data

from egi.config import ModelSettings
from egi.models import CLASSES, build, parameter_counts

METHODS = tuple(CLASSES)
DIFFUSION = ("basices", "egi", "geotdm")
KINDS = ("basices", "egi", "geotdm", "ar_egnn", "ar_et")  # the other two are EGInterpolators
CONDITIONED = [(method, given) for method in KINDS for given in (False, True)]
COUNTS = {"basices": (918e3, 918e3), "egi": (3.3e6, 2.3e6), "egi_naive": (3.3e6, 3.3e6), "geotdm": (1.4e6, 1.4e6)}


def double(inputs, given: bool):
    positions, step, condition = inputs
    return positions.double(), step, condition if given else None


def close(seen: torch.Tensor, wanted: torch.Tensor) -> None:
    torch.testing.assert_close(seen, wanted, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("method", COUNTS)
def test_parameter_counts_are_the_papers(method):
    total, trained = parameter_counts(build(method, ModelSettings()))
    wanted_total, wanted_trained = COUNTS[method]
    assert total == pytest.approx(wanted_total, rel=0.03)
    assert trained == pytest.approx(wanted_trained, rel=0.03)


def test_counts_are_printed_a_line_a_model():
    out = subprocess.run([sys.executable, "-m", "egi.models"], capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in out.splitlines()]
    assert [row[0] for row in rows] == list(METHODS)
    assert ["egi", *map(str, parameter_counts(build("egi", ModelSettings())))] in rows


@pytest.mark.parametrize("chirality_aware", [False, True])
@pytest.mark.parametrize(("method", "given"), CONDITIONED)
def test_one_rotation_and_translation_of_all_frames(method, given, chirality_aware, batch, inputs, stir):
    model = stir(build(method, ModelSettings(hidden=16, layers=2, chirality_aware=chirality_aware))).double()
    positions, *rest = double(inputs, given)
    turn = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64))[0]
    turn = turn * torch.linalg.det(turn).sign()
    shift = torch.tensor([3.0, -20.0, 11.0], dtype=torch.float64)
    close(model(batch, positions @ turn + shift, *rest), model(batch, positions, *rest) @ turn)


@pytest.mark.parametrize("chirality_aware", [False, True])
@pytest.mark.parametrize(("method", "given"), CONDITIONED)
def test_atom_order_does_not_matter(method, given, chirality_aware, batch, inputs, stir):
    model = stir(build(method, ModelSettings(hidden=16, layers=2, chirality_aware=chirality_aware))).double()
    positions, step, condition = double(inputs, given)
    order = torch.cat([torch.randperm(5), 5 + torch.randperm(7)])  # new place -> old place
    place = order.argsort()
    permuted = Data(
        atomic_numbers=batch.atomic_numbers[order], features=batch.features[order],
        edge_index=place[batch.edge_index].flip(1), edge_type=batch.edge_type.flip(0),
        batch=batch.batch, num_nodes=batch.num_nodes, num_graphs=2, stereo_index=place[batch.stereo_index].flip(1),
    )  # fmt: skip
    plain = model(batch, positions, step, condition)
    condition = None if condition is None else condition[order]
    close(model(permuted, positions[order], step, condition), plain[order])


@pytest.mark.parametrize(("method", "given"), CONDITIONED)
def test_batch_equals_each_molecule_alone(method, given, molecules, batch, inputs, settings, stir):
    model = stir(build(method, settings)).double()
    positions, step, condition = double(inputs, given)
    together = model(batch, positions, step, condition)
    for number, (molecule, nodes) in enumerate(zip(molecules, (slice(0, 5), slice(5, 12)), strict=True)):
        part = None if condition is None else condition[nodes]
        close(model(Batch.from_data_list([molecule]), positions[nodes], step[[number]], part), together[nodes])
        close(model(molecule, positions[nodes], step[[number]], part), together[nodes])


@pytest.mark.parametrize("method", KINDS)
def test_no_gradient_leaks_between_molecules(method, batch, inputs, settings, stir):
    model = stir(build(method, settings))
    positions = inputs[0].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(model(batch, positions, inputs[1])[:5].square().sum(), positions)
    assert float(gradient[:5].abs().min(dim=-1).values.max()) > 0
    assert float(gradient[5:].abs().max()) == 0


@pytest.mark.parametrize(("method", "frames_interact"), [("basices", False), ("egi", True), ("geotdm", True),
                                                         ("ar_egnn", False), ("ar_et", False)])  # fmt: skip
def test_which_networks_see_other_frames(method, frames_interact, batch, inputs, settings, stir):
    model = stir(build(method, settings))
    positions = inputs[0].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(model(batch, positions, inputs[1])[:, 1].square().sum(), positions)
    assert (float(gradient[:, 2].abs().max()) > 0) is frames_interact


@pytest.mark.parametrize("method", ["egi", "geotdm"])
def test_given_frames_are_read_and_get_no_noise(method, batch, inputs, settings, stir):
    model, (positions, step, condition) = stir(build(method, settings)), inputs
    noise = model(batch, positions, step, condition)
    moved = positions.clone()
    moved[:, 0] += 0.3 * torch.randn_like(moved[:, 0])
    assert float(noise[:, 0].detach().abs().max()) == 0
    assert float((model(batch, moved, step, condition) - noise)[:, 1:].detach().abs().max()) > 1e-5


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("chirality_aware", [False, True])
def test_every_trained_parameter_gets_a_gradient(method, chirality_aware, batch, inputs, stir):
    model = stir(build(method, ModelSettings(hidden=16, layers=2, chirality_aware=chirality_aware)), 0.02)
    torch.manual_seed(0)
    (model(batch, *inputs) - torch.randn_like(inputs[0])).square().sum().backward()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None and float(parameter.grad.abs().max()) > 0, name
        else:
            assert parameter.grad is None, name


@pytest.mark.parametrize("method", METHODS)
def test_fresh_network_predicts_little(method, batch, inputs):
    torch.manual_seed(0)
    model = build(method, ModelSettings(hidden=48, layers=3))
    assert float(model(batch, *inputs).detach().square().mean()) < 0.01


@pytest.mark.parametrize("method", KINDS)
def test_recomputed_activations_change_no_gradient(method, batch, inputs, settings, stir):
    model = stir(build(method, settings)).double()
    gradients = []
    for recompute in (False, True):
        model.checkpoint_activations = recompute
        model.zero_grad()
        model(batch, inputs[0].double(), *inputs[1:]).square().sum().backward()
        gradients.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    for stored, recomputed in zip(*gradients, strict=True):
        close(recomputed, stored)


@pytest.mark.parametrize("chirality_aware", [False, True])
@pytest.mark.parametrize("method", KINDS)
def test_bf16_autocast_stays_near_float32(method, chirality_aware, batch, inputs, stir):
    torch.manual_seed(0)
    model = stir(build(method, ModelSettings(hidden=16, layers=2, chirality_aware=chirality_aware)), 0.02)
    target, found = torch.randn_like(inputs[0]), []
    for enabled in (False, True):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            predicted = model(batch, *inputs)
            loss = (predicted - target).square().mean()
        gradients = torch.autograd.grad(loss, [p for p in model.parameters() if p.requires_grad])
        assert predicted.dtype == loss.dtype == torch.float32
        assert {g.dtype for g in gradients} == {torch.float32}
        found.append([predicted.detach(), loss.detach(), torch.cat([g.flatten() for g in gradients])])
    for lower, plain in zip(found[1], found[0], strict=True):
        assert float((lower - plain).norm() / plain.norm()) < 0.05


def test_denoises_one_molecule_after_a_short_training():
    """The structure model learns: on one fixed conformer, noise of the paper's sizes is found within 150 steps."""
    torch.manual_seed(0)
    molecule = Batch.from_data_list([_chain()] * 16)
    clean = torch.randn(6, 3).mul(1.2).repeat(16, 1).unsqueeze(1)
    model = build("basices", ModelSettings(hidden=32, layers=3))
    optimiser = torch.optim.Adam(model.parameters(), lr=2e-3)
    losses = []
    for _ in range(150):
        step = torch.randint(300, 1001, (16,))
        kept = torch.exp(-5e-6 * step**2 * 2).repeat_interleave(6).view(-1, 1, 1)
        noise = torch.randn_like(clean).view(16, 6, 1, 3)
        noise = (noise - noise.mean(dim=1, keepdim=True)).view_as(clean)
        predicted = model(molecule, kept.sqrt() * clean + (1 - kept).sqrt() * noise, step)
        loss = (predicted - noise).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert sum(losses[:5]) / 5 > 0.6
    assert sum(losses[-20:]) / 20 < 0.4


def _chain() -> Data:
    first, second = torch.combinations(torch.arange(6)).T
    edges = torch.stack([torch.cat([first, second]), torch.cat([second, first])])
    return Data(
        atomic_numbers=torch.tensor([6, 7, 8, 9, 6, 16]), features=torch.eye(6, 43), edge_index=edges,
        edge_type=torch.ones(edges.shape[1], dtype=torch.long), num_nodes=6,
    )  # fmt: skip


@pytest.mark.parametrize("method", DIFFUSION)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"positions": torch.zeros(12, 3)}, r"positions has shape \[12, 3\]; wanted \[12, frames, 3\]"),
        ({"positions": torch.zeros(11, 4, 3)}, r"positions has shape \[11, 4, 3\]; wanted \[12, frames, 3\]"),
        ({"positions": torch.zeros(12, 4, 3, dtype=torch.long)}, "positions is torch.int64 .* wanted floating point"),
        ({"positions": torch.zeros(12, 0, 3)}, "with 0 frames; wanted .* at least 1 frame"),
        ({"step": torch.tensor([1])}, r"step has shape \[1\]; wanted \[2\]"),
        ({"step": torch.tensor([0.1, 0.2])}, "step is torch.float32; wanted integers"),
        ({"step": None}, "step is None"),
        ({"condition": torch.zeros(12, 3, dtype=torch.bool)}, r"condition has shape \[12, 3\]; wanted \[12, 4\]"),
        ({"condition": torch.zeros(12, 4)}, "condition is torch.float32; wanted torch.bool"),
        ({"condition": torch.ones(12, 4, dtype=torch.bool)}, "condition gives all frames .* at least one frame"),
    ],
)
def test_bad_input_is_named(method, change, message, batch, inputs, settings):
    call = dict(zip(("positions", "step", "condition"), inputs, strict=True)) | change
    with pytest.raises(ValueError, match=message):
        build(method, settings)(batch, **call)


def test_unknown_method_is_named(settings):
    with pytest.raises(ValueError, match=r"method = 'egnn'; wanted one of basices, egi"):
        build("egnn", settings)
