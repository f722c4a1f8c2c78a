"""One look for every figure: colours, names and units, and writing to disk.

Colours are Okabe and Ito's palette (distinguishable with every common colour vision deficiency);
each method keeps its colour and line style in every figure, the reference is always dark.
"""

from __future__ import annotations

import hashlib
import re
import textwrap
from contextlib import AbstractContextManager
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure

from egi.data.storage import atomic

REFERENCE = "reference"
ORACLE = "md_oracle"

#: method -> (name shown, colour, line style); the order is that of legends and bars
METHODS: dict[str, tuple[str, str, str]] = {
    REFERENCE: ("Reference", "#222222", "-"),
    ORACLE: ("MD oracle", "#7F7F7F", "--"),
    "md_oracle_matched": ("MD oracle, matched", "#AAAAAA", ":"),
    "egi": ("EGInterpolator", "#009E73", "-"),
    "egi_unfrozen": ("EGInterpolator-F (unfrozen)", "#CC79A7", "-."),
    "egi_naive": ("EGInterpolator-N (no pretraining)", "#E69F00", "--"),
    "geotdm": ("GeoTDM", "#0072B2", "-"),
    "ar_egnn": ("AR + EGNN", "#D55E00", ":"),
    "ar_et": ("AR + ET", "#56B4E9", "-."),
    "basices": ("BasicES", "#009E73", "-"),
    "structure": ("BasicES (pretraining)", "#222222", "-"),
    "etkdg": ("ETKDG", "#A6761D", ":"),
    "shuffled_md": ("Shuffled MD", "#882255", ":"),
    "confgf": ("ConfGF", "#56B4E9", ":"),
    "geodiff_a": ("GeoDiff-A", "#0072B2", "--"),
}
#: the oracle cut to a percentage of its length
_CUT_ORACLE = re.compile(r"md_oracle_(\d+)")
_SPARE = ("#332288", "#999933", "#661100", "#44AA99")

#: methods that figures with a panel or a line a method show, unless told otherwise
SHOWN = (ORACLE, "egi", "egi_refined", "egi_naive", "geotdm")

#: ten metastates, in order; light enough to lie under black and red markers
METASTATES = (
    "#88CCEE",
    "#DDCC77",
    "#CC6677",
    "#117733",
    "#332288",
    "#AA4499",
    "#44AA99",
    "#999933",
    "#882255",
    "#BBBBBB",
)

QUANTITIES = {
    "bond_length": ("Bond length", "Å"),
    "bond_angle": ("Bond angle", "°"),
    "torsion": ("Torsion", "°"),
    "tica_0": ("TICA-0", ""),
    "tica_0_1": ("TICA-0,1", ""),
    "decorrelation": ("Decorrelation time", "ps"),
    "occupancy": ("Metastate occupancy", ""),
}

_RC = {
    "font.size": 9, "axes.titlesize": 9.5, "axes.labelsize": 9, "legend.fontsize": 8.5, "xtick.labelsize": 8,
    "ytick.labelsize": 8, "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": "#666666",
    "axes.linewidth": 0.8, "lines.linewidth": 1.5, "legend.frameon": False, "svg.fonttype": "path",
    "figure.facecolor": "white", "savefig.facecolor": "white", "axes.titleweight": "bold",
}  # fmt: skip


def look() -> AbstractContextManager:
    """Context in which figures are drawn and saved."""
    return mpl.rc_context(_RC)


def _base(method: str) -> tuple[str, bool]:
    return method.removesuffix("_refined"), method.endswith("_refined")


def name_of(method: str) -> str:
    """Name of a method as figures and tables show it; `egi_refined` is `EGInterpolator, refined`."""
    base, refined = _base(method)
    cut = _CUT_ORACLE.fullmatch(base)
    name = METHODS[base][0] if base in METHODS else base.replace("_", " ")
    name = f"MD oracle, {cut[1]}% of its length" if cut else name
    return f"{name}, refined" if refined else name


def title_of(method: str) -> str:
    """Name of a method above a panel: without what stands in brackets."""
    return re.sub(r" \(.*?\)", "", name_of(method))


def colour_of(method: str) -> str:
    """Colour of a method; one without its own gets a spare one that depends on its name only."""
    base, _ = _base(method)
    if base in METHODS:
        return METHODS[base][1]
    if base.startswith(ORACLE):
        return METHODS[ORACLE][1]
    return _SPARE[int(hashlib.sha256(base.encode()).hexdigest(), 16) % len(_SPARE)]


def line_of(method: str) -> dict[str, object]:
    """Line keywords of a method: colour, style, width, order (reference below, ours on top)."""
    base, refined = _base(method)
    style = (0, (1, 1)) if refined else METHODS.get(base, ("", "", "-"))[2]
    return {
        "color": colour_of(method),
        "linestyle": style,
        "label": name_of(method),
        "zorder": 4 if base == "egi" else 3,
    }


def ordered(methods: list[str] | set[str]) -> list[str]:
    """Methods in the order of legends: reference, oracle, ours, baselines, others; refined after raw."""
    known = list(METHODS)

    def _place(method: str) -> tuple[int, int, str, bool]:
        base, refined = _base(method)
        cut = _CUT_ORACLE.fullmatch(base)
        place = known.index(ORACLE if cut else base) if cut or base in METHODS else len(known)
        return (place, int(cut[1]) if cut else 100, base, refined)

    return sorted(methods, key=_place)


def new_figure(
    rows: int, columns: int, panel: tuple[float, float] = (2.5, 2.0), **options
) -> tuple[Figure, np.ndarray]:
    """A figure of `rows` x `columns` panels of the given size in inches; axes as a 2D array."""
    figure = Figure(figsize=(panel[0] * columns, panel[1] * rows), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def log_ticks(axis: Axis) -> None:
    """A logarithmic axis whose ticks read 1, 2, 5, 10, …, as plain numbers."""
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "25" else "")
    axis.set_tick_params(which="minor", labelsize=7)


def legend_below(figure: Figure, axes: np.ndarray, columns: int = 4) -> None:
    """One legend for all panels, under them, each label once."""
    handles = {}
    for ax in axes.flat:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    if handles:
        width = figure.get_size_inches()[0]
        fit = max(1, min(columns, len(handles), int(width // 1.9)))
        figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=fit)


def blank(ax: Axes, text: str) -> None:
    """A panel that says why it is empty."""
    ax.set_axis_off()
    ax.text(0.5, 0.5, textwrap.fill(text, 34), ha="center", va="center", color="#666666", transform=ax.transAxes)


def nothing(text: str) -> Figure:
    """A figure that says why there is nothing to draw."""
    figure, axes = new_figure(1, 1, (5.0, 1.2))
    ax = axes[0, 0]
    ax.set_axis_off()
    ax.text(0.5, 0.5, textwrap.fill(text, 70), ha="center", va="center", color="#666666", transform=ax.transAxes)
    return figure


def save(figure: Figure, path: str | Path) -> None:
    """Write `path` (SVG) and the PNG of the same name beside it; same input, same bytes.

    Raises
    ------
    ValueError
        If `path` does not end in ``.svg``.
    """
    path = Path(path)
    if path.suffix != ".svg":
        raise ValueError(f"figure file {path} must end in .svg; the PNG is written beside it")
    metadata = {"svg": {"Date": None, "Creator": "egi"}, "png": {"Software": "egi"}}
    with mpl.rc_context({**_RC, "svg.hashsalt": path.stem}):
        for kind in ("svg", "png"):
            with atomic(path.with_suffix(f".{kind}")) as partial:
                figure.savefig(partial, format=kind, dpi=160, metadata=metadata[kind])
