"""Time-lagged independent component analysis of torsions, fitted on the reference only (FACTS 15, 16)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from egi.metrics.scores import Unscorable

#: share of the kinetic variance that the components kept for clustering carry (PyEMMA's default)
KINETIC_VARIANCE = 0.95
_CONSTANT = 1e-9


@dataclass(frozen=True)
class Tica:
    """A fitted TICA.

    Attributes
    ----------
    origin : (dimensions,) ndarray
        Projection of zero features.
    components : (features, dimensions) ndarray
        Scaled to the kinetic map, slowest first.
    eigenvalues : (dimensions,) ndarray
    kinetic_dimensions : int
        First components that carry 95% of the kinetic variance.
    """

    origin: np.ndarray
    components: np.ndarray
    eigenvalues: np.ndarray
    kinetic_dimensions: int

    def project(self, torsions: np.ndarray, dimensions: int | None = None) -> np.ndarray:
        """Torsions [..., torsions] to TICA coordinates [..., dimensions]; all dimensions by default.

        Raises
        ------
        Unscorable
            If more dimensions are asked for than there are.
        """
        available = self.components.shape[1]
        if dimensions is not None and dimensions > available:
            raise Unscorable("one_component", f"TICA leaves {available} component(s); {dimensions} are needed")
        return torsion_features(torsions) @ self.components[:, :dimensions] + self.origin[:dimensions]


def torsion_features(torsions: np.ndarray) -> np.ndarray:
    """Cosines and sines of torsions, [..., torsions] to [..., 2 torsions]."""
    return np.concatenate([np.cos(torsions), np.sin(torsions)], axis=-1, dtype=np.float64)


def fit_tica(series: list[np.ndarray], lag: int) -> Tica:
    """Fit TICA on the reference's torsions; deeptime's estimator, on which PyEMMA's stands.

    Parameters
    ----------
    series : list of (frames, torsions) ndarray
        One a trajectory, radian.
    lag : int
        Frames.

    Raises
    ------
    Unscorable
        If there are no torsions, they do not vary, or every trajectory is shorter than the lag.
    """
    from deeptime.decomposition import TICA  # slow to import

    features = [torsion_features(s) for s in series if len(s) > lag]
    if series and series[0].shape[1] == 0:
        raise Unscorable("no_internal_coordinates", "the molecule has no torsion outside aromatic rings")
    if not features:
        longest = max((len(s) for s in series), default=0)
        raise Unscorable("too_few_frames", f"the longest trajectory has {longest} frames; the TICA lag is {lag}")
    pooled = np.concatenate(features)
    if pooled.std(0).max() < _CONSTANT:
        raise Unscorable("constant_features", "no torsion varies in the reference")
    try:
        model = TICA(lagtime=lag, scaling="kinetic_map").fit_from_timeseries(features).fetch_model()
    except np.linalg.LinAlgError as error:
        raise Unscorable("constant_features", f"TICA has no component: {error}") from error
    # the estimator's affine map as plain arrays, so that it can be kept and sent to workers
    origin = model.transform(np.zeros((1, pooled.shape[1])))
    components = model.transform(np.eye(pooled.shape[1])) - origin
    eigenvalues = np.asarray(model.singular_values[: components.shape[1]], dtype=float)
    share = np.cumsum(eigenvalues**2) / np.sum(eigenvalues**2)
    return Tica(origin[0], components, eigenvalues, int(np.searchsorted(share, KINETIC_VARIANCE) + 1))
