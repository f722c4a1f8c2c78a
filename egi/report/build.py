"""Puts the report together: finds a run's files by their fixed names and renders one self-contained page."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from egi.config import Settings
from egi.data.storage import atomic, package_versions
from egi.report import summary
from egi.report.tables import read_paper, read_tables
from egi.report.viewer import Limits, scenes

_TASKS = {
    "conformers": "Conformers drawn by the structure model",
    "unconditional": "Unconditional generation",
    "forward": "Forward simulation",
    "interpolation": "Transition path interpolation",
    "training": "Training",
}
_TABLES = {
    "conformers": ("conformer_covmat",),
    "unconditional": (
        "unconditional_jsd",
        "unconditional_decorrelation",
        "unconditional_occupancy",
        "unconditional_energies",
        "unconditional_refinement",
    ),
    "forward": (
        "forward_jsd",
        "forward_decorrelation",
        "forward_occupancy",
        "forward_energies",
        "forward_refinement",
    ),
    "interpolation": (
        "interpolation_paths",
        "interpolation_jsd",
        "interpolation_energies",
        "interpolation_refinement",
    ),
    "training": (),
}
DATASET_NAMES = {"qm9": "QM9", "drugs": "Drugs"}


@dataclass(frozen=True)
class Report:
    """What a report is made from.

    Attributes
    ----------
    results : Path
        Folder with a folder a dataset.
    datasets : list of str
    assets : Path
        Folder of the template, captions, viewer and the paper's numbers (`workflow/report`).
    settings : Settings or None
        The run's configuration.
    paper : Settings or None
        The paper's configuration, for the list of differences.
    limits : Limits
    """

    results: Path
    datasets: list[str]
    assets: Path
    settings: Settings | None = None
    paper: Settings | None = None
    limits: Limits = field(default_factory=Limits)


def build(report: Report, output: str | Path) -> dict[str, int]:
    """Write the page; returns how many tables, figures and scenes it has.

    Raises
    ------
    ValueError
        If `report.results` has no folder of one of the datasets.
    """
    for name in report.datasets:
        if not (report.results / name).is_dir():
            raise ValueError(f"dataset {name!r} has no folder {report.results / name}; wanted the results of a run")
    captions = yaml.safe_load((report.assets / "captions.yaml").read_text(encoding="utf-8"))
    paper = read_paper(report.assets / "paper_tables.csv")
    datasets = [_dataset(report, name, captions, paper) for name in report.datasets]
    shown = [scene for name in report.datasets for scene in scenes(report.results / name, report.limits)]
    environment = Environment(
        loader=FileSystemLoader(report.assets), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    page = environment.get_template("report.html.j2").render(
        datasets=datasets, scenes=shown, scenes_json=_json(shown), versions=package_versions(),
        config=_config(report.settings), style=_asset(report, "style.css"), script=_asset(report, "viewer.js"),
        library=_asset(report, "vendor/3Dmol-min.js"), comparable=all(d["comparable"] for d in datasets),
    )  # fmt: skip
    with atomic(output) as partial:
        partial.write_text(page, encoding="utf-8")
    sections = [section for dataset in datasets for section in dataset["sections"]]
    return {
        "tables": sum(len(section["tables"]) for section in sections),
        "figures": sum(len(part["figures"]) for part in sections) + sum(len(d["simulation"]) for d in datasets),
        "scenes": len(shown),
    }


def _dataset(report: Report, name: str, captions: dict[str, Any], paper: dict) -> dict[str, Any]:
    folder = report.results / name
    settings, theirs = (s.datasets.get(name) if s else None for s in (report.settings, report.paper))
    differences = summary.differences(settings, theirs) if settings else []
    sections = []
    for key, title in _TASKS.items():
        paths = [folder / f"{stem}.csv" for stem in _TABLES[key]]
        tables = [table for path in paths if path.is_file() for table in read_tables(path, name, paper)]
        figures = _figures(folder / "figures", captions, key)
        if tables or figures:
            sections.append({"key": key, "title": title, "tables": tables, "figures": figures})
    rejects = summary.rejects(folder)
    return {
        "name": name, "title": DATASET_NAMES.get(name, name), "sections": sections, "counts": summary.counts(folder),
        "rejects": summary.listing(rejects, ("source", "stage", "cause", "count", "example")),
        "quality": summary.quality(folder), "simulation": _figures(folder / "figures", captions, "simulation"),
        "filters": summary.filters(folder),
        "run_times": summary.run_times(folder), "differences": differences,
        "comparable": bool(settings and theirs and not differences),
    }  # fmt: skip


def _figures(folder: Path, captions: dict[str, Any], section: str) -> list[dict[str, Any]]:
    """Figures of a section as data addresses (each its own document, so that their ids cannot clash)."""
    found = []
    for name, caption in captions["figures"].items():
        if caption["section"] not in (section, "{task}"):
            continue
        stem = name.replace("{task}", section)
        path = folder / f"{stem}.svg"
        if path.is_file():
            encoded = base64.b64encode(path.read_bytes()).decode()
            found.append({**caption, "name": stem, "source": f"data:image/svg+xml;base64,{encoded}"})
    return found


def _asset(report: Report, name: str) -> Markup:
    """A style sheet or script of ours, to stand inside its element."""
    return Markup((report.assets / name).read_text(encoding="utf-8").replace("</script", "<\\/script"))


def _json(value: Any) -> Markup:
    return Markup(json.dumps(value, separators=(",", ":")).replace("<", "\\u003c"))


def _config(settings: Settings | None) -> str:
    return yaml.safe_dump(settings.plain(), sort_keys=False, allow_unicode=True) if settings else ""
