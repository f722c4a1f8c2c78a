"""Result tables as the report shows them, the paper's value beside ours where the paper has one."""

from __future__ import annotations

from dataclasses import dataclass
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
    "energies": "Force-field energies",
    "refinement": "Refined samples",
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
    "decorrelation_ps": ("Median decorrelation time", "ps", ""),
    "decorrelated_share": ("Decorrelated torsions", "share", ""),
    "coherence": ("Frame-to-frame coherence", "mean cosine", ""),
    "coherence_difference": ("Coherence, less the reference's", "", "zero"),
    "slowest_timescale_ps": ("Slowest timescale", "ps", ""),
    "graph_intact": ("Bonds intact", "share of frames", "higher"),
    "clashing": ("Clashing", "share of frames", "lower"),
    "right_hand": ("Right hand", "share of stereocentres", "higher"),
    "mirror_images": ("Mirror images", "share of frames", "lower"),
    "partly_inverted": ("Partly inverted", "share of frames", "lower"),
    "wrong_double_bonds": ("Wrong E or Z", "share of frames", "lower"),
    "handedness_flips": ("Handedness flips", "a frame", "lower"),
    "mfpt_error": ("Error of passage times", "decades", "lower"),
    "energy_overlap": ("Overlap with the reference's energies", "share", "higher"),
    "energy_within": ("Near the reference's median", "share of frames", "higher"),
    "energy_excess": ("Median above the reference's", "kJ/mol a heavy atom", "zero"),
    "bond_ratio": ("Bond length", "JSD over the matched oracle's", "lower"),
    "angle_ratio": ("Bond angle", "JSD over the matched oracle's", "lower"),
    "all_atom_overlap": ("Overlap of energies", "all atoms, with the MD's", "higher"),
    "torsion_change": ("Torsion", "JSD, refined less raw", ""),
    "refined_share": ("Refined", "share of frames", "higher"),
    "reflected_share": ("Reflected", "share of frames", "lower"),
    "flagged_frame": ("Flagged: overlapping atoms or not finite", "share of frames", "lower"),
    "flagged_stereo": ("Flagged: another stereoisomer", "share of frames", "lower"),
    "flagged_dynamics": ("Flagged: broken or unstable while refined", "share of frames", "lower"),
    "flagged_molecule": ("Flagged: no parameters or wrong atoms", "share of frames", "lower"),
    "torsions_kept_stiff": ("Within 30° while held stiffly", "share of torsions", "higher"),
    "torsions_kept": ("Within 30° at the end", "share of torsions", "higher"),
}
#: the paper's metrics of each table (ours, of what is not in the paper); further ones follow in a table of their own
PAPER_METRICS = {
    "conformer_covmat": ("cov_r", "mat_r", "cov_p", "mat_p"),
    "jsd": ("jsd_bond_length", "jsd_bond_angle", "jsd_torsion", "jsd_tica_0", "jsd_tica_0_1"),
    "decorrelation": ("jsd_decorrelation",),
    "occupancy": ("jsd_occupancy",),
    "interpolation_paths": ("jsd_path_occupancy", "path_probability", "valid_path_rate", "valid_path_probability"),
    "refinement": ("bond_ratio", "angle_ratio", "all_atom_overlap", "torsion_change", "refined_share"),
}
_WIDEST = 5
_PAPER_TABLES = ("table1", "table2", "figure3a")
_STATISTICS = ("mean", "median")


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
    molecules: str


@dataclass(frozen=True)
class Table:
    """A table ready for the template.

    Attributes
    ----------
    name, file, title : str
    metrics : list of (str, str)
        Name, and unit with direction.
    rows : list of Row
    notes : list of str
        Why numbers are missing or few, each with the methods that it is about.
    further : bool
        Metrics beyond the paper's.
    """

    name: str
    file: str
    title: str
    metrics: list[tuple[str, str]]
    rows: list[Row]
    notes: list[str]
    further: bool

    @property
    def has_paper(self) -> bool:
        """Whether the paper has a value for some cell."""
        return any(cell.paper for row in self.rows for cell in row.cells)

    @property
    def has_best(self) -> bool:
        """Whether some cell is marked as the best."""
        return any(cell.best for row in self.rows for cell in row.cells)

    @property
    def has_interval(self) -> bool:
        """Whether some cell has a confidence interval."""
        return any(cell.interval for row in self.rows for cell in row.cells)


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


def read_tables(path: Path, dataset: str, paper: dict) -> list[Table]:
    """A table of `results/{dataset}/` with the paper's values looked up; a wide one in two, the paper's metrics first.

    Raises
    ------
    ValueError
        If the file has no column `method`.
    """
    values = pd.read_csv(path, dtype=str, keep_default_na=False)
    if "method" not in values:
        raise ValueError(f"{path} has columns {list(values)}; wanted a table with the column 'method'")
    values = values.assign(shown=with_refined(values))
    place = {method: index for index, method in enumerate(ordered(set(values["shown"])))}
    values = values.sort_values("shown", key=lambda names: names.map(place), kind="stable")
    metrics = [c.removesuffix("_mean") for c in values if c.endswith("_mean") and not c.endswith("_values_mean")]
    first = [m for m in metrics if m in PAPER_METRICS.get(_kind(path.stem), ())] if len(metrics) > _WIDEST else metrics
    rest = [metric for metric in metrics if metric not in first]
    groups = [(first, False), (rest, bool(first))]
    return [_table(path.stem, values, group, further, (dataset, paper)) for group, further in groups if group]


def _table(stem: str, values: pd.DataFrame, metrics: list[str], further: bool, known: tuple[str, dict]) -> Table:
    dataset, paper = known
    setting = "conformer" if stem.startswith("conformer") else stem.split("_")[0]
    best = _best(values, metrics)
    rows = []
    for index, row in values.iterrows():
        cells = [
            _cell(row, metric, statistic, paper.get((dataset, setting, row["shown"], metric, statistic), ""),
                  index in best[metric, statistic])
            for metric in metrics
            for statistic in _STATISTICS
        ]  # fmt: skip
        counts = {row.get(f"{metric}_molecules", "") for metric in metrics} - {""}
        rows.append(Row(name_of(row["shown"]), colour_of(row["shown"]), cells, _range(counts)))
    kind = _kind(stem)
    title = TITLES.get(kind, kind.replace("_", " ").capitalize())
    name = stem
    if further:
        name, title = f"{stem}-further", f"{title}: further metrics"
    return Table(
        name=name, file=f"{stem}.csv", title=title,
        metrics=[_heading(metric) for metric in metrics], rows=rows, notes=_notes(values, metrics), further=further,
    )  # fmt: skip


def _kind(stem: str) -> str:
    return stem if stem in TITLES else stem.partition("_")[2]


def _range(counts: set[str]) -> str:
    numbers = sorted(int(number) for text in counts if (number := _number(text)) is not None)
    return "" if not numbers else f"{numbers[0]}" if numbers[0] == numbers[-1] else f"{numbers[0]} to {numbers[-1]}"


def _notes(values: pd.DataFrame, metrics: list[str]) -> list[str]:
    """Reasons of these metrics, each once, with the metrics and methods it holds for."""
    methods: dict[tuple[str, str], list[str]] = {}
    for _, row in values.iterrows():
        for part in filter(None, row.get("reason", "").split("; ")):
            metric, _, text = part.partition(": ")
            if metric in metrics:
                methods.setdefault((metric, text.replace("_", " ")), []).append(name_of(row["shown"]))
            elif metric not in METRICS:
                methods.setdefault(("", part), []).append(name_of(row["shown"]))
    together: dict[tuple[str, str], list[str]] = {}
    for (metric, text), names in methods.items():
        about = "all rows" if len(names) == len(values) else "; ".join(names)
        together.setdefault((text, about), []).append(_heading(metric)[0] if metric else "")
    return [
        (f"{', '.join(headings)}: " if any(headings) else "") + f"{text} ({about})."
        for (text, about), headings in together.items()
    ]


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
    digits = ".1e" if abs(number) >= 1e5 else ".1f" if abs(number) >= 10 else ".3f"
    return f"{number:{digits}}".replace("-", "−")


def _cell(row: pd.Series, metric: str, statistic: str, paper: str, best: bool) -> Cell:
    key = f"{metric}_{statistic}"
    low, high = _shown(row.get(f"{key}_low")), _shown(row.get(f"{key}_high"))
    return Cell(
        _shown(row.get(key)),
        f"{low} to {high}" if low.startswith("−") else f"{low}–{high}" if low and high else "",
        paper,
        best,
    )


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
