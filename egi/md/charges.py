"""Partial charges, once a molecule: AM1-BCC by AmberTools' sqm, or NAGL (DESIGN 4)."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from rdkit import Chem
from rdkit.Chem import AllChem

from egi import seeds
from egi.config import SimulationSettings
from egi.data.storage import atomic
from egi.md.common import Rejected, digest
from egi.md.quality import graph_faults

log = logging.getLogger("egi")

NAGL_MODEL = "openff-gnn-am1bcc-1.0.0.pt"
ATTEMPTS = 3
_MISSING = "antechamber is not installed"
_REARRANGED = "AM1's optimisation broke a bond (a proton moved?); charges_fallback: nagl takes it"
#: sqm settings of the last attempt: the slow, safe diagonaliser (openff-toolkit issue 1911)
_SAFE_KEYWORDS = "qm_theory='AM1', grms_tol=0.0005, scfconv=1.d-9, pseudo_diag=0, diag_routine=3, ndiis_attempts=700,"
#: largest departure of the raw sum from the formal charge that is taken for rounding, in e
_ROUNDING = 0.05


def molecule_charges(mol: Chem.Mol, name: str, settings: SimulationSettings, seed: int, path: Path) -> np.ndarray:
    """Charges of a molecule, read from `path` where it holds them, else computed and written there.

    Parameters
    ----------
    mol : Chem.Mol
        All atoms.
    name : str
        Molecule id, for the conformer seeds.
    settings : SimulationSettings
    seed : int
    path : path
        The molecule's ``charges.json``.

    Returns
    -------
    (atoms,) ndarray
        In units of the elementary charge; sums to the formal charge within 1e-6.

    Raises
    ------
    Rejected
        If no allowed method gives charges.
    """
    key = digest(Chem.MolToJSON(mol), settings.charges, settings.charges_fallback, seed)
    if path.is_file():
        stored = json.loads(path.read_text())
        if stored["key"] == key:
            return np.array(stored["charges"])
        log.info("%s: charges were made for another molecule or method; computing them afresh", name)
    started = time.monotonic()
    method, fallback_reason = settings.charges, ""
    try:
        with _failures_noted(path.with_name("charges_failed.json"), key, settings.charges_timeout_seconds):
            charges = _compute(method, mol, name, seed, settings.charges_timeout_seconds)
    except Rejected as failure:
        if settings.charges_fallback in (None, method):
            raise
        method, fallback_reason = settings.charges_fallback, failure.reason
        log.warning("%s: %s failed (%s); falling back on %s", name, settings.charges, failure.reason, method)
        charges = _compute(method, mol, name, seed, settings.charges_timeout_seconds)
    content = {
        "key": key, "method": method, "requested": settings.charges, "fallback_reason": fallback_reason,
        "formal_charge": Chem.GetFormalCharge(mol), "seconds": round(time.monotonic() - started, 2),
        "charges": [round(float(q), 10) for q in charges],
    }  # fmt: skip
    with atomic(path) as partial:
        partial.write_text(json.dumps(content, indent=1))
    return np.array(content["charges"])


@contextmanager
def _failures_noted(path: Path, key: str, timeout_seconds: float) -> Iterator[None]:
    """Note a rejection in `path`, so that a rerun need not wait for sqm again; a longer timeout tries again."""
    stored = json.loads(path.read_text()) if path.is_file() else {}
    if stored.get("key") == key and stored["timeout_seconds"] >= timeout_seconds:
        raise Rejected("charges", f"{stored['reason']} (in an earlier run; delete {path.name} to try again)")
    try:
        yield
    except Rejected as failure:
        if _MISSING not in failure.reason:
            with atomic(path) as partial:
                partial.write_text(
                    json.dumps({"key": key, "timeout_seconds": timeout_seconds, "reason": failure.reason})
                )
        raise


def conserve(charges: np.ndarray, formal_charge: int) -> np.ndarray:
    """Charges (atoms,) with the rounding of their sum spread evenly; Rejected if it is more than rounding."""
    excess = formal_charge - charges.sum()
    if not np.isfinite(excess) or abs(excess) > _ROUNDING:
        raise Rejected("charges", f"charges sum to {charges.sum():.4f} e; the formal charge is {formal_charge}")
    return charges + excess / len(charges)


def _compute(method: str, mol: Chem.Mol, name: str, seed: int, timeout_seconds: float) -> np.ndarray:
    raw = _nagl(mol) if method == "nagl" else _am1bcc(mol, name, seed, timeout_seconds)
    return conserve(raw, Chem.GetFormalCharge(mol))


def _am1bcc(mol: Chem.Mol, name: str, seed: int, timeout_seconds: float) -> np.ndarray:
    """AM1-BCC, each attempt from a conformer of its own; the timeout counts for all attempts together."""
    deadline = time.monotonic() + timeout_seconds
    reason = ""
    for attempt in range(ATTEMPTS):
        embedded = Chem.Mol(mol)
        embedded.RemoveAllConformers()
        if AllChem.EmbedMolecule(embedded, randomSeed=seeds.integer(seed, name, "charges", attempt)) != 0:
            reason = "RDKit found no conformer"
            continue
        try:
            return antechamber(embedded, deadline - time.monotonic(), safe=attempt == ATTEMPTS - 1)
        except subprocess.TimeoutExpired:
            raise Rejected("charges", f"sqm took longer than {timeout_seconds:g} s (charges_timeout)") from None
        except subprocess.CalledProcessError as error:
            reason = _last_words(error.output or "")
            log.info("%s: attempt %d of AM1-BCC failed: %s", name, attempt + 1, reason)
    raise Rejected("charges", f"AM1-BCC failed {ATTEMPTS} times, last: {reason}")


def antechamber(mol: Chem.Mol, timeout_seconds: float, safe: bool = False) -> np.ndarray:
    """AM1-BCC charges of a molecule with one conformer, by the command that the OpenFF toolkit uses.

    Parameters
    ----------
    mol : Chem.Mol
        All atoms, one conformer.
    timeout_seconds : float
        antechamber and sqm are killed after this long.
    safe : bool
        Slower diagonaliser, for molecules on which the usual one does not converge.

    Returns
    -------
    (atoms,) ndarray

    Raises
    ------
    subprocess.CalledProcessError
        If it fails, or if AM1's optimisation, which antechamber does first, breaks a bond: in many zwitterions a
        proton moves, and the charges are then those of another molecule.
    subprocess.TimeoutExpired
    """
    command = ["antechamber", "-i", "in.sdf", "-fi", "sdf", "-o", "out.mol2", "-fo", "mol2", "-pf", "yes",
               "-dr", "n", "-c", "bcc", "-nc", str(Chem.GetFormalCharge(mol))]  # fmt: skip
    if safe:
        command += ["-ek", _SAFE_KEYWORDS]
    with tempfile.TemporaryDirectory(prefix="egi_sqm_") as scratch:
        Path(scratch, "in.sdf").write_text(Chem.MolToMolBlock(mol, kekulize=True) + "$$$$\n")
        output = _run_group(command, scratch, timeout_seconds)
        try:
            charges = _mol2_charges(Path(scratch, "out.mol2").read_text())
            optimised = _pdb_positions(Path(scratch, "sqm.pdb").read_text())
        except (OSError, ValueError):
            raise subprocess.CalledProcessError(1, command, output or "no charges came out") from None
    if not len(charges) == len(optimised) == mol.GetNumAtoms():
        raise subprocess.CalledProcessError(1, command, f"{len(charges)} charges for {mol.GetNumAtoms()} atoms")
    if graph_faults(optimised[None], mol)[0]:
        raise subprocess.CalledProcessError(1, command, _REARRANGED)
    return charges


def _run_group(command: list[str], folder: str, timeout_seconds: float) -> str:
    """Run in a process group of its own, so that a timeout kills sqm as well as antechamber."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PATH": tool_path()}
    try:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, text=True, errors="replace", start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
    except FileNotFoundError:
        raise Rejected("charges", f"{_MISSING}; install AmberTools, or set charges: nagl") from None
    try:
        output, _ = process.communicate(timeout=max(timeout_seconds, 0))
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command, output)
    return output


def tool_path() -> str:
    """PATH with the programs beside this Python first: an environment need not be activated."""
    return os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])


def _mol2_charges(text: str) -> np.ndarray:
    """Charges from the atom block of a Tripos mol2 file."""
    block = text.split("@<TRIPOS>ATOM")[1].split("@<TRIPOS>")[0] if "@<TRIPOS>ATOM" in text else ""
    charges = [float(line.split()[8]) for line in block.splitlines() if line.strip()]
    if not charges:
        raise ValueError("mol2 file without atoms")
    return np.array(charges)


def _pdb_positions(text: str) -> np.ndarray:
    """Positions (atoms, 3) in Å of a PDB file."""
    atoms = [line for line in text.splitlines() if line.startswith(("ATOM", "HETATM"))]
    return np.array([[float(line[k : k + 8]) for k in (30, 38, 46)] for line in atoms]).reshape(-1, 3)


def _last_words(output: str) -> str:
    """The part of a program's output that says what went wrong: from the first fatal line on, else the end."""
    lines = [line.strip() for line in output.splitlines() if line.strip()] or ["no output"]
    telling = [i for i, line in enumerate(lines) if "Fatal Error" in line or "convergence" in line.lower()]
    words = lines[telling[0] : telling[0] + 3] if telling else lines[-1:]
    return " ".join(word.rsplit("/", 1)[-1] for word in words)[:200]


def _nagl(mol: Chem.Mol) -> np.ndarray:
    from openff.toolkit import Molecule
    from openff.toolkit.utils.nagl_wrapper import NAGLToolkitWrapper

    mol = Chem.Mol(mol)
    Chem.AssignStereochemistry(mol, cleanIt=True, force=True)  # from a file a double bond is trans; OpenFF wants E
    try:
        molecule = Molecule.from_rdkit(mol, allow_undefined_stereo=True, hydrogens_are_explicit=True)
        molecule.assign_partial_charges(NAGL_MODEL, toolkit_registry=NAGLToolkitWrapper())
    except Exception as error:  # the toolkit's exceptions share no base class; one molecule is at stake
        raise Rejected("charges", f"NAGL: {type(error).__name__}: {str(error).splitlines()[0][:200]}") from error
    return molecule.partial_charges.m_as("elementary_charge").astype(float)
