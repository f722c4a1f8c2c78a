import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem
from rdkit.Chem import AllChem

from egi.chem.molecules import canonical_smiles, identity, modelled_atoms, parse_smiles, record_of, with_stereo_from_3d


def embedded(smiles, seed=1):
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    assert AllChem.EmbedMolecule(mol, randomSeed=seed) == 0
    return mol


@pytest.mark.parametrize(
    ("smiles", "numbers"),
    [
        ("CCO", [6, 6, 8]),
        ("[H][H]", [1, 1]),
        ("[2H]OC", [1, 8, 6]),
        ("[H]/N=C/C", [1, 7, 6, 6]),
        ("B1[H]B[H]1", None),
    ],
)
def test_modelled_atoms_are_what_remove_hs_keeps(smiles, numbers):
    plain = Chem.MolFromSmiles(smiles, sanitize=False)
    if numbers is None:
        with pytest.raises(ValueError):
            Chem.SanitizeMol(plain)
        return
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    modelled, indices = modelled_atoms(mol)
    assert [mol.GetAtomWithIdx(int(i)).GetAtomicNum() for i in indices] == numbers
    assert Chem.MolToSmiles(modelled) == Chem.MolToSmiles(Chem.RemoveHs(mol))
    assert not any(atom.GetPropsAsDict().get("_egi_index") for atom in modelled.GetAtoms())


def test_indices_follow_hydrogens_in_between():
    mol = Chem.RenumberAtoms(Chem.AddHs(Chem.MolFromSmiles("CO")), [2, 0, 3, 1, 4, 5])
    record = record_of(mol, "methanol")
    assert record.modelled.tolist() == [1, 3]
    assert record.atomic_numbers.tolist() == [6, 8]


@settings(deadline=None, max_examples=25)
@given(
    st.sampled_from(["CC[C@H](O)C1CCC1", "C/C=C/C[C@@H](N)C(=O)O", "c1ccc2[nH]ccc2c1", "C[C@H]1C[C@@H]1O"]),
    st.randoms(),
)
def test_graph_and_features_belong_to_the_molecule(smiles, random):
    mol = embedded(smiles)
    order = list(range(mol.GetNumAtoms()))
    random.shuffle(order)
    one, other = record_of(mol, "x"), record_of(Chem.RenumberAtoms(mol, order), "x")
    place = {int(atom): k for k, atom in enumerate(one.modelled)}
    back = [place[order[int(atom)]] for atom in other.modelled]
    assert other.smiles == one.smiles
    np.testing.assert_allclose(other.features, one.features[back], atol=1e-6)
    found = {
        (back[i], back[j], k) for i, j, k in zip(*other.edge_index.tolist(), other.edge_type.tolist(), strict=True)
    }
    assert found == set(zip(*one.edge_index.tolist(), one.edge_type.tolist(), strict=True))


def test_chirality_features_tell_mirror_images_apart():
    left, right = record_of(embedded("CC[C@H](C)O"), "l"), record_of(embedded("CC[C@@H](C)O"), "r")
    assert left.smiles != right.smiles
    np.testing.assert_array_equal(left.features[2, [40, 41]], right.features[2, [41, 40]])
    assert left.features[2, [40, 41]].sum() == 1


def test_stereo_comes_from_coordinates():
    mol = embedded("CC[C@H](C)O")
    conformer = mol.GetConformer()
    conformer.SetPositions(conformer.GetPositions() * [1, 1, -1])
    assert record_of(mol, "x").smiles == "CC[C@@H](C)O"
    flat = Chem.Mol(mol)
    Chem.RemoveStereochemistry(flat)
    assert canonical_smiles(with_stereo_from_3d(flat)) == "CC[C@@H](C)O"


def test_record_without_conformer_keeps_its_stereo():
    record = record_of(Chem.AddHs(Chem.MolFromSmiles("CC[C@H](C)O")), "x")
    assert record.smiles == "CC[C@H](C)O" and record.mol.GetNumConformers() == 0


@pytest.mark.parametrize("smiles", ["[CH3]", "[NH4+]", "C[N+](=O)[O-]", "[13CH4]", "CP(C)(C)(C)C", "FS(F)(F)(F)(F)F"])
def test_odd_species_have_records(smiles):
    record = record_of(Chem.AddHs(Chem.MolFromSmiles(smiles)), "x")
    assert np.isfinite(record.features).all()
    assert record.smiles == Chem.CanonSmiles(smiles)


def test_unknown_element_is_named():
    with pytest.raises(ValueError, match=r"molecule x has element Se, which has no place"):
        record_of(Chem.AddHs(Chem.MolFromSmiles("C[Se]C")), "x")


def test_identity_ignores_stereo_hydrogens_and_maps():
    assert identity("[CH3:3][C@H](O)F") == identity("[H]OC(C)F") == "CC(O)F"
    assert identity("C/C=C/C") == identity("C/C=C\\C")


@pytest.mark.parametrize("smiles", ["", "C(", "CX", "C(C)(C)(C)(C)C"])
def test_bad_smiles_is_named(smiles):
    with pytest.raises(ValueError, match="gives no valid molecule in RDKit"):
        parse_smiles(smiles)
