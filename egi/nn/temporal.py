"""Equivariant temporal attention (ET layer of GeoTDM, Han et al. 2024) in memory linear in the number of frames."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from egi.nn.attention import attend
from egi.nn.basic import at_least_float32, full_precision, shrink, sinusoids
from egi.nn.linear import Linear, mlp, product


class TemporalAttention(nn.Module):
    """Attention of each atom over its own frames.

    With e(t - s) = [sin w(t - s), cos w(t - s)] and psi = W e:

        k_ts = k_s + psi(t - s),  v_ts = v_s + psi(t - s),  a_ts = softmax_s(q_t . k_ts)
        dh_t = sum_s a_ts v_ts,   dx_t = sum_s a_ts g(v_s) (x_t - x_s)

    q, k, v are two-layer perceptrons of h, g one of v with one output. (A constant added to psi
    would drop out of the softmax and equal the bias of v.) Sine and cosine of a difference separate
    into products of functions of t and of s, so all of this is ordinary attention on queries, keys
    and values with a few more channels (DESIGN 5), exactly, and no frames x frames tensor is stored.

    Parameters
    ----------
    hidden : int
    n_frequencies : int
        Number of frequencies w.
    """

    def __init__(self, hidden: int, n_frequencies: int) -> None:
        super().__init__()
        self.n_frequencies = n_frequencies
        self.query, self.key, self.value = (mlp(hidden, hidden, hidden) for _ in range(3))
        self.relative = Linear(2 * n_frequencies, hidden, bias=False)  # W, sine columns first
        self.scale = mlp(hidden, hidden, 1)  # g
        shrink(self.value[1], 0.3)
        shrink(self.scale[1], 0.1)

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """Increments of coordinates and invariants.

        Parameters
        ----------
        x : [nodes, frames, 3] Tensor
            Coordinates, Å.
        h : [nodes, frames, hidden] Tensor
            Invariants.

        Returns
        -------
        tuple of [nodes, frames, 3] Tensor (Å) and [nodes, frames, hidden] Tensor
        """
        query, key, value = self.query(h), self.key(h), self.value(h)
        scale = self.scale(value)
        with full_precision(x):
            x = x - x.mean(dim=1, keepdim=True)  # only differences count; a near origin keeps their digits
            parts = (at_least_float32(part) for part in (query, key, value, scale))
            return self._attend(x, *parts)

    def _attend(self, x: Tensor, query: Tensor, key: Tensor, value: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        """The attention itself, in at least float32; shapes as in `forward`, scale [nodes, frames, 1]."""
        nodes, frames, hidden = query.shape
        count = self.n_frequencies
        weight = self.relative.weight.to(query.dtype)  # [hidden, 2 * count]
        sin, cos = sinusoids(torch.arange(frames, device=x.device), count, query.dtype)  # [frames, count] each
        projected = product(query, weight.t())
        u_sin, u_cos = projected[..., :count], projected[..., count:]
        phases = torch.cat([cos, sin], dim=-1).expand(nodes, frames, 2 * count)
        attended = attend(
            torch.cat([query, u_sin * sin + u_cos * cos, u_cos * sin - u_sin * cos], dim=-1),
            torch.cat([key, phases], dim=-1),
            torch.cat([value, phases, scale, scale * x], dim=-1),
        )  # [nodes, frames, hidden + 2 * count + 4]
        mean_value, mean_cos, mean_sin, mean_scale, mean_scaled_x = attended.split([hidden, count, count, 1, 3], dim=-1)
        relative = torch.cat([sin * mean_cos - cos * mean_sin, cos * mean_cos + sin * mean_sin], dim=-1)
        return x * mean_scale - mean_scaled_x, mean_value + product(relative, weight)
