import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import AllChem

from egi.chem.filters import FILTERS, Candidate, filter_candidate

DRUGS = ["C", "N", "O", "S", "P", "F", "Cl", "Br", "I", "B", "Si"]


def conformers(smiles, count=3, seed=7):
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    AllChem.EmbedMultipleConfs(mol, count, randomSeed=seed)
    assert mol.GetNumConformers() == count
    return [Chem.Mol(mol, False, conformer.GetId()) for conformer in mol.GetConformers()]


def moved(mol, change):
    copy = Chem.Mol(mol)
    positions = copy.GetConformer().GetPositions()
    copy.GetConformer().SetPositions(change(positions))
    return copy


def run(smiles, mols, elements=DRUGS, **more):
    return filter_candidate(Candidate("m", smiles, mols, **more), elements)


def names(result):
    return [row["filter"] for row in result.rejects]


def with_pentavalent_carbon(mol):
    broken = Chem.RWMol(mol)
    for atom in broken.GetAtoms():
        if atom.GetAtomicNum() == 1 and atom.GetIdx() > 5:
            broken.AddBond(0, atom.GetIdx(), Chem.BondType.SINGLE)
            return broken.GetMol()


def test_good_conformers_pass_every_filter():
    mols = conformers("CC[C@H](C)O")
    result = run("CC[C@H](C)O", mols, energies=[1.0, 2.0, 3.0])
    assert result.rejects == [] and dict(result.passed) == dict.fromkeys(FILTERS, 3)
    assert result.record.id == "m" and result.record.smiles == "CC[C@H](C)O"
    np.testing.assert_allclose(result.arrays["positions"], [m.GetConformer().GetPositions() for m in mols], atol=1e-6)
    assert result.arrays["positions"].dtype == np.float32
    np.testing.assert_array_equal(result.arrays["energies"], [1, 2, 3])


def test_sanitize():
    good = conformers("CCC")
    result = run("CCC", [with_pentavalent_carbon(good[0]), *good[1:]])
    assert names(result) == ["sanitize"] and result.rejects[0]["conformer"] == 0
    assert len(result.arrays["positions"]) == 2
    assert result.passed["sanitize"] == 2 and result.rejected["sanitize"] == 1


def test_four_bonds_on_a_quaternary_nitrogen_just_sanitise():
    assert run("C[N+](C)(C)C", conformers("C[N+](C)(C)C")).rejects == []


def test_fragments():
    salt = Chem.AddHs(Chem.MolFromSmiles("CC(=O)[O-].C[NH3+]"))
    AllChem.EmbedMolecule(salt, randomSeed=1)
    result = run("CC(=O)[O-].C[NH3+]", [salt])
    assert names(result) == ["fragments"] and result.record is None
    assert run("C[NH2+]CC(=O)[O-]", conformers("C[NH2+]CC(=O)[O-]")).rejects == []


def test_reacted():
    result = run("CC(=O)CC(C)=O", conformers("CC(=O)C=C(C)O"))
    assert names(result) == ["reacted"] * 3
    assert "CC(=O)C=C(C)O" in result.rejects[0]["detail"]
    assert result.passed["fragments"] == 3 and result.passed["reacted"] == 0


@pytest.mark.parametrize(
    ("stored", "smiles"),
    [("C(O)C", "CCO"), ("CC(O)F", "C[C@H](O)F"), ("C1=CC=CN1", "c1cc[nH]c1"), ("[CH3:1]O", "CO")],
)
def test_the_same_molecule_written_otherwise_has_not_reacted(stored, smiles):
    assert run(stored, conformers(smiles)).rejects == []


def test_missing_hydrogens():
    mols = conformers("CCO")
    bare = [Chem.RemoveHs(mol) for mol in mols]
    result = run("CCO", [bare[0], mols[1]])
    assert names(result) == ["hydrogens"]
    assert result.rejects[0]["detail"] == "6 hydrogens are no atoms with coordinates"
    assert run("OC(=O)[O-]", conformers("OC(=O)[O-]")).passed["hydrogens"] == 3
    assert run("ClC(Cl)(Cl)Cl", [Chem.RemoveHs(m) for m in conformers("ClC(Cl)(Cl)Cl")]).rejects == []  # it has none


def test_drawing_is_no_conformer():
    flat = Chem.AddHs(Chem.MolFromSmiles("CCO"))
    AllChem.Compute2DCoords(flat)
    result = run("CCO", [Chem.MolFromMolBlock(Chem.MolToMolBlock(flat), removeHs=False), *conformers("CCO")])
    assert names(result) == ["coordinates"] and result.rejects[0]["detail"].startswith("a drawing: z is 0")
    assert run("C=O", [moved(m, lambda x: x * [1, 1, 0]) for m in conformers("C=O")]).rejects == []  # flat, marked 3D


def test_hydrogens_that_cannot_be_removed(monkeypatch):
    """We know of no molecule that sanitises with hydrogens and not without, so RDKit's refusal is made up."""
    mols = conformers("CCO")
    real = Chem.RemoveHs

    def refuse(mol):
        raise Chem.KekulizeException("cannot kekulize")

    monkeypatch.setattr(Chem, "RemoveHs", refuse)
    refused = filter_candidate(Candidate("m", "CCO", mols), DRUGS)
    assert refused.record is None and set(names(refused)) == {"hydrogens"}
    assert refused.rejects[0]["detail"] == "cannot kekulize"
    monkeypatch.setattr(Chem, "RemoveHs", real)
    assert run("CCO", mols).passed["hydrogens"] == 3


def test_stored_smiles_that_is_none():
    result = run("C(", conformers("CCO"))
    assert names(result) == ["smiles"] * 3 and result.passed["reacted"] == 3
    assert "'C(' gives no valid molecule" in result.rejects[0]["detail"]
    assert run("C(C)O", conformers("CCO")).passed["smiles"] == 3


def test_elements_and_retained_hydrogen():
    result = run("CCCl", conformers("CCCl"), ["C", "N", "O", "F"])
    assert names(result) == ["elements"] * 3 and result.rejects[0]["detail"] == "Cl; allowed: C, F, N, O"
    assert run("CCF", conformers("CCF"), ["C", "N", "O", "F"]).rejects == []
    retained = run("[H]/N=C/C", conformers("[H]/N=C/C"), ["C", "N"])
    assert retained.rejects == [] and 1 in retained.record.atomic_numbers


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        (lambda x: np.where(np.arange(len(x))[:, None] == 2, np.nan, x), "not finite"),
        (lambda x: np.where(np.arange(len(x))[:, None] == 2, np.inf, x), "not finite"),
        (np.zeros_like, "all zero"),
        (lambda x: np.vstack([x[0], np.add(x[0], [0, 0, 0.49]), *x[2:]]), "two atoms 0.49 angstrom apart"),
    ],
)
def test_coordinates(change, detail):
    good = conformers("CCO")
    result = run("CCO", [good[0], moved(good[1], change), good[2]])
    assert names(result) == ["coordinates"] and detail in result.rejects[0]["detail"]
    assert result.rejects[0]["conformer"] == 1 and len(result.arrays["positions"]) == 2


def test_atoms_half_an_angstrom_apart_just_pass():
    dimer = Chem.AddHs(Chem.MolFromSmiles("[H][H]"))
    AllChem.EmbedMolecule(dimer, randomSeed=1)
    near = moved(dimer, lambda x: np.array([[0, 0, 0], [0, 0, 0.501]]))
    assert run("[H][H]", [near]).rejects == []


def test_missing_coordinates():
    good = conformers("CCO")
    bare = Chem.Mol(good[0], True)
    result = run("CCO", [bare, *good])
    assert names(result) == ["coordinates"] and "0 sets of coordinates" in result.rejects[0]["detail"]


@pytest.mark.parametrize("smiles", ["CC[C@H](C)O", "C/C=C/C(=O)O"])
def test_conformer_of_another_stereoisomer_is_dropped(smiles):
    other = "C/C=C\\C(=O)O" if "/" in smiles else "CC[C@@H](C)O"
    same = conformers(smiles)
    result = run(smiles, [conformers(other, 1)[0], *same])
    assert names(result) == ["stereo"] and result.rejects[0]["conformer"] == 0
    assert result.record.smiles == Chem.CanonSmiles(smiles) and len(result.arrays["positions"]) == 3


def test_without_the_stereo_filter_most_conformers_still_name_the_molecule():
    mols = [*conformers("CC[C@@H](C)O", 1), *conformers("CC[C@H](C)O")]
    candidate = Candidate("m", "CC[C@H](C)O", mols, weights=[0.7, 0.1, 0.1, 0.1])
    result = filter_candidate(candidate, DRUGS, stereo_filter=False)
    assert result.rejects == [] and len(result.arrays["positions"]) == 4 == result.passed["stereo"]
    assert result.record.smiles == Chem.CanonSmiles("CC[C@H](C)O")
    heaviest = filter_candidate(candidate, DRUGS, most=1, stereo_filter=False)
    np.testing.assert_array_equal(heaviest.arrays["weights"], [0.7])
    assert heaviest.record.smiles == Chem.CanonSmiles("CC[C@H](C)O")


@pytest.mark.parametrize("smiles", ["CCN(C)CCO", "CN1CC1C"])
def test_inverting_amine_is_no_stereocentre(smiles):
    mols = conformers(smiles, 4)
    carbon = run(smiles, mols).record.smiles
    if "@" in carbon:  # the ring's carbon is one: other invertomers of the same hand
        mols = conformers(carbon, 12)
        assert len({np.sign(_nitrogen_volume(m)) for m in mols}) == 2
    else:
        mols += [moved(m, lambda x: x * [1, 1, -1]) for m in mols]
    assert run(carbon, mols).rejects == []


def _nitrogen_volume(mol):
    nitrogen = next(a for a in mol.GetAtoms() if a.GetAtomicNum() == 7)
    positions = mol.GetConformer().GetPositions()
    return np.linalg.det(positions[[n.GetIdx() for n in nitrogen.GetNeighbors()]] - positions[nitrogen.GetIdx()])


@pytest.mark.parametrize("smiles", ["CC[S@](C)=O", "CCC[N@+](C)(CC)CCO", "C[P@](N)(=O)O"])
def test_sulfur_phosphorus_and_quaternary_nitrogen_are_stereocentres(smiles):
    mols = conformers(smiles)
    result = run(smiles, [*mols, moved(mols[0], lambda x: x * [1, 1, -1])])
    assert names(result) == ["stereo"] and result.record.smiles == Chem.CanonSmiles(smiles)


def test_conformers_in_another_atom_order_are_matched():
    mols = conformers("CC[C@H](C)O")
    order = np.random.default_rng(0).permutation(mols[0].GetNumAtoms()).tolist()
    result = run("CC[C@H](C)O", [mols[0], Chem.RenumberAtoms(mols[1], order)])
    assert result.rejects == []
    heavy = result.record.modelled
    expected = mols[1].GetConformer().GetPositions()[heavy]
    np.testing.assert_allclose(result.arrays["positions"][1][heavy], expected, atol=1e-5)


def test_heaviest_weights_are_kept_in_order():
    mols = conformers("CCCO", 4)
    candidate = Candidate("m", "CCCO", mols, energies=[1, 2, 3, 4], weights=[0.1, 0.4, 0.2, 0.3])
    result = filter_candidate(candidate, DRUGS, most=2)
    np.testing.assert_array_equal(result.arrays["weights"], [0.4, 0.3])
    np.testing.assert_array_equal(result.arrays["energies"], [2, 4])
    assert len(result.arrays["positions"]) == 2


@pytest.mark.parametrize(
    "smiles",
    [
        "[CH3]", "C[O]", "C[N]C", "[13CH3]CO", "[2H]C([2H])O", "C[N+](=O)[O-]", "CP(=O)(O)O", "C[Si](C)(C)C", "OB(O)C",
        "CS(=O)(=O)C", "C=NO", "FP(F)(F)(F)F", "CP(C)(C)(C)C", "F[P-](F)(F)(F)(F)F", "F[B-](F)(F)F",
        "F[Si-2](F)(F)(F)(F)F", "[O-][Cl+3]([O-])([O-])O", "CI(=O)=O", "C[NH2+]C", "CC(C)=[N-]",
    ],
)  # fmt: skip
def test_radicals_isotopes_ions_and_hypervalent_species_pass(smiles):
    result = run(smiles, conformers(smiles, 2))
    assert result.rejects == []
    assert Chem.CanonSmiles(result.record.smiles, useChiral=0) == Chem.CanonSmiles(smiles, useChiral=0)
