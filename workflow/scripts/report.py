"""Put tables, figures, MD quality and a 3D viewer into one self-contained HTML page."""

from __future__ import annotations

import logging
from pathlib import Path

from egi.cli import parser, run
from egi.config import load_settings
from egi.report.build import Report, build
from egi.report.viewer import Limits

log = logging.getLogger("egi")
ASSETS = Path(__file__).resolve().parents[1] / "report"


def main(argv: list[str] | None = None) -> None:
    """Write the report of what is below `--results`."""
    options = parser(__doc__)
    options.add_argument("--results", type=Path, default=Path("results"), help="folder with a folder a dataset")
    options.add_argument("--datasets", nargs="+", required=True, metavar="NAME", help="datasets shown, in order")
    options.add_argument(
        "--inputs", nargs="*", type=Path, default=[], metavar="FILE",
        help="tables and figures that must exist; files are found by their names below --results in any case",
    )  # fmt: skip
    options.add_argument(
        "--paper-config", type=Path, default=Path("config/paper.yaml"), help="settings that the run's are compared with"
    )
    options.add_argument("--molecules", type=int, default=3, help="molecules a task in the 3D viewer")
    options.add_argument("--frames", type=int, default=80, help="frames a trajectory in the 3D viewer")
    options.add_argument("--output", type=Path, required=True, help="HTML page to write")
    args = options.parse_args(argv)

    missing = [str(path) for path in args.inputs if not path.is_file()]
    if missing:
        raise FileNotFoundError(f"--inputs lists files that do not exist: {', '.join(missing)}")
    settings = load_settings(*args.config)
    paper = load_settings(args.paper_config) if args.paper_config.is_file() else None
    report = Report(args.results, args.datasets, ASSETS, settings, paper, Limits(args.molecules, args.frames))
    made = build(report, args.output)
    size = args.output.stat().st_size / 1e6
    log.info(
        "report: %d tables, %d figures, %d scenes in the viewer, %.1f MB, %s",
        made["tables"], made["figures"], made["scenes"], size, args.output,
    )  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(run(main))
