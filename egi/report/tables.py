"""Result tables as the report shows them, the paper's value beside ours where the paper has one."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from egi.figures.distributions import with_refined
from egi.figures.style import colour_of, name_of, ordered

TITLES = {
    "conformer_covmat": "Conformers: coverage and matching",
    "jsd": "Distributions: Jensen-Shannon distance to the reference",
    "decorrelation": "Torsion decorrelation times",
    "occupancy": "Metastate occupancies",
    "interpolation_paths": "Transition paths",
}
#: metric -> (name, unit, better)
METRICS = {
    "cov_r": ("COV-R", "%", "higher"),
    "cov_p": ("COV-P", "%", "higher"),
    "mat_r": ("MAT-R", "Å", "lower"),
    "mat_p": ("MAT-P", "Å", "lower"),
    "jsd_bond_length": ("Bond length", "JSD", "lower"),
    "jsd_bond_angle": ("Bond angle", "JSD", "lower"),
    "jsd_torsion": ("Torsion", "JSD", "lower"),
    "jsd_tica_0": ("TICA-0", "JSD", "lower"),
    "jsd_tica_0_1": ("TICA-0,1", "JSD", "lower"),
    "jsd_decorrelation": ("Decorrelation time", "JSD", "lower"),
    "jsd_occupancy": ("Metastate occupancy", "JSD", "lower"),
    "jsd_path_occupancy": ("Occupancy of paths", "JSD", "lower"),
    "path_probability": ("Path probability", "", "higher"),
    "valid_path_rate": ("Valid path rate", "", "higher"),
    "valid_path_probability": ("Valid path probability", "", "higher"),
    "decorrelation_ps": ("Decorrelation time", "ps", ""),
    "decorrelated_share": ("Decorrelated torsions", "share", ""),
    "coherence": ("Frame-to-frame coherence", "mean cosine", ""),
    "coherence_difference": ("Coherence, less the reference's", "", "zero"),
    "slowest_timescale_ps": ("Slowest timescale", "ps", ""),
    "mfpt_error": ("Error of passage times", "decades", "lower"),
}
_PAPER_TABLES = ("table1", "table2", "figure3a")
_STATISTICS = ("mean", "median")
_PARTS = ("mean", "median", "molecules", "values", "left_out", "mean_low", "mean_high", "median_low", "median_high",
          "values_mean", "values_median")  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """One statistic of one metric: our value, its confidence interval, the paper's value; empty = none."""

    value: str = ""
    interval: str = ""
    paper: str = ""
    best: bool = False


@dataclass(frozen=True)
class Row:
    """A method's cells, in the order of the table's metrics, mean and median each."""

    name: str
    colour: str
    cells: list[Cell]
    extra: list[str]
    molecules: str
    reason: str


@dataclass(frozen=True)
class Table:
    """A table ready for the template."""

    name: str
    title: str
    metrics: list[tuple[str, str]]
    extra: list[str]
    rows: list[Row] = field(default_factory=list)
    has_paper: bool = False
    has_interval: bool = False


def read_paper(path: str | Path) -> dict[tuple[str, str, str, str, str], str]:
    """The paper's numbers: (dataset, setting, method, metric, statistic) -> value as printed.

    Table 1 wins over table 2 where both print a number (A-24); enlarged sets (table 4) are left out.
    """
    rows = pd.read_csv(path, comment="#", dtype=str)
    found: dict[tuple[str, str, str, str, str], str] = {}
    for table in _PAPER_TABLES:
        for row in rows[rows["table"] == table].itertuples():
            found.setdefault((row.dataset, row.setting, row.method, row.metric, row.statistic), row.value)
    return found


def read_table(path: Path, dataset: str, paper: dict) -> Table:
    """A table of `results/{dataset}/` with the paper's values looked up.

    Raises
    ------
    ValueError
        If the file has no column `method`.
    """
    values = pd.read_csv(path, dtype=str, keep_default_na=False)
    if "method" not in values:
        raise ValueError(f"{path} has columns {list(values)}; wanted a table with the column 'method'")
    values = values.assign(shown=with_refined(values))
    metrics = [c.removesuffix("_mean") for c in values if c.endswith("_mean") and not c.endswith("_values_mean")]
    made = {f"{metric}_{part}" for metric in metrics for part in _PARTS}
    extra = [c for c in values if c not in made and c not in ("method", "refined", "reason", "shown")]
    setting = "conformer" if path.stem.startswith("conformer") else path.stem.split("_")[0]
    place = {method: index for index, method in enumerate(ordered(set(values["shown"])))}
    values = values.sort_values("shown", key=lambda names: names.map(place), kind="stable")
    best = _best(values, metrics)
    rows = []
    for index, row in values.iterrows():
        cells = [
            _cell(row, metric, statistic, paper.get((dataset, setting, row["method"], metric, statistic), ""),
                  index in best[metric, statistic])
            for metric in metrics
            for statistic in _STATISTICS
        ]  # fmt: skip
        counts = {row.get(f"{metric}_molecules", "") for metric in metrics} - {""}
        molecules = "/".join(sorted(counts, key=float)) if all(_number(c) is not None for c in counts) else ""
        rows.append(
            Row(name_of(row["shown"]), colour_of(row["shown"]), cells, [row[c] for c in extra],
                molecules, row.get("reason", ""))
        )  # fmt: skip
    return Table(
        name=path.stem, title=_title(path.stem), metrics=[_heading(metric) for metric in metrics],
        extra=[column.replace("_", " ") for column in extra], rows=rows,
        has_paper=any(cell.paper for row in rows for cell in row.cells),
        has_interval=any(cell.interval for row in rows for cell in row.cells),
    )  # fmt: skip


def _number(text: object) -> float | None:
    try:
        number = float(str(text))
    except ValueError:
        return None
    return number if number == number else None


def _shown(text: object) -> str:
    number = _number(text)
    if number is None:
        return ""
    return f"{number:.1f}" if abs(number) >= 10 else f"{number:.3f}"


def _cell(row: pd.Series, metric: str, statistic: str, paper: str, best: bool) -> Cell:
    key = f"{metric}_{statistic}"
    low, high = _shown(row.get(f"{key}_low")), _shown(row.get(f"{key}_high"))
    return Cell(_shown(row.get(key)), f"{low}–{high}" if low and high else "", paper, best)


def _best(values: pd.DataFrame, metrics: list[str]) -> dict[tuple[str, str], set]:
    """Rows with the best value of each column, among what was generated (neither oracle nor null models)."""
    generated = values[~values["method"].str.startswith(("md_oracle", "reference", "shuffled_md", "etkdg"))]
    best = {}
    for metric in metrics:
        for statistic in _STATISTICS:
            numbers = pd.to_numeric(generated.get(f"{metric}_{statistic}", pd.Series(dtype=float)), errors="coerce")
            numbers = numbers.dropna()
            better = METRICS.get(metric, ("", "", ""))[2]
            numbers = numbers.abs() if better == "zero" else numbers
            target = numbers.max() if better == "higher" else numbers.min()
            best[metric, statistic] = set(numbers.index[numbers == target]) if better and len(numbers) > 1 else set()
    return best


def _heading(metric: str) -> tuple[str, str]:
    name, unit, better = METRICS.get(metric, (metric.replace("_", " ").capitalize(), "", ""))
    advice = {"": "", "zero": "zero is best"}.get(better, f"{better} is better")
    return name, ", ".join(part for part in (unit, advice) if part)


def _title(stem: str) -> str:
    if stem in TITLES:
        return TITLES[stem]
    kind = stem.partition("_")[2]
    return TITLES.get(kind, kind.replace("_", " ").capitalize())
