"""What every metric returns: a value with the number of values behind it, or a status and a reason."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

#: why a molecule has no value, by status
STATUSES = {
    "ok": "scored",
    "no_internal_coordinates": "the molecule has no bond, angle or torsion of the kind",
    "no_finite_frames": "no frame, or no trajectory, without NaN or infinity",
    "too_few_frames": "trajectories shorter than the lag, or too few frames for two states",
    "constant_features": "the features do not vary, so nothing is slow",
    "one_component": "TICA leaves a single component",
    "disconnected": "the microstates of the reference are not all connected",
    "no_flux": "no two metastates exchange flux",
    "no_stereocentre": "the molecule has no stereocentre, or states no E or Z, among its modelled atoms",
    "unreachable": "no path of the wanted length joins the two states",
    "unvisited": "a state that the metric needs is not visited",
    "no_samples": "no samples of this molecule",
    "timeout": "the time limit for one molecule was reached",
    "failed": "conformers or energies could not be computed",
}


class Unscorable(ValueError):
    """A metric that the data cannot give.

    Parameters
    ----------
    status : str
        A key of `STATUSES`.
    reason : str
        What was seen, and what is needed.
    """

    def __init__(self, status: str, reason: str):
        if status not in STATUSES:
            raise ValueError(f"status = {status!r}; allowed: {', '.join(STATUSES)}")
        super().__init__(f"{status}: {reason}")
        self.status = status
        self.reason = reason


@dataclass(frozen=True)
class Score:
    """One metric of one molecule and method.

    Attributes
    ----------
    metric : str
    each : (values,) ndarray
        The values behind the molecule's number, such as one a torsion.
    value : float or None
        The molecule's number; None if it could not be computed.
    status, reason : str
        A key of `STATUSES`; the reason may also qualify an ``ok``.
    extra : dict
        Further columns of the per-molecule table.
    """

    metric: str
    each: np.ndarray = field(default_factory=lambda: np.empty(0))
    value: float | None = None
    status: str = "ok"
    reason: str = ""
    extra: dict[str, Any] = field(default_factory=dict)


def mean_score(metric: str, each: np.ndarray, reason: str = "", **extra: Any) -> Score:
    """A score that is the mean of the values behind it."""
    each = np.atleast_1d(np.asarray(each, dtype=float))
    return Score(metric, each, float(each.mean()), reason=reason, extra=extra)


def attempt(metrics: tuple[str, ...], compute: Callable[[], list[Score]]) -> list[Score]:
    """Scores from `compute`, or a status row a metric where the data cannot give them.

    A value that is not finite becomes a status row as well, so that tables hold finite numbers only.
    """
    try:
        scores = compute()
    except Unscorable as error:
        return [Score(metric, status=error.status, reason=error.reason) for metric in metrics]
    return [score if _finite(score) else _emptied(score) for score in scores]


def _finite(score: Score) -> bool:
    return score.value is None or math.isfinite(score.value)


def _emptied(score: Score) -> Score:
    return Score(score.metric, status="failed", reason=f"the value is {score.value}, not finite", extra=score.extra)
