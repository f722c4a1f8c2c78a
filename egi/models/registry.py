"""Networks by the name of their method."""

from __future__ import annotations

from torch import nn

from egi.config import ModelSettings
from egi.models.autoregressive import AutoregressiveEGNN, AutoregressiveET
from egi.models.basices import BasicES
from egi.models.geotdm import GeoTDM
from egi.models.interpolator import EGInterpolator

CLASSES = {
    "basices": BasicES,
    "egi": EGInterpolator,
    "egi_naive": EGInterpolator,
    "egi_unfrozen": EGInterpolator,
    "geotdm": GeoTDM,
    "ar_egnn": AutoregressiveEGNN,
    "ar_et": AutoregressiveET,
}


def build(method: str, settings: ModelSettings) -> nn.Module:
    """A fresh network; weights come from torch's global generator.

    Parameters
    ----------
    method : str
        One of CLASSES.
    settings : ModelSettings

    Returns
    -------
    Network

    Raises
    ------
    ValueError
        Unknown method.
    """
    if method not in CLASSES:
        raise ValueError(f"method = {method!r}; wanted one of {', '.join(CLASSES)}")
    return CLASSES[method](method, settings)


def parameter_counts(model: nn.Module) -> tuple[int, int]:
    """Number of parameters (paper C.2: BasicES 918K, EGInterpolator 3.3M with 2.3M trained, GeoTDM 1.4M).

    Parameters
    ----------
    model : torch.nn.Module

    Returns
    -------
    tuple of int
        In all, and of those that are trained.
    """
    sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
    return sum(n for n, _ in sizes), sum(n for n, trained in sizes if trained)
