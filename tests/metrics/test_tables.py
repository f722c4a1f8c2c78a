"""Summaries, confidence intervals and status rows."""

from __future__ import annotations

import numpy as np
import pytest

from egi.metrics.bootstrap import interval
from egi.metrics.scores import Score, Unscorable, attempt, mean_score
from egi.metrics.tables import Row, per_molecule, summary


def test_interval_of_a_mean_has_the_known_width():
    values = np.random.default_rng(0).normal(3, 2, 400)
    low, high = interval(values[:, None], "mean", 4000, np.random.default_rng(1))
    half = 1.96 * values.std() / 20
    assert low == pytest.approx(values.mean() - half, abs=0.03) and high == pytest.approx(
        values.mean() + half, abs=0.03
    )
    low, high = interval(values[:, None], "median", 500, np.random.default_rng(1))
    assert low < np.median(values) < high
    assert interval(np.ones((5, 1)), "mean", 100, np.random.default_rng(1)) == (1, 1)


@pytest.mark.parametrize("statistic", ["mean", "median"])
def test_interval_of_pooled_values_draws_whole_molecules(statistic):
    rng = np.random.default_rng(4)
    groups = [rng.normal(rng.normal(0, 3), 1, size) for size in (1, 4, 7, 2, 9, 5)]
    drawn = np.random.default_rng(9).integers(6, size=(300, 6))
    direct = [getattr(np, statistic)(np.concatenate([groups[k] for k in row])) for row in drawn]
    found = interval(groups, statistic, 300, np.random.default_rng(9))
    assert found == pytest.approx(tuple(np.quantile(direct, [0.025, 0.975])))


def test_interval_errors():
    with pytest.raises(ValueError, match="at least 2"):
        interval(np.ones((1, 1)), "mean", 10, np.random.default_rng(0))
    with pytest.raises(ValueError, match="allowed: 'mean', 'median'"):
        interval(np.ones((3, 1)), "mode", 10, np.random.default_rng(0))


def test_summary_counts_what_was_left_out_and_says_why():
    rows = [Row("egi", False, f"m{k}", mean_score("a", [k, k + 2.0])) for k in range(3)]
    rows.append(Row("egi", False, "m3", Score("a", status="disconnected", reason="2 of 3 states")))
    rows.append(Row("md_oracle", False, "m0", mean_score("a", 7)))
    table = summary(rows, ("a", "b"), 200, 0)
    assert list(table["method"]) == ["md_oracle", "egi"]
    egi = table.iloc[1]
    assert egi["a_mean"] == 2 and egi["a_median"] == 2 and egi["a_molecules"] == 3 and egi["a_values"] == 6
    assert egi["a_left_out"] == 1 and "a: 1 of 4 molecules disconnected" in egi["reason"]
    assert egi["a_values_mean"] == 2 and egi["a_values_mean_low"] < 2 < egi["a_values_mean_high"]
    assert egi["a_mean_low"] < 2 < egi["a_mean_high"] and "b: not computed for this method" in egi["reason"]
    assert "a: one molecule, no interval" in table.iloc[0]["reason"] and np.isnan(table.iloc[0]["a_mean_low"])
    assert list(table)[-1] == "reason"
    long = per_molecule(rows)
    assert list(long)[:8] == ["method", "refined", "molecule", "metric", "value", "values", "status", "reason"]
    assert len(long) == 5


def test_what_cannot_be_had_becomes_rows():
    def fails():
        raise Unscorable("no_flux", "one state")

    scores = attempt(("a", "b"), fails)
    assert [(s.metric, s.value, s.status, s.reason) for s in scores] == [("a", None, "no_flux", "one state"),
                                                                       ("b", None, "no_flux", "one state")]  # fmt: skip
    infinite = attempt(("a",), lambda: [mean_score("a", np.inf)])[0]
    assert infinite.value is None and infinite.status == "failed"
    with pytest.raises(ValueError, match="allowed: ok"):
        Unscorable("unheard of", "")
