"""Coverage and matching of conformer ensembles by symmetry-aware heavy-atom RMSD (paper B.1.3, Eq. 6 and 7)."""

from __future__ import annotations

import time

import numpy as np
from rdkit import Chem

from egi.metrics.scores import Score, Unscorable

#: atom mappings tried at most; a molecule with more is scored with these
MAX_SYMMETRIES = 4096
TIMEOUT_SECONDS = 600.0
METRICS = ("cov_r", "mat_r", "cov_p", "mat_p")
_NEWTON_STEPS = 50
# RDKit's rule: terminal O and N of a conjugated group (carboxylate, nitro, acid) are equivalent
_TERMINAL = Chem.MolFromSmarts("[O,N;D1;$([O,N;D1]-[*]=[O,N;D1]),$([O,N;D1]=[*]-[O,N;D1])]~[*]")


def symmetries(mol: Chem.Mol, limit: int = MAX_SYMMETRIES) -> np.ndarray:
    """Atom mappings of a molecule onto itself, as RDKit's GetBestRMS takes them.

    Parameters
    ----------
    mol : Chem.Mol
        Heavy atoms only.
    limit : int
        Largest number of mappings.

    Returns
    -------
    (mappings, atoms) int ndarray
    """
    mol = Chem.RWMol(mol)
    for terminal, centre in mol.GetSubstructMatches(_TERMINAL):
        mol.GetAtomWithIdx(terminal).SetFormalCharge(0)
        mol.GetBondBetweenAtoms(terminal, centre).SetBondType(Chem.BondType.ONEANDAHALF)
    matches = mol.GetSubstructMatches(mol, uniquify=False, useChirality=False, maxMatches=limit)
    return np.array(matches, dtype=np.int64).reshape(-1, mol.GetNumAtoms())


def best_rmsd(probe: np.ndarray, target: np.ndarray, mappings: np.ndarray, timeout_seconds: float = TIMEOUT_SECONDS):
    """RMSD after optimal superposition (proper rotation), least over the mappings, of all pairs.

    Parameters
    ----------
    probe : (P, atoms, 3) ndarray
    target : (R, atoms, 3) ndarray
        Å.
    mappings : (mappings, atoms) int ndarray
    timeout_seconds : float

    Returns
    -------
    (P, R) ndarray
        Å.

    Raises
    ------
    ValueError
        If the shapes disagree.
    Unscorable
        After the time limit.
    """
    if probe.ndim != 3 or target.ndim != 3 or probe.shape[1:] != target.shape[1:] or probe.shape[2] != 3:
        raise ValueError(f"probe, target have shapes {probe.shape}, {target.shape}; wanted (conformers, atoms, 3)")
    probe, target = (np.asarray(x, dtype=float) - x.mean(1, keepdims=True, dtype=float) for x in (probe, target))
    atoms = probe.shape[1]
    norms = (probe**2).sum((1, 2))[:, None] + (target**2).sum((1, 2))[None]
    left = probe.transpose(0, 2, 1).reshape(-1, atoms)  # [P * 3, atoms]
    best = np.full(norms.shape, -np.inf)
    end = time.monotonic() + timeout_seconds
    for mapping in mappings:
        right = target[:, mapping].transpose(1, 0, 2).reshape(atoms, -1)  # [atoms, R * 3]
        covariance = (left @ right).reshape(len(probe), 3, len(target), 3).transpose(1, 3, 0, 2)
        np.maximum(best, _optimal_trace(covariance, norms / 2), out=best)
        if time.monotonic() > end:
            raise Unscorable("timeout", f"{len(mappings)} symmetries took over {timeout_seconds:g} s")
    return np.sqrt(np.clip(norms - 2 * best, 0, None) / atoms)


def _optimal_trace(covariance: np.ndarray, bound: np.ndarray) -> np.ndarray:
    """Largest trace of R C [3, 3, P, R] over proper rotations R, by Newton's method from a bound (Theobald 2005).

    It is the largest root of x^4 - 2 tr(G) x^2 - 8 det(C) x + 2 tr(G^2) - tr(G)^2 with G = C^T C, that is
    s1 + s2 + sign(det C) s3 of the singular values of C; between it and the bound the polynomial is convex.
    """
    x, y, z = (np.ascontiguousarray(row) for row in covariance)  # rows of C, each [3, P, R]
    xx, yy, zz, xy, yz, zx = (
        np.einsum("kpr,kpr->pr", a, b) for a, b in ((x, x), (y, y), (z, z), (x, y), (y, z), (z, x))
    )
    trace = xx + yy + zz
    constant = 2 * (xx**2 + yy**2 + zz**2 + 2 * (xy**2 + yz**2 + zx**2)) - trace**2
    linear = -8 * sum(x[i] * (y[i - 2] * z[i - 1] - y[i - 1] * z[i - 2]) for i in range(3))
    root = bound.copy()
    for _ in range(_NEWTON_STEPS):
        value = ((root**2 - 2 * trace) * root + linear) * root + constant
        slope = 4 * (root**2 - trace) * root + linear
        step = np.divide(value, slope, out=np.zeros_like(root), where=slope > 0)
        root -= step
        if (step <= 1e-12 * bound).all():
            break
    return root


def coverage_and_matching(rmsd: np.ndarray, threshold_angstrom: float) -> list[Score]:
    """COV-R, MAT-R, COV-P and MAT-P of one molecule.

    Parameters
    ----------
    rmsd : (generated, reference) ndarray
        Å.
    threshold_angstrom : float
        Within it a conformer counts as covered (FACTS 15: 0.5 QM9, 1.25 Drugs).

    Returns
    -------
    list of Score
        COV in percent, MAT in Å.
    """
    scores = []
    for name, nearest in (("r", rmsd.min(0)), ("p", rmsd.min(1))):
        covered = nearest <= threshold_angstrom
        scores.append(Score(f"cov_{name}", 100.0 * covered, 100 * float(covered.mean())))
        scores.append(Score(f"mat_{name}", nearest, float(nearest.mean())))
    return scores


def heavy_molecule(mol: Chem.Mol, modelled: np.ndarray) -> tuple[Chem.Mol, np.ndarray]:
    """A molecule without hydrogens and the places of its atoms among the modelled atoms.

    Parameters
    ----------
    mol : Chem.Mol
        All atoms.
    modelled : (n,) int ndarray
        Indices of the modelled atoms among all atoms.

    Returns
    -------
    (Chem.Mol, (heavy,) int ndarray)
    """
    heavy = [i for i, a in enumerate(modelled.tolist()) if mol.GetAtomWithIdx(a).GetAtomicNum() > 1]
    return Chem.RemoveAllHs(mol, sanitize=False), np.array(heavy, dtype=np.int64)


def conformer_scores(record, generated: np.ndarray, reference: np.ndarray, threshold_angstrom: float) -> list[Score]:
    """COV and MAT of one molecule's generated conformers.

    Parameters
    ----------
    record : MoleculeRecord
    generated, reference : (conformers, n, 3) ndarray
        Modelled atoms, Å.
    threshold_angstrom : float

    Raises
    ------
    Unscorable
        If no finite conformer is left on a side, or the time limit is reached.
    """
    kept = [x[np.isfinite(x).all((1, 2))] for x in (generated, reference)]
    if not all(map(len, kept)):
        raise Unscorable(
            "no_finite_frames", f"{len(kept[0])} generated, {len(kept[1])} reference conformers are finite"
        )
    bare, heavy = heavy_molecule(record.mol, record.modelled)
    mappings = symmetries(bare)
    notes = ["symmetries capped"] if len(mappings) >= MAX_SYMMETRIES else []
    lost = len(generated) - len(kept[0])
    notes += [f"{lost} generated conformers are not finite"] if lost else []
    rmsd = best_rmsd(kept[0][:, heavy], kept[1][:, heavy], mappings)
    extra = {"generated": len(kept[0]), "reference": len(kept[1]), "symmetries": len(mappings)}
    return [Score(s.metric, s.each, s.value, reason="; ".join(notes), extra=extra)
            for s in coverage_and_matching(rmsd, threshold_angstrom)]  # fmt: skip
