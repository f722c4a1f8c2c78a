"""EGInterpolator: the inference dial, the frozen part, the alphas."""

from __future__ import annotations

import pytest
import torch

from egi.models import build


@pytest.fixture
def pair(settings, stir):
    """A structure model, and an EGInterpolator that holds the same weights."""
    structure, model = stir(build("basices", settings)), stir(build("egi", settings))
    model.structure.load_state_dict(structure.state_dict())
    return structure, model


@pytest.mark.parametrize("given", [False, True])
def test_alpha_one_is_the_structure_model_bit_for_bit(pair, batch, inputs, given):
    (structure, model), (positions, step, condition) = pair, inputs
    condition = condition if given else None
    model.alpha_override = 1
    assert torch.equal(model(batch, positions, step, condition), structure(batch, positions, step, condition))


def test_alpha_one_treats_each_frame_as_if_alone(pair, batch, inputs):
    (structure, model), (positions, step, _) = pair, inputs
    model.alpha_override = 1.0
    noise = model(batch, positions, step)
    alone = torch.cat([structure(batch, positions[:, [t]], step) for t in range(positions.shape[1])], dim=1)
    torch.testing.assert_close(noise, alone, rtol=1e-5, atol=1e-6)


def test_alpha_near_one_comes_close_to_alpha_one(pair, batch, inputs):
    """The skipped temporal layers are what alpha = 1 would multiply with zero."""
    _, model = pair
    outputs = {}
    for alpha in (1.0, 1 - 1e-6, 0.5, 0.0):
        model.alpha_override = alpha
        outputs[alpha] = model(batch, *inputs).detach()
    assert float((outputs[1 - 1e-6] - outputs[1.0]).abs().max()) < 1e-4
    distances = [float((outputs[alpha] - outputs[1.0]).norm()) for alpha in (0.5, 0.0)]
    assert 1e-3 < distances[0] < distances[1]


def test_learned_alphas_at_the_start_are_one_half(pair, batch, inputs):
    _, model = pair
    for block in model.blocks:
        block.logits.data.zero_()
    learned = model(batch, *inputs)
    model.alpha_override = 0.5
    assert torch.equal(model(batch, *inputs), learned)


def test_logits_are_named_a_layer(pair):
    _, model = pair
    model.blocks[1].logits.data[2] = torch.tensor([0.25, -0.5])
    alphas = model.alphas()
    names = [f"block_{block}.{layer}" for block in (1, 2) for layer in ("et_1", "es", "et_2")]
    assert list(alphas) == names
    assert alphas["block_2.et_2"] == (0.25, -0.5)


@pytest.mark.parametrize("alpha", [-0.1, 1.5])
def test_alpha_outside_is_named(pair, alpha):
    with pytest.raises(ValueError, match=rf"alpha_override = {alpha}; wanted a number from 0 to 1"):
        pair[1].alpha_override = alpha


@pytest.mark.parametrize(("method", "moves"), [("egi", False), ("egi_unfrozen", True), ("egi_naive", True)])
def test_only_egi_freezes_the_structure_model(method, moves, batch, inputs, settings, stir):
    model = stir(build(method, settings))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    optimiser = torch.optim.Adam((p for p in model.parameters() if p.requires_grad), lr=1e-2)
    model(batch, *inputs).square().sum().backward()
    optimiser.step()
    moved = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert any(name.startswith("structure.") for name in moved) is moves
    assert any(name.startswith("blocks.0.") for name in moved)
    frozen = [p for p in model.structure.parameters() if not p.requires_grad]
    assert all(p.grad is None for p in frozen)
    assert bool(frozen) is not moves


def test_structure_model_does_not_see_given_frames(pair, batch, inputs):
    """With the temporal part off, a given frame changes nothing in the noisy ones."""
    (_, model), (positions, step, condition) = pair, inputs
    model.alpha_override = 1
    moved = positions.clone()
    moved[:, 0] += 1
    assert torch.equal(model(batch, moved, step, condition), model(batch, positions, step, condition))
