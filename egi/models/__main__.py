"""Parameter counts at the paper's settings: `python -m egi.models`, a line a model (name, total, trained)."""

from __future__ import annotations

import sys

from egi.config import ModelSettings
from egi.models import CLASSES, build, parameter_counts


def main() -> None:
    """Write the table to standard output."""
    for method in CLASSES:
        total, trained = parameter_counts(build(method, ModelSettings()))
        sys.stdout.write(f"{method:<14}{total:>10}{trained:>10}\n")


if __name__ == "__main__":
    main()
