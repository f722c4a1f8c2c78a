"""One temporal attention layer, ours against the frames x frames form: seconds and peak memory, forward and backward.

The last line is one JSON object of ratios, plain over ours.
"""

from __future__ import annotations

import argparse
import json

import torch
from plain_forms import measure, plain

from egi.nn.temporal import TemporalAttention

HIDDEN, FREQUENCIES = 128, 16


def prepare(form: str, atoms: int, frames: int):
    """A function that runs the layer forward and backward once."""
    layer = TemporalAttention(HIDDEN, FREQUENCIES)
    layer = plain(layer) if form == "plain" else layer
    x = torch.randn(atoms, frames, 3, requires_grad=True)
    h = torch.randn(atoms, frames, HIDDEN, requires_grad=True)

    def call() -> None:
        dx, dh = layer(x, h)
        (dx.square().sum() + dh.square().sum()).backward()

    return call


def main(argv: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--atoms", type=int, default=9)
    parser.add_argument("--frames", type=int, nargs="+", default=[250, 500, 1000, 2000])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args(argv)
    ratios = {}
    print(f"{'atoms':>6}{'frames':>8}{'form':>8}{'seconds':>10}{'MiB':>10}")
    for frames in args.frames:
        results = {}
        for form in ("ours", "plain"):
            results[form] = measure(
                prepare, form, args.atoms, frames, repeats=args.repeats, threads=args.threads
            )  # fmt: skip
            print(f"{args.atoms:>6}{frames:>8}{form:>8}{results[form][0]:>10.4f}{results[form][1]:>10.0f}", flush=True)
        for index, name in enumerate(("time", "memory")):
            ratio = results["plain"][index] / results["ours"][index]
            ratios[f"{name}_ratio_n{args.atoms}_t{frames}"] = round(ratio, 2)
    print(json.dumps(ratios))


if __name__ == "__main__":
    main()
