"""A training step of EGInterpolator on one molecule, ours against the plain form: seconds and peak memory.

Cases are ATOMSxFRAMES (9 or 25 atoms) or ATOMSxFRAMESxLAYERS; the paper's model has 6 layers. At 2000 frames the
plain form needs some 5 GB a layer, so both forms are compared there with one layer. `--linear` lists frame numbers at
which our full model alone is measured. `--compiled` adds ours through torch.compile (some minutes a case). The last
line is one JSON object, ratios plain (or compiled) over ours.
"""

from __future__ import annotations

import argparse
import json

import torch
from plain_forms import measure, molecule, plain

from egi.config import ModelSettings
from egi.models import build


def prepare(form: str, atoms: int, frames: int, layers: int):
    """A function that runs the network forward and backward once."""
    model = build("egi", ModelSettings(layers=layers))
    model = {"plain": plain, "compiled": torch.compile}.get(form, lambda ours: ours)(model)
    batch, positions, step = molecule(atoms), torch.randn(atoms, frames, 3), torch.tensor([300])
    condition = torch.zeros(atoms, frames, dtype=torch.bool)
    condition[:, 0] = True

    def call() -> None:
        model.zero_grad(set_to_none=True)
        model(batch, positions, step, condition).square().mean().backward()

    return call


def main(argv: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", nargs="*", default=["9x500", "25x250", "9x2000x1"], metavar="CASE")
    parser.add_argument("--linear", type=int, nargs="*", default=[1000, 2000, 4000], metavar="FRAMES")
    parser.add_argument("--compiled", action="store_true", help="also ours through torch.compile")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args(argv)

    def run(form: str, atoms: int, frames: int, layers: int) -> tuple[float, float]:
        seconds, memory = measure(prepare, form, atoms, frames, layers, repeats=args.repeats, threads=args.threads)
        print(f"{atoms:>6}{frames:>8}{layers:>8}{form:>9}{seconds:>10.3f}{memory:>10.0f}", flush=True)
        return seconds, memory

    print(f"{'atoms':>6}{'frames':>8}{'layers':>8}{'form':>9}{'seconds':>10}{'MiB':>10}")
    summary = {}
    for case in args.cases:
        atoms, frames, layers = (*map(int, case.split("x")), 6)[:3]
        ours, theirs = run("ours", atoms, frames, layers), run("plain", atoms, frames, layers)
        for name, a, b in zip(("time", "memory"), ours, theirs, strict=True):
            summary[f"{name}_ratio_n{atoms}_t{frames}"] = round(b / a, 2)
        if args.compiled:
            summary[f"compiled_n{atoms}_t{frames}"] = round(run("compiled", atoms, frames, layers)[0] / ours[0], 2)
    for frames in args.linear:
        summary[f"mib_per_frame_t{frames}"] = round(run("ours", 9, frames, 6)[1] / frames, 3)
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
