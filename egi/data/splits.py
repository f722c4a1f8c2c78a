"""Train, validation and test molecules, decided by molecule and seed alone."""

from __future__ import annotations

from collections.abc import Mapping

from egi.config import SPLITS
from egi.seeds import integer


def split_molecules(identities: Mapping[str, str], fractions: Mapping[str, float], seed: int) -> dict[str, str]:
    """Assign each molecule to a split; molecules of one identity stay together.

    Parameters
    ----------
    identities : mapping
        Molecule id to canonical SMILES without stereo.
    fractions : mapping
        Share of ``train``, ``val`` and ``test``, summing to 1. A split with a positive share gets at least one
        molecule if there are enough.
    seed : int

    Returns
    -------
    dict
        Molecule id to split.
    """
    order = sorted(set(identities.values()), key=lambda smiles: (integer(seed, "split", smiles), smiles))
    sizes = _sizes(len(order), fractions)
    split_of = {}
    start = 0
    for split in SPLITS:
        for smiles in order[start : start + sizes[split]]:
            split_of[smiles] = split
        start += sizes[split]
    return {molecule: split_of[smiles] for molecule, smiles in identities.items()}


def _sizes(total: int, fractions: Mapping[str, float]) -> dict[str, int]:
    """Whole numbers near the shares that sum to `total`; training gives up what the others lack."""
    sizes = {split: round(fractions[split] * total) for split in ("test", "val")}
    for split in sizes:
        if sizes[split] == 0 and fractions[split] > 0 and total >= 3:
            sizes[split] = 1
    sizes["train"] = total - sum(sizes.values())
    while sizes["train"] < (fractions["train"] > 0 and total > 0):
        sizes[max(("val", "test"), key=sizes.__getitem__)] -= 1
        sizes["train"] += 1
    return sizes
