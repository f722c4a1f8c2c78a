"""Weights with the settings that build their network: plain tensors and values, loaded with `weights_only=True`."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import torch
from torch import nn

from egi.config import ModelSettings
from egi.models.registry import CLASSES, build

FORMAT, VERSION = "egi-model", 1
WEIGHTS = ("ema", "raw")
#: parameters that pretraining hands to an EGInterpolator
STRUCTURE_PREFIXES = ("embedding.", "layers.")


def save(path: str | Path, model: nn.Module, *, raw_state: dict | None = None, extra: dict | None = None) -> None:
    """Write a model's weights and settings; the file appears whole or not at all.

    Parameters
    ----------
    path : str or Path
    model : Network
        Its present weights are stored as "ema".
    raw_state : dict, optional
        State dict of the weights without averaging, stored as "raw"; the present ones if None.
    extra : dict, optional
        Plain values and tensors to keep beside them.
    """
    state = {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}
    raw = state if raw_state is None else {name: tensor.detach().cpu() for name, tensor in raw_state.items()}
    content = {
        "format": FORMAT,
        "version": VERSION,
        "method": model.method,
        "settings": model.settings.plain(),
        "ema": state,
        "raw": raw,
        "extra": extra or {},
    }
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    torch.save(content, partial)
    os.replace(partial, path)


def read(path: str | Path) -> dict[str, Any]:
    """A checkpoint's content, on the CPU.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    dict
        "method", "settings" (plain values), the state dicts "ema" and "raw", and "extra", beside format and version.

    Raises
    ------
    FileNotFoundError
        If there is none.
    ValueError
        If the file is no checkpoint of this format and version.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise ValueError(f"{path} cannot be read as a checkpoint of format {FORMAT!r}: {error}") from error
    found = (content.get("format"), content.get("version")) if isinstance(content, dict) else (None, None)
    if found != (FORMAT, VERSION):
        raise ValueError(f"{path} has format {found[0]!r}, version {found[1]!r}; wanted {FORMAT!r}, version {VERSION}")
    return content


def load(path: str | Path, weights: str = "ema", device: str = "cpu", method: str | None = None) -> nn.Module:
    """Build the network that a checkpoint describes and fill it, strictly.

    Parameters
    ----------
    path : str or Path
    weights : {"ema", "raw"}
    device : str
    method : str, optional
        The method that the checkpoint must be of.

    Returns
    -------
    Network, in evaluation mode

    Raises
    ------
    FileNotFoundError
        If there is none.
    ValueError
        Unknown kind of weights; not a checkpoint, or one of another method or architecture.
    """
    if weights not in WEIGHTS:
        raise ValueError(f"weights = {weights!r}; wanted one of {WEIGHTS}")
    content = read(path)
    if content["method"] not in CLASSES or (method is not None and content["method"] != method):
        wanted = repr(method) if method is not None else f"one of {tuple(CLASSES)}"
        raise ValueError(f"{path} is a checkpoint of method {content['method']!r}; wanted {wanted}")
    model = build(content["method"], ModelSettings.model_validate(content["settings"]))
    _fill(model, content[weights], path)
    return model.to(device).eval()


def load_structure(model: nn.Module, path: str | Path, weights: str = "ema") -> None:
    """Put a BasicES checkpoint's weights into an EGInterpolator, in place, and freeze them for `egi`.

    Parameters
    ----------
    model : EGInterpolator
    path : str or Path
    weights : {"ema", "raw"}

    Raises
    ------
    ValueError
        If the checkpoint is not of BasicES, its settings differ from the model's, or a parameter
        is missing, left over, or outside the listed prefixes.
    """
    structure = getattr(model, "structure", None)
    if structure is None:
        raise ValueError(f"model is {getattr(model, 'method', type(model).__name__)!r}; wanted an EGInterpolator")
    content = read(path)
    if content["method"] != "basices":
        raise ValueError(f"{path} is a checkpoint of method {content['method']!r}; wanted 'basices'")
    wanted, seen = model.settings.plain(), content["settings"]
    differing = [key for key in wanted if key != "temporal_frequencies" and seen.get(key) != wanted[key]]
    if differing:
        shown = ", ".join(f"{key} = {seen.get(key)} (wanted {wanted[key]})" for key in differing)
        raise ValueError(f"{path} holds a structure model of another architecture: {shown}")
    stray = [name for name in content[weights] if not name.startswith(STRUCTURE_PREFIXES)]
    if stray:
        raise ValueError(f"{path} has parameters {stray}; wanted only {STRUCTURE_PREFIXES}")
    _fill(structure, content[weights], path)
    structure.requires_grad_(model.method != "egi")


def _fill(model: nn.Module, state: dict, path: str | Path) -> None:
    """Strict loading, its fault as a ValueError that names the file."""
    try:
        model.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise ValueError(f"{path} does not fit {model.method!r} with these settings: {error}") from error
