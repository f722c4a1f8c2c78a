"""The scripts fetch, filter_geom and select_molecules by hand, and as rules with a download."""

import csv
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CONFIG = """
datasets:
  mine:
    geom: {source: smiles, files: {all: x}, elements: [C, N, O], conformers: 3, workers: 1}
    selection: {molecules: {train: 2, val: 1, test: 1}, replicas: 2, max_atoms: 30}
    pretraining: {steps: 1}
    tasks: {}
    evaluation: {coverage_threshold: 0.5 angstrom, tica_lag: 10.4 ps, msm_lag: 52 ps}
"""


def script(name, *flags):
    command = [sys.executable, str(ROOT / "workflow/scripts" / f"{name}.py"), *map(str, flags)]
    return subprocess.run(command, capture_output=True, text=True, env={"PYTHONPATH": str(ROOT), "PATH": ""})


@pytest.fixture
def config(tmp_path):
    (tmp_path / "config.yaml").write_text(CONFIG)
    return "--config", tmp_path / "config.yaml", "--dataset", "mine"


def collect(tmp_path, config, files):
    flags = [item for name in ("train", "val", "test") for item in (f"--{name}", tmp_path / f"{name}.h5")]
    return script("filter_geom", *config, "--files", files, *flags,
                  "--rejects", tmp_path / "rejects.csv", "--counts", tmp_path / "counts.csv")  # fmt: skip


def test_from_a_csv_to_molecules(tmp_path, config):
    source = tmp_path / "mine.csv"
    source.write_text("SMILES\nCCO\nCCCO\nCCN\nCCCN\nC(\nCC(C)O\n")
    fetched = script("fetch", "--source", source, "--output", tmp_path / "data/mine.csv")
    assert fetched.returncode == 0, fetched.stderr
    made = collect(tmp_path, config, f"all={tmp_path / 'data/mine.csv'}")
    assert made.returncode == 0, made.stderr
    assert "made train 3 molecules 9 conformers, val 1 molecules" in made.stderr.splitlines()[-1]
    files = [tmp_path / f"{split}.h5" for split in ("train", "val", "test")]
    selected = script("select_molecules", *config, "--conformers", *files, "--output", tmp_path / "molecules.csv")
    assert selected.returncode == 0, selected.stderr
    with (tmp_path / "molecules.csv").open(newline="") as file:
        assert [row["split"] for row in csv.DictReader(file)] == ["train", "train", "val", "test"]
    with (tmp_path / "rejects.csv").open(newline="") as file:
        assert [(row["molecule"], row["filter"]) for row in csv.DictReader(file)] == [("mol-000004", "smiles")]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ("all=/gone.csv", "source file /gone.csv does not exist"),
        ("some=/gone.csv", "--files has 'some=/gone.csv'; wanted SPLIT=PATH"),
        ("train=/gone.csv", "--files names train; wanted all alone, or train, val, test"),
    ],
)
def test_bad_files_end_in_one_line(tmp_path, config, files, message):
    ended = collect(tmp_path, config, files)
    assert ended.returncode == 2 and "Traceback" not in ended.stderr
    assert message in ended.stderr.splitlines()[-1]
    assert not list(tmp_path.glob("*.h5"))


def test_missing_source_of_fetch_is_one_line(tmp_path):
    ended = script("fetch", "--source", "/gone.tar.gz", "--output", tmp_path / "x")
    assert ended.returncode == 2 and len(ended.stderr.splitlines()) == 1
    assert "source /gone.tar.gz does not exist" in ended.stderr


@pytest.mark.slow
def test_two_datasets_share_one_download(tmp_path):
    asked = []

    class Counting(SimpleHTTPRequestHandler):
        def log_message(self, *args):
            asked.append(self.path)

    (tmp_path / "served").mkdir()
    (tmp_path / "served/mine.smi").write_text("CCO\nCCCO\nCCN\nCC(C)O\n")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Counting, directory=str(tmp_path / "served")))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    settings = yaml.safe_load(CONFIG)
    mine = settings["datasets"]["mine"]
    mine["geom"]["files"] = {"all": f"http://127.0.0.1:{server.server_port}/mine.smi"}
    settings["datasets"]["other"] = mine
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings))
    wanted = [f"results/{name}/molecules.csv" for name in ("mine", "other")]
    command = [sys.executable, "-m", "snakemake", "-s", str(ROOT / "Snakefile"), "--cores", "2", "--configfile",
               "config.yaml", "--", *wanted]  # fmt: skip
    try:
        ended = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    finally:
        server.shutdown()
        server.server_close()
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert asked == ["/mine.smi"] and (tmp_path / "data/mine.smi").is_file()
    one, two = ((tmp_path / name).read_text() for name in wanted)
    assert one == two and len(one.splitlines()) == 5
