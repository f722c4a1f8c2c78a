"""Loss curves, and the learned interpolation weights (paper figures 13 to 16)."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from egi.figures.style import legend_below, line_of, log_ticks, new_figure, nothing

COORDINATES = "#0072B2"
INVARIANTS = "#E69F00"


def training_curves(curves: dict[str, dict[str, pd.DataFrame]]) -> Figure:
    """Loss against step: a panel a stage, a colour a method; thin = training (smoothed), markers = validation.

    Parameters
    ----------
    curves : dict
        Stage (``pretraining`` or a task) -> method -> table with step, train_loss, val_loss.
    """
    curves = {stage: tables for stage, tables in curves.items() if any(len(table) for table in tables.values())}
    if not curves:
        return nothing("No training curve was recorded.")
    columns = min(len(curves), 2)
    rows = math.ceil(len(curves) / columns)
    figure, axes = new_figure(rows, columns, (3.6, 2.4))
    for ax in axes.flat[len(curves) :]:
        ax.set_axis_off()
    for ax, (stage, tables) in zip(axes.flat, curves.items(), strict=False):
        for method, table in tables.items():
            _curve(ax, table, method)
        ax.set_title(stage.capitalize())
        ax.set_xlabel("Step")
        ax.set_ylabel("Loss")
        ax.set_yscale("log")
        log_ticks(ax.yaxis)
    legend_below(figure, axes)
    return figure


def _curve(ax: Axes, table: pd.DataFrame, method: str) -> None:
    line = line_of(method)
    losses = table.dropna(subset=["train_loss"])
    smooth = losses["train_loss"].rolling(max(len(losses) // 25, 1), min_periods=1).mean()
    ax.plot(losses["step"], smooth, **{**line, "linewidth": 1, "alpha": 0.75})
    checks = table.dropna(subset=["val_loss"])
    ax.plot(checks["step"], checks["val_loss"], "o", color=line["color"], markersize=3.5, markeredgecolor="white")


def alpha_logits(logits: dict[str, dict[str, tuple[float, float]]]) -> Figure:
    """Logit k of alpha = sigmoid(k) of each layer, coordinates and invariants; a panel a model.

    Paper figures 13 (QM9 unconditional), 14 (QM9 interpolation), 15 (Drugs forward), 16 (Drugs interpolation).
    k = 0 is an equal mixture, large k the pretrained layer, small k the trajectory layer.

    Parameters
    ----------
    logits : dict
        Title of a panel -> layer name -> (logit for coordinates, logit for invariants).
    """
    logits = {title: layers for title, layers in logits.items() if layers}
    if not logits:
        return nothing("No model with interpolation weights was trained.")
    layers = max(len(values) for values in logits.values())
    columns = 1 if layers > 9 else min(2, len(logits))
    figure, axes = new_figure(math.ceil(len(logits) / columns), columns, (max(3.2, 0.34 * layers + 1.2), 2.3))
    for ax in axes.flat[len(logits) :]:
        ax.set_axis_off()
    for ax, (title, values) in zip(axes.flat, logits.items(), strict=False):
        pairs = np.asarray(list(values.values()), dtype=float)  # [layers, 2]
        places = np.arange(len(pairs))
        ax.axhline(0, color="#888888", linewidth=0.8)
        for column, (label, colour, marker) in enumerate(
            (("coordinates x", COORDINATES, "o"), ("invariants h", INVARIANTS, "s"))
        ):
            ax.vlines(places + (column - 0.5) * 0.22, 0, pairs[:, column], color=colour, linewidth=1.2)
            ax.plot(places + (column - 0.5) * 0.22, pairs[:, column], marker, color=colour, markersize=5, label=label)
        reach = 1.15 * max(np.abs(pairs[np.isfinite(pairs)]).max(initial=0), 0.05)
        ax.set_ylim(-reach, reach)
        ax.set_xticks(places, [_short(layer) for layer in values], rotation=45, ha="right", rotation_mode="anchor")
        ax.set_xlabel("Block and layer")
        ax.set_ylabel("Logit of α")
        ax.set_title(title)
    legend_below(figure, axes)
    return figure


def _short(layer: str) -> str:
    """`block_1.et_2` as `1 ET2`."""
    return layer.replace("block_", "").replace(".", " ").replace("_", "").upper()
