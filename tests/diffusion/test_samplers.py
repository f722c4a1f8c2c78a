"""Samplers driven by exact scores, and what they do with samples that are not finite."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch_geometric.data import Batch, Data

from egi.config import DiffusionSettings, SamplingSettings
from egi.diffusion import samplers
from egi.diffusion.schedule import Schedule

SCHEDULE = Schedule(DiffusionSettings())
FRAMES = 4


def graphs(*sizes):
    edges = torch.zeros(2, 0, dtype=torch.long)
    return Batch.from_data_list([Data(num_nodes=n, edge_index=edges) for n in sizes])


def sampling(sampler="ddpm", steps=200, **more):
    return SamplingSettings(samples=1, sampler=sampler, steps=steps, **more)


def draw(model, batch, settings, given=None, condition=None, seed=0):
    nodes = batch.num_nodes
    given = torch.full((nodes, FRAMES, 3), torch.nan) if given is None else given
    condition = torch.zeros(nodes, given.shape[1], dtype=torch.bool) if condition is None else condition
    generator = torch.Generator().manual_seed(seed)
    return samplers.sample(model, SCHEDULE, batch, given, condition, settings, generator)


def gaussian(mean, width):
    """The noise expected at x for x_0 ~ N(mean, width^2), `mean` being of one molecule."""

    def model(batch, positions, step, condition):
        signal, spread = (scale[batch.batch] for scale in SCHEDULE.scales(step))
        centre = mean.repeat(batch.num_graphs, 1, 1)
        return spread * (positions - signal * centre) / (signal**2 * width**2 + spread**2)

    return model


@pytest.mark.parametrize(
    "settings",
    [sampling("ddpm", 1000), sampling("ddim", 1000), sampling("ddim", 300, eta=0.0), sampling("dpm", 300)],
    ids=lambda s: f"{s.sampler}-{s.steps}-{s.eta}",
)
@pytest.mark.parametrize("width", [0.3, 1.0])
def test_exact_score_of_a_gaussian_returns_its_mean_and_spread(settings, width):
    molecules = 400
    mean = torch.randn(3, FRAMES, 3, generator=torch.Generator().manual_seed(7)) * 2
    mean = mean - mean.mean((0, 1))
    result = draw(gaussian(mean, width), graphs(*[3] * molecules), settings)
    drawn = result.positions.view(molecules, 3, FRAMES, 3)
    torch.testing.assert_close(drawn.mean(0), mean, atol=5 * width / molecules**0.5, rtol=0)
    assert spread_of(drawn - mean) == pytest.approx(width, rel=0.04)
    torch.testing.assert_close(drawn.mean((1, 2)), torch.zeros(molecules, 3), atol=1e-4, rtol=0)
    assert (result.redrawn == 0).all()


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("steps", [5, 30, 50])
def test_spread_in_few_steps_is_what_the_discrete_process_gives(steps, eta):
    """Each DDIM step (Song et al. 2021, Eq. 12, 16) maps a Gaussian to a Gaussian; so does the sampler."""
    width, molecules = 0.3, 300
    levels = torch.linspace(1000, 0, steps + 1, dtype=torch.float64).round().long()
    alpha_bar, variance = SCHEDULE.alpha_bar.double(), torch.ones((), dtype=torch.float64)
    for level, below in pairwise(levels):
        now, then = alpha_bar[level], alpha_bar[below]
        noise = (1 - now).sqrt() / (now * width**2 + 1 - now)  # predicted noise per deviation of x
        fresh = eta**2 * (1 - then) / (1 - now) * (1 - now / then)
        slope = (then / now).sqrt() * (1 - (1 - now).sqrt() * noise) + (1 - then - fresh).clamp_min(0).sqrt() * noise
        variance = slope**2 * variance + fresh
    model = gaussian(torch.zeros(3, FRAMES, 3), width)
    result = draw(model, graphs(*[3] * molecules), sampling("ddim", steps, eta=eta))
    drawn = result.positions.view(molecules, 3, FRAMES, 3)
    assert spread_of(drawn) == pytest.approx(variance.sqrt().item(), rel=0.04)


def spread_of(deviations):
    """Standard deviation, the centre of mass being fixed."""
    points = 3 * FRAMES
    return deviations.square().mean().sqrt().item() / (1 - 1 / points) ** 0.5


def test_given_frames_come_back_bit_for_bit_and_anchor_the_sample():
    batch = graphs(3, 5)
    given = torch.randn(8, FRAMES, 3) + 11.3
    given[:, 1:3] = torch.nan
    condition = torch.tensor([True, False, False, True]).expand(8, FRAMES)
    seen = []

    def model(batch, positions, step, mask):
        seen.append((positions[:, [0, 3]].clone(), mask))
        return 0.1 * positions

    result = draw(model, batch, sampling("dpm", 5), given, condition).positions
    assert torch.equal(result[:, [0, 3]], given[:, [0, 3]])
    assert result.isfinite().all()
    for own in (slice(0, 3), slice(3, 8)):  # the noisy cloud stands on the first given frame's centre
        torch.testing.assert_close(result[own, 1:3].mean((0, 1)), given[own, 0].mean(0), atol=1e-4, rtol=0)
    assert all(torch.equal(frames, seen[0][0]) and mask is not None for frames, mask in seen)
    torch.testing.assert_close(seen[0][0][:3, 0].mean(0), torch.zeros(3), atol=1e-5, rtol=0)


def test_same_seed_same_sample():
    batch, mean = graphs(3, 3), torch.zeros(3, FRAMES, 3)
    first, again, other = (draw(gaussian(mean, 1), batch, sampling(steps=10), seed=s).positions for s in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_a_sample_that_is_not_finite_is_drawn_again_alone_and_counted():
    batch, calls = graphs(2, 3, 4), []

    def model(batch, positions, step, condition):
        calls.append(batch.num_graphs)
        broken = torch.zeros_like(positions)
        if len(calls) in (1, 4):  # steps of the first and of the second attempt
            sizes = torch.bincount(batch.batch)[batch.batch]
            broken[sizes == 3] = torch.nan
        return broken

    result = draw(model, batch, sampling(steps=2))
    assert result.redrawn.tolist() == [0, 2, 0]
    assert result.positions.isfinite().all()
    assert calls == [3, 3, 1, 1, 1, 1]


def test_a_sample_that_is_never_finite_is_given_up_and_the_others_come_out():
    batch, given, condition = graphs(2, 3), torch.randn(5, 4, 3), torch.zeros(5, 4, dtype=torch.bool)
    condition[:, 0] = True

    def model(batch, positions, step, condition):
        sizes = torch.bincount(batch.batch)[batch.batch]
        return torch.where((sizes == 3).view(-1, 1, 1), torch.nan, positions * 0)

    result = draw(model, batch, sampling(steps=1), given, condition)
    assert result.redrawn.tolist() == [0, samplers.MAX_REDRAWS]
    assert result.positions[:2].isfinite().all() and result.positions[2:, 1:].isnan().all()
    assert torch.equal(result.positions[:, 0], given[:, 0])


def test_nothing_is_drawn_from_given_frames_that_are_not_finite():
    batch, given, condition = graphs(2, 3), torch.randn(5, 4, 3), torch.zeros(5, 4, dtype=torch.bool)
    condition[:, 0], given[1, 0, 2] = True, torch.nan
    sizes = []

    def model(batch, positions, step, condition):
        sizes.append(len(positions))
        return positions * 0

    result = draw(model, batch, sampling(steps=1), given, condition)
    assert sizes == [3] and result.redrawn.tolist() == [0, 0]
    assert result.positions[:2, 1:].isnan().all() and result.positions[2:].isfinite().all()


def test_nothing_left_to_generate():
    with pytest.raises(ValueError, match="condition gives all frames"):
        draw(None, graphs(2), sampling(), torch.zeros(2, 3, 3), torch.ones(2, 3, dtype=torch.bool))


def test_roll_out_adds_displacements():
    batch, start = graphs(2, 3), torch.randn(5, 3)
    result = samplers.roll_out(lambda batch, x, step, condition: torch.ones_like(x), batch, start, 4)
    assert torch.equal(result.positions[:, 0], start)
    torch.testing.assert_close(result.positions, start.unsqueeze(1) + torch.arange(4.0).view(1, 4, 1).expand(5, 4, 3))
    assert (result.redrawn == 0).all()


def test_roll_out_that_diverges_is_held_and_counted():
    def model(batch, x, step, condition):
        return torch.where(batch.batch.view(-1, 1, 1) == 1, x * 100, x * 0)

    result = samplers.roll_out(model, graphs(2, 3), torch.ones(5, 3), 20)
    assert result.redrawn.tolist() == [0, 1]
    assert (result.positions[:2] == 1).all() and result.positions.abs().max() < 1e4
