"""The report: what it holds, and how it behaves in a browser (headless Chromium, where there is one)."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from egi.config import SimulationSettings
from egi.data.storage import Reader, create
from egi.figures import distributions, dynamics, energies, simulation, style, training
from egi.figures.evaluation import Evaluation
from egi.md.quality import write_quality
from egi.report import summary, tables, viewer
from egi.report.build import Report, build
from egi.report.viewer import Limits

ROOT = Path(__file__).resolve().parents[1]
ASSETS = ROOT / "workflow" / "report"
BROWSER = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)
#: run in a copy of the page: tells the frame around it what a visitor would have seen
PROBE = """
<script>
console.log("probe ran");
setTimeout(() => {
  const page = document.documentElement;
  const loaded = performance.getEntriesByType("resource").map((entry) => entry.name);
  const drawn = [...document.querySelectorAll(".canvas canvas")].map((canvas) => {
    const flat = document.createElement("canvas").getContext("2d");
    Object.assign(flat.canvas, { width: canvas.width, height: canvas.height });
    flat.drawImage(canvas, 0, 0);
    const pixels = flat.getImageData(0, 0, canvas.width, canvas.height).data;
    let count = 0;
    for (let i = 0; i < pixels.length; i += 4) if (pixels[i + 3] && pixels[i] + pixels[i + 1] < 490) count++;
    return count;
  });
  const stage = document.getElementById("viewer-stage");
  const press = (key) => stage.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
  const frame = () => Number(document.getElementById("viewer-frame").value);
  const playing = document.getElementById("viewer-play").getAttribute("aria-pressed"), before = frame();
  press(" ");
  press("ArrowRight");
  parent.postMessage({
    playing,
    paused: document.getElementById("viewer-play").textContent,
    steps: frame() - before,
    width: page.clientWidth,
    overflow: page.scrollWidth - page.clientWidth,
    requests: loaded.filter((name) => !/^(data|blob):/.test(name)).length,
    broken: [...document.images].filter((image) => !image.complete || !image.naturalWidth).length,
    tables: document.querySelectorAll("table").length,
    images: document.images.length,
    state: document.getElementById("viewer").dataset.state,
    frame: before,
    drawn,
  }, "*");
}, 2500);
</script>
"""
#: the page in a frame of a given width (a window cannot be as narrow as a phone)
FRAME = """<!doctype html><title>frame</title><body style="margin:0">
<script>addEventListener("message", (event) => { document.title = JSON.stringify(event.data); });</script>
<iframe src="probed.html#viewer" style="border:0;width:%dpx;height:900px"></iframe>
"""


@pytest.fixture(scope="module")
def page(example_results) -> Path:
    """A report with some figures."""
    figures = example_results / "qm9" / "figures"
    with style.look(), Evaluation(example_results / "qm9" / "evaluation" / "unconditional.h5") as evaluation:
        shown = distributions.histograms_of(evaluation, ["egi"], 2)
        style.save(distributions.distributions(shown, evaluation.edges), figures / "unconditional_distributions.svg")
        style.save(dynamics.occupancies(evaluation), figures / "unconditional_occupancy.svg")
    with style.look(), Evaluation(example_results / "qm9" / "evaluation" / "unconditional_energies.h5") as evaluation:
        style.save(energies.energies(evaluation, ["egi", "etkdg"]), figures / "unconditional_energies.svg")
        style.save(training.alpha_logits({"a": {"block_1.es": (0.1, 0.2)}}), figures / "alphas.svg")
    path = example_results / "report.html"
    made = build(Report(example_results, ["qm9"], ASSETS, limits=Limits(molecules=2, frames=20)), path)
    assert made == {"tables": 5, "figures": 4, "scenes": 4}
    return path


class Outline(HTMLParser):
    """Ids, links, addresses of images and scripts, and label targets of a page."""

    def __init__(self, text: str):
        super().__init__()
        self.ids, self.links, self.sources, self.headings, self.alts = [], [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.ids += [given["id"]] if "id" in given else []
        self.links += [given["href"]] if tag == "a" else []
        self.sources += [given["src"]] if "src" in given else []
        self.alts += [given.get("alt", "")] if tag == "img" else []
        self.headings += [int(tag[1])] if re.fullmatch(r"h[1-6]", tag) else []


def test_page_is_self_contained_and_consistent(page):
    text = page.read_text(encoding="utf-8")
    outline = Outline(text)
    assert len(outline.ids) == len(set(outline.ids))
    assert all(link.startswith("#") and link[1:] in outline.ids for link in outline.links)
    assert outline.sources and all(source.startswith("data:") for source in outline.sources)
    assert all(outline.alts)
    assert outline.headings[0] == 1 and outline.headings.count(1) == 1
    assert all(after - before <= 1 for before, after in zip(outline.headings, outline.headings[1:], strict=False))
    assert not re.search(r"<(link|script|img|iframe)[^>]+(href|src)=.https?:", text)
    assert page.stat().st_size < 5e6


def test_page_tells_scale_rejects_and_reasons(page):
    text = page.read_text(encoding="utf-8")
    assert "Another scale than the paper's" in text and "not comparable" in text
    assert "sqm stopped after 60 s" in text and "2 of 3 usable" in text
    assert "&lt;b&gt;no finite frames" in text and "<b>no finite frames" not in text


def test_paper_values_stand_beside_ours(example_results):
    paper = tables.read_paper(ASSETS / "paper_tables.csv")
    assert paper["drugs", "forward", "egi", "jsd_bond_length", "mean"] == "0.1419"  # table 1, not table 2
    assert paper["qm9", "conformer", "basices", "cov_r", "mean"]
    table = tables.read_tables(example_results / "qm9" / "unconditional_jsd.csv", "qm9", paper)[0]
    assert [row.name for row in table.rows][:3] == ["MD oracle", "MD oracle, matched", "EGInterpolator"]
    assert [name for name, _ in table.metrics] == ["Bond length", "Bond angle", "Torsion", "TICA-0", "TICA-0,1"]
    ours = table.rows[2].cells
    assert [cell.paper for cell in ours[:2]] == ["0.210", "0.188"]
    assert all(re.fullmatch(r"0\.\d{3}", cell.value) for cell in ours) and "–" in ours[0].interval
    assert table.rows[2].molecules == "2"
    best = {row.name for row in table.rows for cell in row.cells if cell.best}
    assert best <= {"EGInterpolator", "GeoTDM", "AR + EGNN"}
    assert sum(row.cells[0].best for row in table.rows) == 1


def test_table_without_methods_is_refused(tmp_path):
    (tmp_path / "forward_jsd.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match=r"forward_jsd\.csv has columns \['a', 'b'\]"):
        tables.read_tables(tmp_path / "forward_jsd.csv", "qm9", {})


def test_summary_counts_rejects_and_settings(example_results):
    rejects = summary.rejects(example_results / "qm9").set_index("source")
    assert rejects.loc["conformers", "count"] == 3 and rejects.loc["simulation", "cause"] == "sqm stopped after 60 s"
    counts = dict(summary.counts(example_results / "qm9"))
    assert counts["Molecules"].startswith("0 / 0 / 2") and counts["Simulated time"] == "624 ps"
    assert counts["MD temperature"] == "300 K (299 to 300)" and "MD density" not in counts
    assert counts["Samples drawn again"].startswith("8 ") and counts["Samples given up"].startswith("0 ")
    assert summary.run_times(example_results / "qm9").rows == [["pretrain", "12.5", "350"]]


def test_refined_samples_do_not_count_twice(tmp_path, example_results):
    (tmp_path / "samples" / "forward").mkdir(parents=True)
    with Reader(example_results / "qm9" / "trajectories" / "test.h5", "egi-trajectories") as reader:
        record = reader.record(reader.ids[0])
    for name, refined in (("egi", False), ("egi_refined", True)):
        with create(tmp_path / "samples" / "forward" / f"{name}.h5", "egi-samples", {}, refined=refined) as writer:
            writer.add(record, {"samples": np.zeros((1, len(record.modelled), 2, 3))}, redrawn=3, lost=1)
    assert viewer.counted(tmp_path) == {"redrawn": 3, "lost": 1}


def test_settings_that_differ_from_the_papers_are_listed():
    from egi.config import load_settings

    ours, paper = (load_settings(ROOT / "config" / name).datasets["qm9"] for name in ("config.yaml", "paper.yaml"))
    found = {key: (mine, theirs) for key, mine, theirs in summary.differences(ours, paper)}
    assert found["simulation.production"][1] == "5000 ps"
    assert not {key for key in found if key.endswith(("shards", "workers", "platform"))}
    assert summary.differences(paper, paper) == []


def test_scenes_hold_superposed_frames_of_the_modelled_atoms(example_results):
    import base64

    import numpy as np

    scene = viewer.scenes(example_results / "qm9", Limits(molecules=1, frames=5))[0]
    assert scene["elements"] == ["C", "C", "C", "C", "O"] and len(scene["bonds"]) == 4
    assert [t["method"] for t in scene["trajectories"]] == ["reference", "egi", "geotdm", "ar_egnn"]
    packed = np.frombuffer(base64.b64decode(scene["trajectories"][0]["data"]), "<i2").reshape(5, 5, 3) / 100
    bonds = np.linalg.norm(packed[:, 1] - packed[:, 0], axis=1)
    assert np.all((bonds > 1.4) & (bonds < 1.7))
    assert np.abs(packed.mean(axis=1)).max() < 0.02


def test_missing_results_are_an_error(tmp_path):
    with pytest.raises(ValueError, match="dataset 'drugs' has no folder"):
        build(Report(tmp_path, ["drugs"], ASSETS), tmp_path / "report.html")


def test_empty_results_still_make_a_page(tmp_path):
    (tmp_path / "qm9").mkdir()
    assert build(Report(tmp_path, ["qm9"], ASSETS), tmp_path / "r.html") == {"tables": 0, "figures": 0, "scenes": 0}
    assert "No table or figure" in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_quality_of_the_simulations_stands_by_the_table(tmp_path):
    folder = tmp_path / "qm9" / "figures"
    rows = [{"molecule": "a", "replica": 0, "verdict": "pass", "reasons": "", "frames": 12500}]
    write_quality(rows, tmp_path / "qm9" / "md_quality.csv")
    with style.look():
        style.save(
            simulation.replica_quality(pd.read_csv(tmp_path / "qm9" / "md_quality.csv"), SimulationSettings()),
            folder / "md_quality.svg",
        )
    assert build(Report(tmp_path, ["qm9"], ASSETS), tmp_path / "r.html")["figures"] == 1
    section = (tmp_path / "r.html").read_text(encoding="utf-8").split('id="qm9-md"')[1].split("</section>")[0]
    assert section.index('data-name="md_quality"') < section.index("a row a replica (1)")


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no Chromium here (Debian: apt-get install chromium)")
@pytest.mark.parametrize("width", [390, 1280])
def test_in_a_browser(page, tmp_path, width):
    probed = page.read_text(encoding="utf-8").replace("</body>", PROBE + "</body>")
    (tmp_path / "probed.html").write_text(probed, encoding="utf-8")
    (tmp_path / "frame.html").write_text(FRAME % width, encoding="utf-8")
    ran = subprocess.run(
        [BROWSER, "--headless", "--no-sandbox", "--disable-dev-shm-usage", "--use-gl=angle", "--use-angle=swiftshader",
         "--enable-unsafe-swiftshader", "--disable-background-networking", f"--user-data-dir={tmp_path / 'profile'}",
         "--window-size=1400,1000", "--hide-scrollbars", "--virtual-time-budget=5000", "--enable-logging=stderr",
         "--dump-dom", f"file://{tmp_path / 'frame.html'}"],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    messages = [line for line in ran.stderr.splitlines() if "CONSOLE" in line]
    assert len(messages) == 1 and "probe ran" in messages[0], messages
    seen = json.loads(html.unescape(re.search(r"<title>(.*)</title>", ran.stdout)[1]))
    assert seen["width"] == width
    assert (seen["overflow"], seen["requests"], seen["broken"]) == (0, 0, 0)
    assert (seen["state"], seen["images"]) == ("ready", 4)
    assert len(seen["drawn"]) == 2 and min(seen["drawn"]) > 500
    assert seen["frame"] > 0 and seen["playing"] == "true"
    assert (seen["paused"], seen["steps"] % 20) == ("Play", 1)  # by keyboard; 20 frames
    assert seen["tables"] >= 7
