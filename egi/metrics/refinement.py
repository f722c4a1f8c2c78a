"""What refinement did to each method's samples: frames flagged, torsions moved, distances against the oracle's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pandas as pd

from egi.metrics.scores import Score
from egi.metrics.tables import Row

#: metric -> statuses of `egi.md.refine` that it counts together
FLAGS = {
    "flagged_frame": ("not_finite", "overlap"),
    "flagged_stereo": ("some_inverted", "wrong_double_bond"),
    "flagged_dynamics": ("unstable", "broken"),
    "flagged_molecule": ("wrong_atoms", "no_parameters"),
}
_COPIED = ("torsions_kept_stiff", "torsions_kept", "all_atom_overlap")
_ORACLE = "md_oracle_matched"
#: share of refined frames below which distances are not compared: they fall with the number of frames
LEAST_REFINED = 0.5
METRICS = ("bond_ratio", "angle_ratio", "all_atom_overlap", "torsion_change", "refined_share", "reflected_share",
           *FLAGS, "torsions_kept_stiff", "torsions_kept")  # fmt: skip


def rows(counted: pd.DataFrame, distances: pd.DataFrame) -> list[Row]:
    """Scores of every method and molecule.

    ``bond_ratio`` and ``angle_ratio`` are the refined samples' Jensen-Shannon distances over those of the oracle with
    as many frames; ``torsion_change`` is the refined torsions' distance less the raw ones'; shares are of frames. What
    is compared has the status too_few_frames where less than `LEAST_REFINED` of the frames could be refined.

    Parameters
    ----------
    counted : DataFrame
        Tables of refinement, a row a method and molecule.
    distances : DataFrame
        Per-molecule table of the Jensen-Shannon distances: method, refined, molecule, metric, value.

    Raises
    ------
    ValueError
        If a table lacks a column.
    """
    needed = {"method", "molecule", "frames", "ok", "reflected", "reason", *_COPIED, *sum(FLAGS.values(), ())}
    if missing := sorted(needed - set(counted)):
        raise ValueError(f"the table of refined samples has no column {', '.join(missing)}")
    keys = ["method", "refined", "molecule", "metric"]
    if missing := sorted({*keys, "value"} - set(distances)):
        raise ValueError(f"the table of distances has no column {', '.join(missing)}")
    known = {key: value for *key, value in distances.dropna(subset="value")[[*keys, "value"]].itertuples(index=False)
             for key in [tuple(key)]}  # fmt: skip
    made = []
    for record in counted.to_dict("records"):
        made += [Row(record["method"], True, record["molecule"], score) for score in _scores(record, known)]
    return made


def _scores(record: dict, known: dict[tuple, float]) -> list[Score]:
    def distance(metric: str, *, oracle: bool = False, refined: bool = True) -> float | None:
        method = _ORACLE if oracle else record["method"]
        return known.get((method, refined and not oracle, record["molecule"], metric))

    refined, frames = record["ok"], record["frames"]
    few = Score("", status="too_few_frames", reason=f"only {refined} of {frames} frames were refined")
    enough = not 0 < refined < LEAST_REFINED * frames

    def compared(name: str, metric: str, other: dict, how: Callable[[float, float], float]) -> Score:
        """Own distance against another, by `how`."""
        if not enough:
            return replace(few, metric=name)
        own, against = distance(metric), distance(metric, **other)
        if own is None or not against:
            return Score(name, status="no_finite_frames" if own is None else "failed",
                         reason=f"no {metric} of the {'refined' if own is None else 'other'} frames")  # fmt: skip
        return Score(name, [how(own, against)], how(own, against))

    def share(name: str, columns: tuple[str, ...]) -> Score:
        part = sum(record[column] for column in columns) / record["frames"]
        return Score(name, [part], part, reason="" if pd.isna(record["reason"]) else record["reason"])

    def copied(name: str) -> Score:
        """What the table of refined samples says."""
        if pd.isna(record[name]) and record["ok"] and name.startswith("torsions"):
            return Score(name, status="no_internal_coordinates", reason="no torsions")
        if pd.isna(record[name]):
            return Score(name, status="no_finite_frames", reason=record["reason"] or "no frame was refined")
        return Score(name, [record[name]], record[name])

    oracle, raw = {"oracle": True}, {"refined": False}
    return [
        compared("bond_ratio", "jsd_bond_length", oracle, lambda a, b: a / b),
        compared("angle_ratio", "jsd_bond_angle", oracle, lambda a, b: a / b),
        copied("all_atom_overlap") if enough else replace(few, metric="all_atom_overlap"),
        compared("torsion_change", "jsd_torsion", raw, lambda a, b: a - b),
        share("refined_share", ("ok",)),
        share("reflected_share", ("reflected",)),
        *(share(name, columns) for name, columns in FLAGS.items()),
        copied("torsions_kept_stiff"),
        copied("torsions_kept"),
    ]
