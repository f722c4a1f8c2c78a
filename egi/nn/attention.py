"""Softmax attention in blocks of queries through oneDNN, for long trajectories on the CPU.

Does what `scaled_dot_product_attention` does, with products at oneDNN's speed (see `egi.nn.linear`) and without
padding keys and values to one width. Scores exist for one atom and one block at a time, and are computed again in the
backward pass from the stored logarithms of the softmax's sums (Dao et al. 2022).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.amp import custom_bwd, custom_fwd
from torch.autograd.function import once_differentiable

from egi.nn.linear import affine, fast

#: numbers in one block of scores, and fewest frames for which blocks pay
BLOCK_SIZE, LEAST_FRAMES = 2**18, 192


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """softmax(q k^T) v for each atom, unscaled.

    Parameters
    ----------
    query, key : [nodes, frames, width] Tensor
    value : [nodes, frames, width out] Tensor

    Returns
    -------
    [nodes, frames, width out] Tensor
    """
    long = query.shape[1] >= LEAST_FRAMES and fast(query[0], key[0])
    if long and not torch.compiler.is_compiling():
        return _Blocked.apply(query, key, value)
    width = max(query.shape[-1], value.shape[-1])  # the fused kernels want one
    padded = (nn.functional.pad(part, (0, width - part.shape[-1])).unsqueeze(1) for part in (query, key, value))
    attended = nn.functional.scaled_dot_product_attention(*padded, scale=1.0).squeeze(1)
    return attended[..., : value.shape[-1]]


class _Blocked(torch.autograd.Function):
    """Atoms and blocks of queries, one after the other."""

    @staticmethod
    @custom_fwd(device_type="cpu")
    def forward(ctx, query, key, value):
        """Output, and the logarithms of the softmax's sums [nodes, frames] kept for the backward pass."""
        out = torch.empty_like(value)
        logs = query.new_empty(query.shape[:2])
        for place, block in _blocks(query):
            scores = affine(query[place, block], key[place])
            logs[place, block] = scores.logsumexp(dim=-1)
            scores.sub_(logs[place, block, None]).exp_()
            out[place, block] = affine(scores, value[place].t())
        ctx.save_for_backward(query, key, value, out, logs)
        return out

    @staticmethod
    @once_differentiable
    @custom_bwd(device_type="cpu")
    def backward(ctx, grad):
        """Gradients of query, key and value; weights a = exp(q k - log sum), d(scores) = a (g v - g . out)."""
        query, key, value, out, logs = ctx.saved_tensors
        grad = grad.contiguous()
        inner = (grad * out).sum(dim=-1, keepdim=True)
        grad_query, grad_key, grad_value = torch.empty_like(query), torch.zeros_like(key), torch.zeros_like(value)
        for place, block in _blocks(query):
            q, g = query[place, block], grad[place, block]
            weights = affine(q, key[place]).sub_(logs[place, block, None]).exp_()
            grad_value[place] += affine(weights.t(), g.t())
            weights.mul_(affine(g, value[place]).sub_(inner[place, block]))  # gradient of the scores
            grad_query[place, block] = affine(weights, key[place].t())
            grad_key[place] += affine(weights.t(), q.t())
        return grad_query, grad_key, grad_value


def _blocks(query: Tensor) -> list[tuple[int, slice]]:
    """Atom and slice of queries of each block."""
    nodes, frames = query.shape[:2]
    size = max(1, BLOCK_SIZE // frames)
    slices = [slice(start, min(start + size, frames)) for start in range(0, frames, size)]
    return [(place, block) for place in range(nodes) for block in slices]
