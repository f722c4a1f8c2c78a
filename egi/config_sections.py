"""Sections of the settings that say which molecules are used; `egi.config` has the others."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from egi.section import Section

SPLITS = ("train", "val", "test")


class GeomSettings(Section):
    """Where conformers come from and which pass (FACTS 2, 3)."""

    source: Literal["smiles", "sdf", "rdkit_folder", "geodiff"] = "geodiff"
    #: split ('train', 'val', 'test', or 'all' to split here) -> local path, URL or DOI
    files: dict[Literal["train", "val", "test", "all"], str]
    #: file name -> checksum ('md5:...' or 'sha256:...') of a download
    checksums: dict[str, str] = Field(default_factory=dict)
    elements: list[str] = Field(min_length=1)
    #: first molecules of the source to use; None = all
    max_molecules: int | None = Field(None, gt=0)
    #: conformers a molecule kept (sampled for the source 'smiles')
    conformers: int | None = Field(None, gt=0)
    #: relax the conformers of the source 'smiles' with GFN2-xTB, of which energies and weights are then (needs tblite)
    refine: Literal["none", "gfn2-xtb"] = "none"
    #: molecules a split, as shares, where the source has no splits of its own
    split_fractions: dict[Literal["train", "val", "test"], float] = Field(
        default_factory=lambda: {"train": 0.8, "val": 0.1, "test": 0.1}
    )
    #: drop conformers whose configuration in 3D differs from that of most of the molecule's (not in the paper)
    stereo_filter: bool = True
    #: largest share of molecules that cannot be read or built at all; above it the import fails
    max_failed_fraction: float = Field(0.2, ge=0, le=1)
    workers: int = Field(2, gt=0)

    @model_validator(mode="after")
    def _check(self) -> GeomSettings:
        if "all" in self.files and len(self.files) > 1:
            raise ValueError("files has 'all' beside single splits; allowed: 'all' alone, or train, val, test")
        if "all" not in self.files and set(self.files) != set(SPLITS):
            raise ValueError(f"files has {sorted(self.files)}; allowed: 'all' alone, or train, val and test")
        if abs(sum(self.split_fractions.values()) - 1) > 1e-9 or set(self.split_fractions) != set(SPLITS):
            raise ValueError("split_fractions must name train, val and test and sum to 1")
        if self.refine != "none" and self.source != "smiles":
            raise ValueError(f"refine = {self.refine} with source {self.source}; allowed: only with source smiles")
        return self


class SelectionSettings(Section):
    """Which molecules are simulated (FACTS 3)."""

    molecules: dict[Literal["train", "val", "test"], int]
    #: largest number of atoms, hydrogens included; None = no limit (A-6)
    max_atoms: int | None = Field(None, gt=0)
    replicas: int = Field(5, gt=0)
    #: .smi, or .csv with a column smiles (another run's molecules.csv): these, instead of a random subset
    molecule_list: str | None = None
