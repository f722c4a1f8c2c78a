from __future__ import annotations

import json
import time

import numpy as np
import pytest
from rdkit import Chem

from egi.md import charges
from egi.md.common import Rejected


def test_am1bcc_equals_the_openff_toolkit_on_the_same_conformer(md):
    from openff.toolkit import Molecule, Quantity
    from openff.toolkit.utils import AmberToolsToolkitWrapper

    from egi.md.molecule import with_conformer

    job = md.job("CC[NH3+]")
    mol = with_conformer(job.mol, job.starts[0])
    ours = charges.conserve(charges.antechamber(mol, 60), 1)
    theirs = Molecule.from_rdkit(mol, hydrogens_are_explicit=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", charges.tool_path())
        theirs.assign_partial_charges(
            "am1bcc", use_conformers=[Quantity(job.starts[0], "angstrom")], toolkit_registry=AmberToolsToolkitWrapper()
        )
    np.testing.assert_allclose(ours, theirs.partial_charges.m_as("elementary_charge"), atol=1e-5)


@pytest.mark.parametrize(("smiles", "formal"), [("CCO", 0), ("CC(=O)[O-]", -1), ("C[NH3+]", 1)])
@pytest.mark.parametrize("method", ["am1bcc", "nagl"])
def test_formal_charge_is_conserved_and_the_method_recorded(md, tmp_path, smiles, formal, method):
    path = tmp_path / "charges.json"
    found = charges.molecule_charges(md.job(smiles).mol, "mol", md.settings(charges=method), 1, path)
    stored = json.loads(path.read_text())
    assert abs(found.sum() - formal) < 1e-6
    assert (stored["method"], stored["formal_charge"]) == (method, formal)


@pytest.mark.parametrize("smiles", ["CN(C)/N=N/C", "C/C=C\\C"])
def test_double_bonds_come_through_a_file(md, tmp_path, smiles):
    """Stored molecules say trans where OpenFF wants E."""
    mol = Chem.JSONToMols(Chem.MolToJSON(md.job(smiles).mol))[0]
    mol.GetBonds()[[b.GetBondTypeAsDouble() for b in mol.GetBonds()].index(2)].SetStereo(Chem.BondStereo.STEREOTRANS)
    found = charges.molecule_charges(mol, "mol", md.settings(), 1, tmp_path / "charges.json")
    assert abs(found.sum()) < 1e-6


def test_charges_are_computed_once_and_again_for_another_method(md, tmp_path, monkeypatch):
    path, mol = tmp_path / "charges.json", md.job("CO").mol
    first = charges.molecule_charges(mol, "mol", md.settings(), 1, path)
    monkeypatch.setattr(charges, "_nagl", None)  # would fail if called
    np.testing.assert_array_equal(charges.molecule_charges(mol, "mol", md.settings(), 1, path), first)
    charges.molecule_charges(mol, "mol", md.settings(charges="am1bcc"), 1, path)
    assert json.loads(path.read_text())["method"] == "am1bcc"


def _fake_program(folder, text: str, monkeypatch) -> None:
    program = folder / "antechamber"
    program.write_text("#!/bin/sh\n" + text)
    program.chmod(0o755)
    monkeypatch.setattr(charges, "tool_path", lambda: f"{folder}:/usr/bin:/bin")


def test_failures_are_retried_with_new_conformers_then_rejected(md, tmp_path, monkeypatch):
    _fake_program(tmp_path, f"cksum in.sdf >> {tmp_path}/seen; echo 'No convergence in SCF after 1000 steps'; exit 1",
                  monkeypatch)  # fmt: skip
    with pytest.raises(Rejected, match=r"charges: AM1-BCC failed 3 times, last: No convergence in SCF"):
        charges.molecule_charges(md.job("CCCO").mol, "mol", md.settings(charges="am1bcc"), 1, tmp_path / "c.json")
    assert len(set((tmp_path / "seen").read_text().splitlines())) == 3
    assert not (tmp_path / "c.json").exists()
    with pytest.raises(Rejected, match=r"in an earlier run; delete charges_failed.json to try again"):
        charges.molecule_charges(md.job("CCCO").mol, "mol", md.settings(charges="am1bcc"), 1, tmp_path / "c.json")
    assert len((tmp_path / "seen").read_text().splitlines()) == 3
    longer = md.settings(charges="am1bcc", charges_timeout="2 hours")
    with pytest.raises(Rejected, match=r"failed 3 times"):
        charges.molecule_charges(md.job("CCCO").mol, "mol", longer, 1, tmp_path / "c.json")


def test_fallback_only_where_the_config_says_so(md, tmp_path, monkeypatch):
    _fake_program(tmp_path, "exit 1", monkeypatch)
    settings = md.settings(charges="am1bcc", charges_fallback="nagl")
    found = charges.molecule_charges(md.job("CCCO").mol, "mol", settings, 1, tmp_path / "c.json")
    stored = json.loads((tmp_path / "c.json").read_text())
    assert (stored["method"], stored["requested"]) == ("nagl", "am1bcc")
    assert "AM1-BCC failed" in stored["fallback_reason"]
    assert len(found) == 12


def test_timeout_kills_the_whole_process_group(md, tmp_path, monkeypatch):
    _fake_program(tmp_path, f"sleep 30 & echo $! > {tmp_path}/child; wait", monkeypatch)
    settings = md.settings(charges="am1bcc", charges_timeout="1 s")
    started = time.monotonic()
    with pytest.raises(Rejected, match=r"sqm took longer than 1 s \(charges_timeout\)"):
        charges.molecule_charges(md.job("CCCO").mol, "mol", settings, 1, tmp_path / "c.json")
    assert time.monotonic() - started < 10
    child = int((tmp_path / "child").read_text())
    time.sleep(0.2)
    state = _process_state(child)
    assert state in ("", "Z"), state


def _process_state(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return ""


def test_missing_antechamber_says_what_to_do(md, tmp_path, monkeypatch):
    monkeypatch.setattr(charges, "tool_path", lambda: str(tmp_path))
    with pytest.raises(Rejected, match=r"antechamber is not installed; install AmberTools, or set charges: nagl"):
        charges.molecule_charges(md.job("CO").mol, "mol", md.settings(charges="am1bcc"), 1, tmp_path / "c.json")


def test_a_zwitterion_that_loses_its_proton_in_am1_is_rejected_and_one_that_keeps_it_is_not(md, tmp_path):
    settings = md.settings(charges="am1bcc")
    with pytest.raises(
        Rejected, match=r"AM1-BCC failed 3 times, last: .*broke a bond .*charges_fallback: nagl takes it"
    ):
        charges.molecule_charges(md.job("[NH3+]CCC(=O)[O-]").mol, "alanine", settings, 1, tmp_path / "a.json")
    for smiles in ("C([NH3+])C(=O)[O-]", "C[N+](C)(C)CC(=O)[O-]"):
        found = charges.molecule_charges(md.job(smiles).mol, "mol", settings, 1, tmp_path / f"{len(smiles)}.json")
        assert abs(found.sum()) < 1e-6


def test_a_sum_beyond_rounding_is_rejected():
    with pytest.raises(Rejected, match=r"charges sum to 0.2000 e; the formal charge is 0"):
        charges.conserve(np.array([0.1, 0.1]), 0)
    assert Chem.GetFormalCharge(Chem.MolFromSmiles("[NH4+]")) == 1
    np.testing.assert_allclose(charges.conserve(np.array([0.5, 0.499]), 1).sum(), 1, atol=1e-12)
