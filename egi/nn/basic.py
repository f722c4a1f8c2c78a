"""Small pieces that several layers share."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

#: keeps the gradient of a norm finite at zero, in squared units of the vector
NORM_EPSILON = 1e-12


def shrink(layer: nn.Linear, factor: float) -> nn.Linear:
    """Scale a fresh layer's weight and set its bias to zero, so that its residual block starts near the identity.

    Parameters
    ----------
    layer : torch.nn.Linear
        Changed in place.
    factor : float
        Of the weight.

    Returns
    -------
    torch.nn.Linear, the same layer
    """
    with torch.no_grad():
        layer.weight.mul_(factor)
        if layer.bias is not None:
            layer.bias.zero_()
    return layer


def norm(vectors: Tensor) -> Tensor:
    """Length over the last axis, kept as an axis of size 1, with a finite gradient at zero.

    Parameters
    ----------
    vectors : [..., 3] Tensor

    Returns
    -------
    [..., 1] Tensor, sqrt(|v|^2 + 1e-12)
    """
    return (vectors.square().sum(dim=-1, keepdim=True) + NORM_EPSILON).sqrt()


def frequencies(count: int, device: torch.device) -> Tensor:
    """Frequencies of the transformer's sinusoids, w_k = 10000^(-k / count) (Vaswani et al. 2017).

    Parameters
    ----------
    count : int
    device : torch.device

    Returns
    -------
    [count] float64 Tensor
        In radians per frame or per diffusion step.
    """
    return torch.exp(-math.log(10000.0) / count * torch.arange(count, dtype=torch.float64, device=device))


def sinusoids(times: Tensor, count: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """sin(w_k t) and cos(w_k t), computed in float64 so that long trajectories keep their phase.

    Parameters
    ----------
    times : [...] Tensor
        In frames or diffusion steps.
    count : int
        Number of frequencies.
    dtype : torch.dtype
        Of the result.

    Returns
    -------
    tuple of two [..., count] Tensor
    """
    angles = times.to(torch.float64).unsqueeze(-1) * frequencies(count, times.device)
    return angles.sin().to(dtype), angles.cos().to(dtype)


def full_precision(tensor: Tensor):
    """Context that switches autocast off, for logits and coordinate updates (DESIGN 4: they stay in float32).

    Parameters
    ----------
    tensor : Tensor
        One on the device meant.

    Returns
    -------
    torch.autocast
    """
    return torch.autocast(tensor.device.type, enabled=False)


def at_least_float32(tensor: Tensor) -> Tensor:
    """The tensor itself, or its float32 copy if it is of lower precision.

    Parameters
    ----------
    tensor : [...] Tensor

    Returns
    -------
    [...] Tensor, float32 or float64
    """
    return tensor.float() if tensor.dtype in (torch.bfloat16, torch.float16) else tensor
