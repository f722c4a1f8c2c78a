"""The edge part of EGCL in blocks of frames that fit a processor's cache, with one activation stored of six.

Plain autograd stores six tensors [edges, frames, hidden] a layer and streams each through memory several times. Here
a block of frames passes through all steps while it is in cache; only the middle one is stored, the others follow from
it, or from the nodes, in the backward pass. Same numbers, written for the CPU; GPUs take the composed form.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.amp import custom_bwd, custom_fwd
from torch.autograd.function import once_differentiable
from torch.nn.functional import silu

from egi.nn.linear import affine

#: numbers in one [edges, frames of the block, hidden] tensor
BLOCK_SIZE = 2**18

_silu_backward = torch.ops.aten.silu_backward.default


class BlockedEdges(torch.autograd.Function):
    """Sum of messages [nodes, frames, hidden] and outputs of phi_x [edges, frames, channels].

        m_ij = SiLU(W_m SiLU(p_i + q_j + W_e [d_ij, e_ij]) + b_m),   phi_x = W_o SiLU(W_x m_ij + b_x)

    Arguments of `apply` (DESIGN 4's phi_e and phi_x; the bias of W_e belongs into p):

    Parameters
    ----------
    edge_index : [2, edges] long Tensor
        Source j and target i.
    p, q : [nodes, frames, hidden] Tensor
        What the first layer of phi_e makes of h_i and of h_j.
    edges : [edges, frames, 1 + edge width] Tensor
        Distance (Å) and embedded edge type.
    w_e, w_m, b_m, w_x, b_x, w_o : Tensor
        [hidden, 1 + edge width], [hidden, hidden], [hidden], [hidden, hidden], [hidden], [channels, hidden].
    """

    @staticmethod
    @custom_fwd(device_type="cpu")
    def forward(ctx, edge_index, p, q, edges, *weights):
        """Blocks of frames, one after the other."""
        w_e, w_m, b_m, w_x, b_x, w_o = weights
        hidden, frames = w_m.shape[0], edges.shape[1]
        gathered = p.new_empty(p.shape[0], frames, hidden)
        channels = p.new_empty(edges.shape[0], frames, w_o.shape[0])
        keep = any(ctx.needs_input_grad)
        stored = []
        for block in _blocks(edges, hidden):
            first = silu(_first(edge_index, p[:, block], q[:, block], edges[:, block], w_e), inplace=True)
            second = affine(first, w_m, b_m)
            message = silu(second, inplace=not keep)
            third = affine(message, w_x, b_x)
            shape = edges[:, block].shape[:2]
            gathered[:, block] = _sum(message.view(*shape, hidden), edge_index[1], p.shape[0])
            channels[:, block] = affine(silu(third, inplace=True), w_o).view(*shape, w_o.shape[0])
            if keep:
                stored.append(second)
        ctx.save_for_backward(edge_index, p, q, edges, w_e, w_m, w_x, b_x, w_o, *stored)
        return gathered, channels

    @staticmethod
    @once_differentiable
    @custom_bwd(device_type="cpu")
    def backward(ctx, grad_gathered, grad_channels):
        """Blocks of frames, one after the other; gradients of weights only where wanted."""
        edge_index, p, q, edges, w_e, w_m, w_x, b_x, w_o, *stored = ctx.saved_tensors
        source, target = edge_index
        hidden = w_m.shape[0]
        trained = ctx.needs_input_grad[4]
        totals = [torch.zeros_like(w) for w in (w_e, w_m, w_m[0], w_x, w_x[0], w_o)]
        grad_p, grad_q, grad_edges = torch.empty_like(p), torch.empty_like(q), torch.empty_like(edges)
        for second, block in zip(stored, _blocks(edges, hidden), strict=True):
            message = silu(second)
            third = affine(message, w_x, b_x)
            shape = edges[:, block].shape[:2]
            grad_w = grad_channels[:, block].reshape(-1, w_o.shape[0])
            grad_third = _silu_backward(affine(grad_w, w_o.t()), third)
            grad_message = affine(grad_third, w_x.t())
            grad_message.view(*shape, hidden).add_(grad_gathered[:, block].contiguous().index_select(0, target))
            grad_second = _silu_backward(grad_message, second)
            inner = _first(edge_index, p[:, block], q[:, block], edges[:, block], w_e)
            grad_first = _silu_backward(affine(grad_second, w_m.t()), inner)
            spread = grad_first.view(*shape, hidden)
            grad_p[:, block] = _sum(spread, target, p.shape[0])
            grad_q[:, block] = _sum(spread, source, q.shape[0])
            grad_edges[:, block] = affine(grad_first, w_e.t()).view(*shape, w_e.shape[1])
            if trained:
                inputs = edges[:, block].reshape(-1, w_e.shape[1])
                parts = (
                    affine(grad_first.t(), inputs.t()), affine(grad_second.t(), silu(inner, inplace=True).t()),
                    grad_second.sum(0), affine(grad_third.t(), message.t()), grad_third.sum(0),
                    affine(grad_w.t(), silu(third).t()),
                )  # fmt: skip
                for total, part in zip(totals, parts, strict=True):
                    total += part
        return None, grad_p, grad_q, grad_edges, *(totals if trained else [None] * 6)


def blocked(tensor: Tensor) -> bool:
    """Whether EGCL takes this form.

    Parameters
    ----------
    tensor : [...] Tensor
        Its input.

    Returns
    -------
    bool
        True on the CPU, without autocast, not while compiling.
    """
    return tensor.device.type == "cpu" and not torch.is_autocast_enabled("cpu") and not torch.compiler.is_compiling()


def _blocks(edges: Tensor, hidden: int) -> list[slice]:
    """Slices of frames, each of at least one."""
    frames = edges.shape[1]
    size = max(1, BLOCK_SIZE // max(1, edges.shape[0] * hidden))
    return [slice(start, min(start + size, frames)) for start in range(0, frames, size)]


def _first(edge_index: Tensor, p: Tensor, q: Tensor, edges: Tensor, w_e: Tensor) -> Tensor:
    """p_i + q_j + W_e [d_ij, e_ij] of a block, [edges * frames, hidden]."""
    first = p.contiguous().index_select(0, edge_index[1])
    first += q.contiguous().index_select(0, edge_index[0])
    return first.view(-1, w_e.shape[0]).addmm_(edges.reshape(-1, w_e.shape[1]), w_e.t())


def _sum(values: Tensor, index: Tensor, nodes: int) -> Tensor:
    """[edges, frames, hidden] summed by node, [nodes, frames, hidden]."""
    return values.new_zeros(nodes, *values.shape[1:]).index_add_(0, index, values)
