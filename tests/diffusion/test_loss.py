"""Losses against theory, with models whose answer is known."""

from __future__ import annotations

import pytest
import torch
from torch_geometric.data import Batch, Data

from egi.config import DiffusionSettings
from egi.diffusion import frames
from egi.diffusion.loss import autoregressive_loss, diffusion_loss, noised
from egi.diffusion.schedule import Schedule

SCHEDULE = Schedule(DiffusionSettings())


def graphs(*sizes):
    edges = torch.zeros(2, 0, dtype=torch.long)
    return Batch.from_data_list([Data(num_nodes=n, edge_index=edges) for n in sizes])


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed))


def test_noise_has_no_centre_of_mass_in_the_noisy_frames_only():
    batch = graphs(3, 5)
    noisy = torch.ones(8, 4, dtype=torch.bool)
    noisy[:, 0] = False
    noise = frames.noise_like(torch.zeros(8, 4, 3), noisy, batch.batch, 2, generator())
    assert (noise[:, 0] == 0).all()
    for own in (slice(0, 3), slice(3, 8)):
        torch.testing.assert_close(noise[own].sum((0, 1)), torch.zeros(3), atol=1e-5, rtol=0)
        assert noise[own, 1:].std() == pytest.approx(1, abs=0.35)


def test_origin_is_the_first_given_frame_or_the_whole_cloud():
    batch, positions = graphs(3), draw(3, 4, 3)
    condition = torch.zeros(3, 4, dtype=torch.bool)
    condition[:, [1, 3]] = True
    given = frames.origin_of(positions, condition, batch.batch, 1)
    torch.testing.assert_close(given[0], positions[:, 1].mean(0))
    whole = frames.origin_of(positions, None, batch.batch, 1)
    torch.testing.assert_close(whole[0], positions.mean((0, 1)))


def test_noisy_frames_are_aligned_and_carry_the_target():
    """The target closes the forward process on the aligned frames, and no torque is left between them."""
    batch = graphs(4, 6)
    clean = frames.remove_centre(draw(10, 3, 3), torch.ones(10, 3), batch.batch, 2)
    noisy = torch.ones(10, 3, dtype=torch.bool)
    step = torch.tensor([300, 900])
    positions, noise = noised(SCHEDULE, batch, clean, noisy, step, generator(1))
    signal, spread = (scale[batch.batch] for scale in SCHEDULE.scales(step))
    torch.testing.assert_close(positions, signal * clean + spread * noise)
    for own in (slice(0, 4), slice(4, 10)):
        torque = torch.linalg.cross(clean[own], noise[own], dim=-1).sum((0, 1))
        torch.testing.assert_close(torque, torch.zeros(3), atol=1e-4, rtol=0)


def test_loss_is_zero_at_the_exact_score_of_one_structure():
    """All data at one structure: the aligned noisy frames tell the noise exactly."""
    batch = graphs(5, 5)
    structure = frames.remove_centre(draw(5, 3, 3).repeat(2, 1, 1), torch.ones(10, 3), batch.batch, 2)

    def exact(batch, positions, step, condition):
        signal, spread = (scale[batch.batch] for scale in SCHEDULE.scales(step))
        return (positions - signal * structure) / spread

    for shift in (0, 7):  # Å; where the molecule stands does not matter
        loss = diffusion_loss(exact, SCHEDULE, batch, structure + shift, None, generator())
        assert loss.item() == pytest.approx(0, abs=1e-6)


def test_loss_at_the_exact_score_of_a_gaussian():
    """x_0 ~ N(mean, s^2): the error left is abar s^2 / (abar s^2 + 1 - abar), averaged over the drawn steps.

    The cloud is large, so that alignment (3 of 1200 degrees of freedom) hardly matters.
    """
    seen = []

    batch, width = graphs(*[20] * 64), 0.5
    every = torch.ones(1280, 20)
    mean = frames.remove_centre(4 * draw(20, 20, 3).repeat(64, 1, 1), every, batch.batch, 64)
    drawn = mean + width * frames.remove_centre(draw(1280, 20, 3, seed=5), every, batch.batch, 64)

    def exact(batch, positions, step, condition):
        seen.append(step)
        signal, spread = (scale[batch.batch] for scale in SCHEDULE.scales(step))
        return spread * (positions - signal * mean) / (signal**2 * width**2 + spread**2)

    losses = [diffusion_loss(exact, SCHEDULE, batch, drawn, None, generator(k)).item() for k in range(20)]
    signal, spread = SCHEDULE.scales(torch.cat(seen))
    theory = (signal**2 * width**2 / (signal**2 * width**2 + spread**2)).mean().item()
    assert sum(losses) / 20 == pytest.approx(theory, rel=0.02)


def test_loss_of_silence_is_the_noise_itself():
    """Predicting nothing costs the noise's variance, 1, over the noisy frames only."""
    batch = graphs(30)
    condition = torch.zeros(30, 40, dtype=torch.bool)
    condition[:, [0, 39]] = True
    positions = draw(30, 40, 3, seed=9)
    seen = {}

    def silent(batch, positions, step, condition):
        seen.update(positions=positions, condition=condition, step=step)
        return torch.where(condition.unsqueeze(-1), torch.nan, torch.zeros_like(positions)).nan_to_num(1e6)

    centred = positions - positions.mean(0, keepdim=True)
    loss = diffusion_loss(silent, SCHEDULE, batch, centred, condition, generator())
    assert loss.item() == pytest.approx(1, abs=0.1)
    assert seen["condition"] is condition and 1 <= seen["step"].item() <= 1000
    torch.testing.assert_close(seen["positions"][:, [0, 39]], centred[:, [0, 39]])


@pytest.mark.parametrize("align_conditional", [False, True])
def test_noisy_frames_are_turned_against_given_ones_only_if_asked(align_conditional):
    batch, clean, seen = graphs(6), draw(6, 4, 3, seed=3), {}
    clean = clean - clean.mean(0)
    condition = torch.zeros(6, 4, dtype=torch.bool)
    condition[:, 0] = True

    def model(batch, positions, step, condition):
        seen.update(positions=positions, step=step)
        return torch.zeros_like(positions)

    diffusion_loss(model, SCHEDULE, batch, clean, condition, generator(2), align_conditional)
    rest = (seen["positions"] - SCHEDULE.scales(seen["step"])[0] * clean)[:, 1:]
    torque = torch.linalg.cross(clean[:, 1:], rest, dim=-1).sum((0, 1))
    torch.testing.assert_close(seen["positions"][:, 0], clean[:, 0])
    assert (torque.norm() < 1e-3) == align_conditional


def test_autoregressive_loss_regresses_the_displacement():
    batch, positions = graphs(4), draw(4, 6, 3).cumsum(1)

    def exact(batch, inputs, step, condition):
        assert condition is None and inputs.shape == (4, 5, 3)
        return positions[:, 1:] - inputs

    assert autoregressive_loss(exact, batch, positions).item() == pytest.approx(0, abs=1e-12)
    still = autoregressive_loss(lambda batch, inputs, step, condition: 0 * inputs, batch, positions)
    assert still.item() == pytest.approx(positions.diff(dim=1).square().mean().item())


def test_bad_input_is_named():
    batch, positions = graphs(3), torch.zeros(3, 4, 3)
    nothing = torch.ones(3, 4, dtype=torch.bool)
    with pytest.raises(ValueError, match="condition gives all frames"):
        diffusion_loss(None, SCHEDULE, batch, positions, nothing, generator())
    with pytest.raises(ValueError, match=r"condition is torch\.float32; wanted torch\.bool"):
        diffusion_loss(None, SCHEDULE, batch, positions, nothing.float(), generator())
    with pytest.raises(ValueError, match=r"positions has shape \[4, 4, 3\]; wanted \[3, frames, 3\]"):
        diffusion_loss(None, SCHEDULE, batch, torch.zeros(4, 4, 3), None, generator())
    with pytest.raises(ValueError, match="1 frame; wanted at least 2"):
        autoregressive_loss(None, batch, torch.zeros(3, 1, 3))
