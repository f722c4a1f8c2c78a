"""Linear layers through oneDNN on the CPU, where BLAS may be half as fast.

The MKL in torch's wheels runs at half speed on processors of other makers; oneDNN, in the same wheels, does not.
Anything but float32 on the CPU (autocast, float64, GPUs, compiled graphs) takes torch's own path.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.amp import custom_bwd, custom_fwd
from torch.nn.functional import silu

#: smallest number of multiplications for which the detour pays
LEAST_WORK = 2**18

try:
    _onednn = torch.ops.mkldnn._linear_pointwise.default
except AttributeError:  # a build without oneDNN
    _onednn = None


def affine(x: Tensor, weight: Tensor, bias: Tensor | None = None, activation: str = "none") -> Tensor:
    """x W^T + b, or SiLU of it, without a record for autograd.

    Parameters
    ----------
    x : [rows, width in] Tensor
    weight : [width out, width in] Tensor
        Any strides.
    bias : [width out] Tensor or None
    activation : {"none", "swish"}

    Returns
    -------
    [rows, width out] Tensor
    """
    if fast(x, weight):
        # oneDNN takes a sliced weight only through its reference code, a thousand times slower
        if not (weight.is_contiguous() or weight.t().is_contiguous()):
            weight = weight.contiguous()
        return _onednn(_dense(x), _dense(weight), bias, activation, [], "")
    out = x @ weight.t() if bias is None else torch.addmm(bias, x, weight.t())
    return silu(out, inplace=True) if activation == "swish" else out


def _dense(matrix: Tensor) -> Tensor:
    """The matrix without gaps between its rows or columns; for others oneDNN has only its slow reference code."""
    return matrix if matrix.is_contiguous() or matrix.t().is_contiguous() else matrix.contiguous()


def fast(x: Tensor, weight: Tensor) -> bool:
    """Whether oneDNN takes the product x W^T and it is large enough for the detour.

    Parameters
    ----------
    x : [rows, width in] Tensor
    weight : [width out, width in] Tensor

    Returns
    -------
    bool
        True for float32 on the CPU without autocast, from LEAST_WORK multiplications.
    """
    return (
        _onednn is not None
        and x.dtype == weight.dtype == torch.float32
        and x.device.type == "cpu"
        and x.numel() * weight.shape[0] >= LEAST_WORK
        and not torch.is_autocast_enabled("cpu")
    )


class _Product(torch.autograd.Function):
    """`affine` with its gradients, which are products of the same kind; SiLU of the input is computed again."""

    @staticmethod
    @custom_fwd(device_type="cpu")
    def forward(ctx, x, weight, bias, activated):
        """x [rows, width in] to [rows, width out], storing x and the weight."""
        ctx.save_for_backward(x, weight)
        ctx.activated = activated
        return affine(silu(x) if activated else x, weight, bias)

    @staticmethod
    @custom_bwd(device_type="cpu")
    def backward(ctx, grad):
        """Gradients of x, weight and bias, differentiable themselves."""
        x, weight = ctx.saved_tensors
        grad = _dense(grad)
        grad_x = grad_weight = None
        if ctx.needs_input_grad[0]:
            grad_x = product(grad, weight.t())
            grad_x = torch.ops.aten.silu_backward(grad_x, x) if ctx.activated else grad_x
        if ctx.needs_input_grad[1]:
            grad_weight = product(grad.t(), (silu(x) if ctx.activated else x).t())
        return grad_x, grad_weight, grad.sum(dim=0) if ctx.needs_input_grad[2] else None, None


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None, activated: bool = False) -> Tensor:
    """x W^T + b with gradients, or SiLU(x) W^T + b, storing x alone.

    Parameters
    ----------
    x : [..., width in] Tensor
    weight : [width out, width in] Tensor
    bias : [width out] Tensor or None
    activated : bool

    Returns
    -------
    [..., width out] Tensor
    """
    if torch.compiler.is_compiling() or not fast(x, weight):
        return nn.functional.linear(silu(x) if activated else x, weight, bias)
    return _Product.apply(x.reshape(-1, x.shape[-1]), weight, bias, activated).view(*x.shape[:-1], -1)


class Linear(nn.Linear):
    """x W^T + b, a `torch.nn.Linear` through `product`; its parameters are torch's."""

    def forward(self, x: Tensor) -> Tensor:
        """[..., width in] Tensor to [..., width out] Tensor."""
        return product(x, self.weight, self.bias)


class SiLULinear(nn.Linear):
    """SiLU(x) W^T + b, with the parameters of a `torch.nn.Linear`; stores x alone for the backward pass."""

    def forward(self, x: Tensor) -> Tensor:
        """[..., width in] Tensor to [..., width out] Tensor."""
        return product(x, self.weight, self.bias, activated=True)


def mlp(width_in: int, hidden: int, width_out: int, last_bias: bool = True) -> nn.Sequential:
    """Two linear layers with SiLU between, W_2 SiLU(W_1 x + b_1) + b_2: the perceptrons of EGCL and ET layer.

    Parameters
    ----------
    width_in, hidden, width_out : int
    last_bias : bool
        Whether b_2 exists.

    Returns
    -------
    torch.nn.Sequential
        Maps [..., width_in] to [..., width_out].
    """
    return nn.Sequential(Linear(width_in, hidden), SiLULinear(hidden, width_out, bias=last_bias))
