import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import AllChem

from egi.chem.features import ELEMENTS, FEATURE_WIDTH, atom_features, partial_charges

MOLECULES = [
    "CC[C@H](C)O",
    "c1cc[nH]c1",
    "CC(=O)[O-]",
    "C[N+](C)(C)C",
    "OC1CC2CCC1C2",
    "CP(=O)(OC)OC",
    "CS(=O)(=O)N",
    "FB(F)c1ccccc1",
    "C[Si](C)(C)Cl",
    "IC#CBr",
    "C1CCCCCCCC1",
    "C12C3C4C1C5C2C3C45",
    "[CH3]",
    "[2H]OC",
    "[H]/N=C/C",
    "[H][H]",
    "[Na+]",
    "O=C=O",
]


def expected_row(atom):
    """Table 6 spelt out index by index for one atom."""
    row = np.zeros(43, dtype=np.float64)
    row[0 if atom.GetIsAromatic() else 1] = 1
    names = ["SP", "SP2", "SP3", "SP3D", "SP3D2"]
    name = str(atom.GetHybridization())
    row[2 + (names.index(name) if name in names else 5)] = 1
    row[9 + min(atom.GetTotalNumHs(), 7)] = 1
    row[17 + min(len(atom.GetNeighbors()), 7)] = 1
    row[25 + {-1: 0, 0: 1, 1: 2}.get(atom.GetFormalCharge(), 3)] = 1
    sizes = [len(ring) for ring in atom.GetOwningMol().GetRingInfo().AtomRings() if atom.GetIdx() in ring]
    for size in sizes:
        row[29 + (size - 3 if size <= 8 else 6)] = 1
    row[36 + min(len(sizes), 3)] = 1
    tags = {"CHI_TETRAHEDRAL_CW": 40, "CHI_TETRAHEDRAL_CCW": 41}
    row[tags.get(str(atom.GetChiralTag()), 42)] = 1
    return row


@pytest.mark.parametrize("smiles", MOLECULES)
def test_table_6(smiles):
    mol = Chem.MolFromSmiles(smiles)
    expected = np.stack([expected_row(atom) for atom in mol.GetAtoms()])
    AllChem.ComputeGasteigerCharges(mol)
    expected[:, 8] = [float(atom.GetProp("_GasteigerCharge")) for atom in mol.GetAtoms()]
    found = atom_features(mol)
    assert found.dtype == np.float32 and found.shape == (mol.GetNumAtoms(), FEATURE_WIDTH)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_charges_of_whole_and_stripped_molecule_agree():
    mol = Chem.AddHs(Chem.MolFromSmiles("CC[C@H](C)OC(=O)N"))
    AllChem.ComputeGasteigerCharges(mol)
    whole = [atom.GetDoubleProp("_GasteigerCharge") for atom in mol.GetAtoms() if atom.GetAtomicNum() > 1]
    np.testing.assert_allclose(partial_charges(Chem.RemoveHs(mol)), whole, atol=1e-6)


def test_charges_fall_back_to_formal_ones():
    mol = Chem.MolFromSmiles("F[P-](F)(F)(F)(F)F")
    AllChem.ComputeGasteigerCharges(mol)
    assert not np.isfinite(mol.GetAtomWithIdx(1).GetDoubleProp("_GasteigerCharge"))
    np.testing.assert_array_equal(partial_charges(mol), [0, -1, 0, 0, 0, 0, 0])
    assert np.isfinite(atom_features(mol)).all()


def test_vocabulary_has_hydrogen_and_the_elements_of_both_datasets():
    table = Chem.GetPeriodicTable()
    symbols = {table.GetElementSymbol(number) for number in ELEMENTS}
    assert symbols == {"H", "C", "N", "O", "S", "P", "F", "Cl", "Br", "I", "B", "Si"}
