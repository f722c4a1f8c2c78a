"""GFN2-xTB through the real tblite."""

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem.rdMolTransforms import GetDihedralDeg
from tblite.interface import Calculator
from threadpoolctl import threadpool_limits

from egi.chem import xtb
from egi.chem.collect import Outputs, collect
from egi.chem.conformers import sample_conformers
from egi.chem.filters import HARTREE
from egi.chem.molecules import canonical_smiles, with_stereo_from_3d
from egi.config import SPLITS, GeomSettings
from egi.data.storage import Reader
from egi.units import ConfigError


def sampled(smiles, count=3):
    return sample_conformers(Chem.MolFromSmiles(smiles), count, 1)[0]


def positions(mol):
    return np.stack([conformer.GetPositions() for conformer in mol.GetConformers()])


def gfn2(mol, flat_angstrom, charge=0.0, unpaired=0):
    numbers = np.array([atom.GetAtomicNum() for atom in mol.GetAtoms()])
    calculator = Calculator("GFN2-xTB", numbers, flat_angstrom / xtb.BOHR_ANGSTROM, charge, unpaired)
    calculator.set("verbosity", 0)
    with threadpool_limits(1, "openmp"):
        return calculator.singlepoint()


def test_conformers_are_minima_below_those_of_mmff94():
    mol = sampled("OCCO", 4)
    refined = xtb.refine(mol)
    good = [k for k in range(mol.GetNumConformers()) if k not in refined.faults]
    assert len(good) >= 2
    for k in good:
        before, after = (gfn2(mol, positions(m)[k]) for m in (mol, refined.mol))
        assert np.abs(after.get("gradient")).max() < 2 * xtb.CONVERGED
        assert after.get("energy") * HARTREE == pytest.approx(refined.energies[k], abs=1e-2)
        assert after.get("energy") < before.get("energy") - 1e-4
    np.testing.assert_array_equal(positions(mol), positions(sampled("OCCO", 4)))  # the input is left alone


def test_gauche_and_anti_butane():
    """The gauche minimum lies 2 to 4 kJ/mol above anti in experiment and in GFN2-xTB."""
    refined = xtb.refine(sampled("CCCC", 2))
    assert refined.faults == {}
    torsions = [abs(GetDihedralDeg(c, 0, 1, 2, 3)) for c in refined.mol.GetConformers()]
    gauche, anti = np.argsort(torsions)
    assert torsions[gauche] == pytest.approx(65, abs=8) and torsions[anti] == pytest.approx(180, abs=3)
    difference = refined.energies[gauche] - refined.energies[anti]
    assert 1.5 < difference < 5
    assert refined.weights.sum() == pytest.approx(1)
    assert np.log(refined.weights[anti] / refined.weights[gauche]) == pytest.approx(difference / xtb.RT)


@pytest.mark.parametrize("smiles", ["C[C@H](N)[C@@H](O)CC", "C/C=C/CO", "C/C=C\\CO"])
def test_stereo_is_kept(smiles):
    mol = sampled(smiles)
    refined = xtb.refine(mol)
    good = [c.GetId() for k, c in enumerate(refined.mol.GetConformers()) if k not in refined.faults]
    assert good
    for mol_id in good:
        assert canonical_smiles(with_stereo_from_3d(refined.mol, mol_id)) == Chem.CanonSmiles(smiles)


@pytest.mark.parametrize(
    ("smiles", "charge", "unpaired"), [("CC(=O)[O-]", -1.0, 0), ("C[NH3+]", 1.0, 0), ("C[CH2]", 0.0, 1)]
)
def test_charge_and_unpaired_electrons_are_those_of_the_molecule(smiles, charge, unpaired):
    refined = xtb.refine(sampled(smiles, 1))
    expected = gfn2(refined.mol, positions(refined.mol)[0], charge, unpaired).get("energy")
    assert refined.energies[0] == pytest.approx(expected * HARTREE, abs=1e-2)


def test_a_proton_that_moves_is_a_fault():
    mol = sampled("[NH3+]CC(=O)[O-]", 2)  # glycine's zwitterion is no minimum in vacuum
    refined = xtb.refine(mol)
    assert "GFN2-xTB: bonds changed" in refined.faults.values()
    place = next(k for k, fault in refined.faults.items() if "bonds" in fault)
    assert np.isnan(refined.energies[place]) and refined.weights[place] == 0
    np.testing.assert_array_equal(positions(refined.mol)[place], positions(mol)[place])


def test_a_configuration_that_changes_is_a_fault(monkeypatch):
    monkeypatch.setattr(xtb, "_relax", lambda mol, given: (0.0, given * [1, 1, -1]))
    refined = xtb.refine(sampled("CC[C@H](C)O", 1))
    assert refined.faults == {0: "GFN2-xTB: configuration changed to CC[C@@H](C)O"}


def test_conformers_that_relax_into_one_are_merged():
    mol = sampled("CCO", 1)
    mol.AddConformer(mol.GetConformer(), assignId=True)
    mol.GetConformers()[1].SetPositions(positions(mol)[0] + np.random.default_rng(0).normal(0, 0.02, (9, 3)))
    faults = xtb.refine(mol).faults
    assert len(faults) == 1 and "same minimum as conformer" in next(iter(faults.values()))


@pytest.mark.parametrize("smiles", ["C", "CCC"])
def test_turned_methyl_groups_are_one_conformer(smiles):
    mol = sampled(smiles, 4)
    assert mol.GetNumConformers() > 1
    refined = xtb.refine(mol)
    assert len(refined.faults) == mol.GetNumConformers() - 1 and refined.weights.max() == 1


def test_mirror_images_are_two_conformers():
    mol = sampled("OCCO", 1)
    mol.AddConformer(mol.GetConformer(), assignId=True)
    mol.GetConformers()[1].SetPositions(positions(mol)[0] * [1, 1, -1])
    refined = xtb.refine(mol)
    assert refined.faults == {} and refined.weights == pytest.approx([0.5, 0.5], abs=0.01)


def test_too_few_steps_and_a_failing_calculation_are_faults(monkeypatch):
    monkeypatch.setattr(xtb, "_STEPS", 1)
    assert xtb.refine(sampled("OCCO", 1)).faults[0].startswith("GFN2-xTB: no minimum after 1 steps")
    collapsed = sampled("CCO", 1)
    collapsed.GetConformer().SetPositions(np.zeros((9, 3)))
    refined = xtb.refine(collapsed)
    assert list(refined.faults) == [0] and np.isnan(refined.energies).all() and not refined.weights.any()


def test_import_stores_energies_and_weights_and_lists_faults(tmp_path, monkeypatch):
    source = tmp_path / "m.smi"
    source.write_text("OCCO glycol\n[NH3+]CC(=O)[O-] glycine\n")
    settings = GeomSettings(source="smiles", files={"all": "x"}, elements=["C", "N", "O"], conformers=4, workers=1,
                            refine="gfn2-xtb")  # fmt: skip
    outputs = Outputs({s: tmp_path / f"{s}.h5" for s in SPLITS}, tmp_path / "rejects.csv", tmp_path / "counts.csv")
    collect({"all": source}, settings, 0, outputs)
    with Reader(tmp_path / "train.h5", "egi-conformers") as reader:
        assert reader.ids[0] == "glycol"
        energies, weights = (reader.array("glycol", name) for name in ("energies", "weights"))
    assert np.isfinite(energies).all() and weights.sum() == pytest.approx(1)
    assert energies[weights.argmax()] == energies.min()
    rejects = (tmp_path / "rejects.csv").read_text()
    assert "glycine,[NH3+]CC(=O)[O-],0,conformers,refine,GFN2-xTB: bonds changed" in rejects
    counts = dict(line.split(",,") for line in (tmp_path / "counts.csv").read_text().splitlines()[-3:])
    assert int(counts["refine"]) == rejects.count(",refine,") >= 1
    monkeypatch.setattr(xtb, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="refine = gfn2-xtb: the package tblite is not installed; allowed: pip"):
        collect({"all": source}, settings, 0, outputs)


def test_only_conformers_from_smiles_are_refined():
    with pytest.raises(ValueError, match="refine = gfn2-xtb with source sdf; allowed: only with source smiles"):
        GeomSettings(source="sdf", files={"all": "x"}, elements=["C"], refine="gfn2-xtb")
