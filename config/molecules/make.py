"""Write qm9.csv and drugs.csv from the FreeSolv and ChEMBL-drug tables that datamol carries.

Run once, from anywhere, with datamol installed: ``python config/molecules/make.py``.
"""

from __future__ import annotations

from pathlib import Path

import datamol
import pandas as pd
from rdkit import Chem, RDLogger
from rdkit.Chem.TorsionFingerprints import CalculateTorsionLists

#: Shown first, because the demo takes the first molecules: small, flexible, several with stereocentres.
FIRST = {
    "qm9": (
        "butan-2-ol, 2-methoxyethanol, 2-methylbutan-1-ol, 1-methoxypropane, pentan-2-ol, N-ethylethanamine, "
        "butyric acid, 1,2-dimethoxyethane, pentan-2-one, 111-trifluoropropan-2-ol, 2-ethoxyethanol, "
        "4-methylpentan-2-ol, "
        "hexan-3-ol, pentan-1-amine"
    ),
    "drugs": (
        "VALPROIC ACID, ACETYLCYSTEINE, PHENELZINE, METHYL AMINOLEVULINATE, GLUTAMINE, PREGABALIN, DIMETHYL FUMARATE, "
        "LEVETIRACETAM, PHENYLEPHRINE, CHLORPHENTERMINE, PHENYLBUTANOIC ACID, EPHEDRINE, PROPOFOL, GUAIFENESIN"
    ),
}
ELEMENTS = {"qm9": set("CNOF"), "drugs": {"C", "N", "O", "S", "P", "F", "Cl", "Br", "I"}}
HEAVY_ATOMS = {"qm9": range(4, 10), "drugs": range(9, 60)}
MOST_ATOMS = 60
FEWEST_TORSIONS = {"qm9": 1, "drugs": 2}


def usable(mol: Chem.Mol | None, dataset: str) -> bool:
    """One neutral, closed-shell, flexible fragment of the right elements and size with all stereocentres defined."""
    if mol is None or len(Chem.GetMolFrags(mol)) != 1 or Chem.GetFormalCharge(mol) != 0:
        return False
    atoms = list(mol.GetAtoms())
    if {a.GetSymbol() for a in atoms} - ELEMENTS[dataset] or any(a.GetIsotope() for a in atoms):
        return False
    if any(a.GetNumRadicalElectrons() for a in atoms) or mol.GetNumHeavyAtoms() not in HEAVY_ATOMS[dataset]:
        return False
    if Chem.AddHs(mol).GetNumAtoms() > MOST_ATOMS or len(CalculateTorsionLists(mol)[0]) < FEWEST_TORSIONS[dataset]:
        return False
    return all(e.specified == Chem.StereoSpecified.Specified for e in Chem.FindPotentialStereo(mol))


def table(names: pd.Series, smiles: pd.Series, source: str, dataset: str) -> pd.DataFrame:
    """Rows name, smiles, source; the demo's molecules first, then by size."""
    first = FIRST[dataset].split(", ")
    rows = []
    for name, text in zip(names, smiles, strict=True):
        mol = Chem.MolFromSmiles(text)
        if usable(mol, dataset):
            place = first.index(name) if name in first else len(first)
            rows.append((place, mol.GetNumHeavyAtoms(), name.lower(), Chem.MolToSmiles(mol), source))
    made = pd.DataFrame(sorted(rows), columns=["place", "size", "name", "smiles", "source"])
    return made.drop_duplicates("smiles")[["name", "smiles", "source"]]


def main() -> None:
    """Write both files beside this script."""
    RDLogger.DisableLog("rdApp.*")
    folder = Path(__file__).parent
    freesolv, drugs = datamol.data.freesolv(), datamol.data.chembl_drugs()
    table(freesolv.iupac, freesolv.smiles, "FreeSolv", "qm9").to_csv(folder / "qm9.csv", index=False)
    table(drugs.pref_name, drugs.smiles, "ChEMBL", "drugs").to_csv(folder / "drugs.csv", index=False)


if __name__ == "__main__":
    main()
