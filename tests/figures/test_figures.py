"""Figures: what they hold, what they say when there is nothing to draw, and that they are reproducible."""

from __future__ import annotations

import importlib
import itertools
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from matplotlib.colors import to_rgb

from egi.data.storage import Reader, StorageError
from egi.figures import (
    conformers,
    distributions,
    dynamics,
    energies,
    kinetics,
    paths,
    structures,
    style,
    surfaces,
    training,
)
from egi.figures.evaluation import Evaluation
from egi.metrics import figure_data

QUALITIES = {  # matrices of Viénot, Brettel and Mollon 1999 on linear RGB
    "protan": [[0.11238, 0.88762, 0.0], [0.11238, 0.88762, 0.0], [0.00401, -0.00401, 1.0]],
    "deutan": [[0.29275, 0.70725, 0.0], [0.29275, 0.70725, 0.0], [-0.02234, 0.02234, 1.0]],
}


ROOT = Path(__file__).resolve().parents[2]


def test_every_figure_of_the_paper_has_a_function_a_file_and_a_caption():
    captions = yaml.safe_load((ROOT / "workflow" / "report" / "captions.yaml").read_text())["figures"]
    section = (ROOT / "docs" / "metrics.md").read_text().split("## Figures")[1].split("## ")[0]
    rows = re.findall(r"^\| (.+?) \| `(\w+)\.(\w+)` \| `([^`]+)`", section, flags=re.MULTILINE)
    for _, module, function, file in rows:
        assert callable(getattr(importlib.import_module(f"egi.figures.{module}"), function)) and file in captions
    listed = {number for paper, *_ in rows for number in re.findall(r"\d+[A-G]?", paper)}
    wanted = {"3A", "3B", *(f"4{c}" for c in "ABCDEFG"), *(f"5{c}" for c in "ABCD"), *map(str, range(6, 17))}
    assert wanted <= listed
    assert sum("6 (" in paper for paper, *_ in rows) == 2  # of the main text and of the appendix


@pytest.fixture
def unconditional(example_results):
    with Evaluation(example_results / "qm9" / "evaluation" / "unconditional.h5") as evaluation:
        yield evaluation


@pytest.fixture
def interpolation(example_results):
    with Evaluation(example_results / "qm9" / "evaluation" / "interpolation.h5") as evaluation:
        yield evaluation


def texts(figure) -> str:
    """All text of a figure."""
    labels = [text.get_text() for ax in figure.axes for text in [*ax.texts, ax.title, ax.xaxis.label, ax.yaxis.label]]
    legends = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    return "\n".join(labels + legends)


def seen_as(colour: str, deficiency: str | None) -> np.ndarray:
    """A colour in CIE L*a*b*, as seen with a colour vision deficiency."""
    rgb = np.array(to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    if deficiency:
        linear = np.clip(np.array(QUALITIES[deficiency]) @ linear, 0, 1)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    x, y, z = np.cbrt(to_xyz @ linear / np.array([0.9505, 1.0, 1.089]) + 1e-4)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("deficiency", [None, "protan", "deutan"])
def test_methods_of_one_figure_are_told_apart_without_red_green_vision(deficiency):
    drawn = ("reference", "md_oracle", "egi", "egi_naive", "egi_unfrozen", "geotdm", "ar_egnn", "ar_et")
    for one, other in itertools.combinations(drawn, 2):
        apart = np.linalg.norm(seen_as(style.colour_of(one), deficiency) - seen_as(style.colour_of(other), deficiency))
        dashes = style.METHODS[one][2] != style.METHODS[other][2]
        assert apart > (8 if dashes else 15), (one, other, apart)


def test_order_and_names():
    given = {"geotdm", "md_oracle", "egi_refined", "md_oracle_55", "md_oracle_7", "egi", "reference", "mine"}
    order = "reference md_oracle_7 md_oracle_55 md_oracle egi egi_refined geotdm mine"
    assert style.ordered(given) == order.split()
    assert style.name_of("egi_refined") == "EGInterpolator, refined"
    assert style.name_of("md_oracle_55") == "MD oracle, 55% of its length"
    assert style.name_of("my_model") == "my model"
    assert style.colour_of("md_oracle_55") == style.colour_of("md_oracle")
    assert style.colour_of("my_model") == style.colour_of("my_model_refined")


def test_density_integrates_to_one_and_empty_stays_zero():
    edges = np.array([0.0, 1.0, 3.0])
    assert np.sum(distributions.density(np.array([3, 2]), edges) * np.diff(edges)) == pytest.approx(1)
    assert not distributions.density(np.zeros(2), edges).any()


def test_distributions_have_units_and_one_column_a_molecule(unconditional):
    shown = distributions.histograms_of(unconditional, ["egi", "geotdm"], 5)
    figure = distributions.distributions(shown, unconditional.edges)
    assert len(figure.axes) == 3 * 2
    seen = texts(figure)
    assert all(
        part in seen for part in ("Bond length (Å)", "Bond angle (°)", "Torsion (°)", "mol_0", "mol_1", "GeoTDM")
    )
    assert "AR + EGNN" not in seen


def test_jsd_bars_show_mean_and_keep_refined_apart():
    rows = pd.DataFrame(
        {"method": ["egi", "egi", "egi"], "refined": [False, False, True], "molecule": ["a", "b", "a"],
         "metric": "jsd_torsion", "value": [0.2, 0.4, 0.1]}
    )  # fmt: skip
    figure = distributions.jsd_bars(rows, ("jsd_bond_length", "jsd_torsion"))
    (ax,) = figure.axes
    assert [bar.get_width() for bar in ax.patches] == pytest.approx([0.3, 0.1])
    assert [label.get_text() for label in ax.get_yticklabels()] == ["EGInterpolator", "EGInterpolator, refined"]
    assert ax.get_xlim()[1] == pytest.approx(np.sqrt(np.log(2)))
    rows.loc[2, "metric"] = "jsd_tica_0"  # the refined row has no torsions
    assert [text.get_text() for text in distributions.jsd_bars(rows, ("jsd_torsion",)).axes[0].texts] == ["no value"]


def test_occupancies_pair_each_method_with_the_reference(unconditional):
    figure = dynamics.occupancies(unconditional, molecules=1)
    titles = [ax.get_title() for ax in figure.axes]
    assert titles == ["EGInterpolator", "MD oracle", "GeoTDM"]
    heights = [bar.get_height() for bar in figure.axes[0].patches]
    assert sum(heights[:3]) == pytest.approx(1) and sum(heights[3:]) == pytest.approx(1)


def test_autocorrelations_draw_the_line_at_one_over_e(unconditional):
    figure = dynamics.autocorrelations(unconditional, molecules=1)
    lines = figure.axes[0].get_lines()
    assert len(lines) == 2 + 1
    assert lines[-1].get_ydata()[0] == pytest.approx(1 / np.e)
    assert lines[0].get_xdata()[1] == pytest.approx(5.2)


def test_kinetics_show_timescales_and_passage_times_with_the_references_error(unconditional):
    figure = kinetics.kinetics(unconditional, ["md_oracle", "egi", "geotdm"], molecules=1)
    left, right = figure.axes
    assert list(left.get_lines()[0].get_ydata()) == [80, 90, 95]
    assert "implied timescale (ps)" in texts(figure) and "passage time (ps)" in texts(figure)
    assert {"MD oracle", "EGInterpolator"} <= set(texts(figure).split("\n")) and "GeoTDM" not in texts(figure)
    times = unconditional.array("mol_0", "reference", "mfpt_ps")[~np.eye(3, dtype=bool)]
    (bars,) = right.containers[0].lines[2]
    ends = np.array(bars.get_segments())[:, :, 0]
    np.testing.assert_allclose(ends, np.stack([times / 10**0.1, times * 10**0.1], axis=1), rtol=1e-5)


def test_a_panel_says_how_much_lies_outside(tmp_path):
    points = np.random.default_rng(1).normal(size=(400, 2))
    far = np.where(np.arange(400)[:, None] < 100, points + 50, points)
    with figure_data.create(tmp_path / "e.h5", 1.0) as file:
        file.add(
            "m", "CCO", {name: figure_data.Arrays({"tica": x}) for name, x in (("reference", points), ("egi", far))}
        )
    with Evaluation(tmp_path / "e.h5") as evaluation:
        figure = surfaces.surfaces(evaluation, ["egi"])
    reference, egi = figure.axes[:2]
    assert not reference.texts and egi.texts[0].get_text() == "25% outside"
    assert style.title_of("egi_naive") == "EGInterpolator-N" and style.title_of("egi") == "EGInterpolator"


def test_methods_are_drawn_raw_unless_their_refined_frames_are_named(unconditional):
    assert unconditional.methods("mol_0", ["egi"]) == ["reference", "egi"]
    assert unconditional.methods("mol_0", ["egi_refined"]) == unconditional.methods("mol_0")  # there is none


def test_energies_count_what_lies_beyond_the_axis_in_the_last_bin(example_results):
    with Evaluation(example_results / "qm9" / "evaluation" / "unconditional_energies.h5") as evaluation:
        figure = energies.energies(evaluation, ["egi", "geotdm", "md_oracle"])
    assert [ax.get_title() for ax in figure.axes] == ["EGInterpolator", "MD oracle", "GeoTDM"]
    assert "Energy (kJ/mol a heavy atom)" in texts(figure)
    geotdm = figure.axes[2]
    assert re.fullmatch(r"overlap 0\.00\nmedian [34],\d{3}\.\d", geotdm.texts[0].get_text())
    reference, drawn = (patch.get_data() for patch in geotdm.patches if hasattr(patch, "get_data"))
    assert drawn.values[-1] == 1 and drawn.values[:-1].sum() == 0 and reference.values.sum() == pytest.approx(1)


def test_free_energy_of_a_gaussian_is_its_quadratic_form():
    points = np.random.default_rng(0).normal(size=(200_000, 2))
    bounds = np.array([[-3.0, 3.0], [-3.0, 3.0]])
    energy = surfaces.free_energy(points, bounds)
    centre = (np.arange(surfaces.BINS) + 0.5) * 6 / surfaces.BINS - 3
    row = energy[:, surfaces.BINS // 2]
    assert np.nanmin(energy) == 0
    assert np.abs(row - centre**2 / 2)[np.abs(centre) < 2].max() < 0.25


def test_surfaces_leave_out_methods_without_a_projection_and_know_why(unconditional):
    figure = surfaces.surfaces(unconditional, ["md_oracle", "ar_egnn", "egi"], molecules=1)
    titles = [ax.get_title() for ax in figure.axes if ax.get_title()]
    assert titles == ["Reference", "MD oracle", "EGInterpolator"]
    assert unconditional.why_missing("mol_0", "ar_egnn", "tica") == "no trajectory without NaN or infinity"
    assert unconditional.why_missing("mol_0", "geotdm_refined", "tica") == "no samples of this molecule"


def test_interpolations_mark_start_and_end(interpolation):
    figure = paths.interpolations(interpolation, "egi", molecules=2, paths=2)
    assert len(figure.axes) == 4
    assert {"start", "end"} <= set(texts(figure).split("\n"))
    drawn = interpolation.paths("mol_0", "egi")[0]
    start = next(line for line in figure.axes[0].get_lines() if line.get_label() == "start")
    assert np.ravel(start.get_data()) == pytest.approx(drawn[0])


def test_path_statistics_put_the_oracle_below_by_length(example_results):
    figure = paths.path_statistics(pd.read_csv(example_results / "qm9" / "interpolation_paths.csv"))
    assert len(figure.axes) == 4
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names == ["EGInterpolator", "MD oracle, 10% of its length", "MD oracle, 55% of its length", "MD oracle"]
    assert "no value" in texts(figure)


def test_key_frames_keep_the_ends(interpolation, example_results):
    assert paths.stretches(np.array([0, 0, 0, 2, 1, 1, 1, 1]), 4) == [0, 1, 5, 7]
    with Reader(example_results / "qm9" / "samples" / "interpolation" / "egi.h5", "egi-samples") as samples:
        figure = paths.key_frames(interpolation, samples, "egi", frames=4)
    assert figure.axes[0].get_title().startswith("0 ps") and figure.axes[-1].get_title().startswith("307 ps")


def test_superposition_is_a_proper_rotation():
    rng = np.random.default_rng(1)
    target = rng.normal(size=(6, 3))
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    moved = np.stack([target @ turn + 3.0, target * [1, 1, -1]])
    found = structures.superposed(moved, target)
    centred = target - target.mean(axis=0)
    assert found[0] == pytest.approx(centred, abs=1e-9)
    assert not np.allclose(found[1], centred, atol=0.1)  # a mirror image stays one
    volume = np.linalg.det(found[1][:3] - found[1][3])
    assert volume == pytest.approx(np.linalg.det(moved[1][:3] - moved[1][3]))


def test_conformers_show_molecules_and_their_distributions(example_results):
    folder = example_results / "qm9"
    found = conformers.read_conformers(
        folder / "conformers" / "test.h5", folder / "samples" / "conformers" / "basices.h5", 5
    )
    counts = conformers.histograms_of(found)
    record, reference, drawn = found[0]
    assert counts["mol_0"]["reference"]["bond_length"].sum() == len(reference) * len(structures.bonds_of(record))
    figure = structures.conformer_examples([(record, drawn)], columns=4)
    assert sum(bool(ax.collections) for ax in figure.axes) == 4
    table = pd.read_csv(folder / "conformer_covmat_per_molecule.csv")
    assert "COV-R (%)" in texts(conformers.covmat(table)) and "MAT-P (Å)" in texts(conformers.covmat(table))


def test_training_and_weights():
    table = pd.DataFrame({"step": [1, 2, 3], "train_loss": [3.0, 2.0, 1.0], "val_loss": [np.nan, np.nan, 1.5]})
    figure = training.training_curves({"pretraining": {"structure": table}, "forward": {"egi": table, "geotdm": table}})
    assert [ax.get_title() for ax in figure.axes] == ["Pretraining", "Forward"]
    figure = training.alpha_logits({"forward: EGInterpolator": {"block_1.et_1": (0.5, -1.0), "block_1.es": (0.0, 2.0)}})
    (ax,) = figure.axes
    assert [label.get_text() for label in ax.get_xticklabels()] == ["1 ET1", "1 ES"]
    marks = [line for line in ax.get_lines() if line.get_marker() in "os"]
    assert [list(line.get_ydata()) for line in marks] == [[0.5, 0.0], [-1.0, 2.0]]


@pytest.mark.parametrize(
    ("figure", "message"),
    [
        (lambda: distributions.distributions({}, {}), "No molecule has distributions"),
        (
            lambda: distributions.jsd_bars(pd.DataFrame(columns=["method", "metric", "value"]), ("jsd_torsion",)),
            "No JSD",
        ),
        (
            lambda: paths.path_statistics(pd.DataFrame({"method": ["egi"], "path_probability_mean": [np.nan]})),
            "No molecule",
        ),
        (lambda: training.training_curves({"forward": {"egi": pd.DataFrame(columns=["step"])}}), "No training curve"),
        (lambda: training.alpha_logits({}), "No model with interpolation weights"),
        (lambda: structures.conformer_examples([]), "No conformers"),
        (lambda: conformers.covmat(pd.DataFrame({"method": [], "metric": [], "value": []})), "No COV or MAT"),
    ],
)
def test_nothing_to_draw_says_so(figure, message):
    assert message in " ".join(texts(figure()).split())


def test_saved_twice_is_the_same(tmp_path):
    def once(folder: Path) -> tuple[bytes, bytes]:
        figure = training.alpha_logits({"a": {"block_1.es": (0.1, 0.2)}})
        style.save(figure, folder / "alphas.svg")
        return (folder / "alphas.svg").read_bytes(), (folder / "alphas.png").read_bytes()

    assert once(tmp_path / "a") == once(tmp_path / "b")
    with pytest.raises(ValueError, match=r"x\.png must end in \.svg"):
        style.save(style.nothing("nothing"), tmp_path / "x.png")


def test_evaluation_files_are_checked(tmp_path):
    with pytest.raises(StorageError, match="does not exist"):
        Evaluation(tmp_path / "none.h5")
    (tmp_path / "text.h5").write_text("no")
    with pytest.raises(StorageError, match=r"text\.h5 is damaged or no HDF5 file"):
        Evaluation(tmp_path / "text.h5")
    import h5py

    h5py.File(tmp_path / "other.h5", "w").close()
    with pytest.raises(StorageError, match="wanted egi-evaluation version 1"):
        Evaluation(tmp_path / "other.h5")
