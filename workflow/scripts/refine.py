"""Refine samples: all-atom frames that obey the force field, torsions held near the generated ones."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from egi.cli import parser, run, settings_of
from egi.data.storage import Reader, atomic, create
from egi.parallel import ordered_map
from egi.seeds import integer

log = logging.getLogger("egi.refine")


def main(argv: list[str] | None = None) -> None:
    """Samples and the simulations' charges in, refined samples and a table out."""
    flags = parser(__doc__)
    flags.add_argument("--samples", type=Path, required=True, help="samples of a method (HDF5)")
    flags.add_argument("--md", type=Path, required=True, help="folder of the simulations, for their charges")
    flags.add_argument("--output", type=Path, required=True, help="refined samples to write (HDF5)")
    flags.add_argument("--table", type=Path, required=True, help="table to write (CSV), a row a molecule")
    flags.add_argument("--etkdg", action="store_true", help="refine as many RDKit conformers instead: a null model")
    args = flags.parse_args(argv)
    settings, dataset = settings_of(args)

    from egi.md.refine import STATUSES  # OpenMM is slow to import
    from egi.md.refine_samples import Source, refine_molecule

    with Reader(args.samples, "egi-samples") as reader:
        header, molecules = reader.attributes, reader.ids
    header = {k: v for k, v in header.items() if k not in ("format", "version", "units", "provenance")}
    header |= {"method": "etkdg"} if args.etkdg else {}
    header |= {"refined": True, "statuses": ",".join(STATUSES)}
    seed = integer(settings.seed, args.dataset, "refine", header.get("task", ""), header.get("method", ""))
    source = Source(args.samples, args.md, dataset.simulation, dataset.refinement, seed, args.etkdg)
    provenance = {"seed": settings.seed, "refinement": dataset.refinement.plain()}
    rows = []
    with (
        Reader(args.samples, "egi-samples") as reader,
        create(args.output, "egi-samples", provenance, **header) as writer,
    ):
        found = ordered_map(partial(refine_molecule, source), molecules, settings.threads, batch=1)
        for made in tqdm(found, total=len(molecules), unit="molecule", mininterval=5, ascii=True):
            writer.add(reader.record(made.molecule), made.arrays, **made.attributes)
            rows.append(made.row)
    table = pd.DataFrame(rows)
    with atomic(args.table) as partial_file:
        table.to_csv(partial_file, index=False)
    frames, ok, reflected = (int(table[name].sum()) if rows else 0 for name in ("frames", "ok", "reflected"))
    log.info("%d of %d frames of %d molecules refined, %d of them reflected, in %s",
             ok, frames, len(molecules), reflected, args.output)  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(run(main))
