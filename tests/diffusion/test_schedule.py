"""The schedule against its definition, and the steps that the samplers visit."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from egi.config import DiffusionSettings, SamplingSettings
from egi.diffusion.schedule import Schedule

SAMPLERS = ("ddpm", "ddim", "dpm")


def test_alpha_bar_is_the_product_of_a_linear_schedule():
    schedule = Schedule(DiffusionSettings())
    wanted = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))
    np.testing.assert_allclose(schedule.alpha_bar[1:], wanted, rtol=1e-4)
    assert schedule.alpha_bar[0] == 1 and len(schedule.alpha_bar) == 1001
    signal, spread = schedule.scales(torch.tensor([1, 1000]))
    assert signal.shape == (2, 1, 1)
    assert spread[0].item() == pytest.approx(0.01, rel=1e-3)
    torch.testing.assert_close(signal**2 + spread**2, torch.ones(2, 1, 1))


def test_steps_are_drawn_from_one_to_the_last():
    drawn = Schedule(DiffusionSettings(steps=5)).draw_steps(1000, torch.Generator().manual_seed(0))
    assert set(drawn.tolist()) == {1, 2, 3, 4, 5}


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("count", [1, 2, 3, 7, 30, 50, 1000])
def test_any_number_of_steps_starts_at_the_last_and_ends_clean(sampler, count):
    """With noise predicted exactly for a known x_0, each update ends at x_0 whatever the strides are."""
    schedule = Schedule(DiffusionSettings())
    generator = torch.Generator().manual_seed(0)
    clean = torch.linspace(-2, 2, 12).view(4, 1, 3)
    current, visited = torch.randn(4, 1, 3, generator=generator), []
    for step, update in schedule.reverse(SamplingSettings(samples=1, sampler=sampler, steps=count), generator):
        signal, spread = schedule.scales(torch.tensor([step]))
        current = update(current, (current - signal * clean) / spread)
        visited.append(step)
    assert len(visited) == count and visited[0] == 1000 and visited == sorted(set(visited), reverse=True)
    torch.testing.assert_close(current, clean, atol=1e-3, rtol=0)


def test_deterministic_ddim_lands_on_the_level_of_the_next_step_at_uneven_strides():
    schedule = Schedule(DiffusionSettings())
    clean, noise = torch.full((1, 1, 3), 2.0), torch.ones(1, 1, 3)
    sampling = SamplingSettings(samples=1, sampler="ddim", steps=7, eta=0)
    current = None
    for step, update in schedule.reverse(sampling, torch.Generator()):
        signal, spread = schedule.scales(torch.tensor([step]))
        wanted = signal * clean + spread * noise
        if current is not None:
            torch.testing.assert_close(current, wanted)
        current = update(wanted, noise)


def test_more_steps_than_the_schedule_has():
    schedule = Schedule(DiffusionSettings(steps=10))
    with pytest.raises(ValueError, match=r"sampling.steps = 11; allowed: at most diffusion.steps = 10"):
        next(schedule.reverse(SamplingSettings(samples=1, steps=11), torch.Generator()))
