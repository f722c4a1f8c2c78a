"""Sets of trajectories to compare: read from the files of the workflow, measured in internal coordinates.

Files hold frames as [n, T, 3]; here they are [T, n, 3]. The reference and the oracle are told apart by the
``role`` attribute of the replicas, never by their number.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

import numpy as np

from egi.chem.geometry import (
    InternalCoordinates,
    bond_angles,
    bond_lengths,
    internal_coordinates,
    torsion_angles,
)
from egi.chem.stereo import DoubleBonds, Stereocentres, double_bonds, stereocentres
from egi.cli import UserError
from egi.data.storage import MoleculeRecord, Reader, StorageError
from egi.metrics.scores import Unscorable
from egi.metrics.validity import Contacts, contacts, hands, in_nanometres
from egi.units import whole_multiple

#: order of rows in every table; methods that are not named here follow
ORDER = ("reference", "md_oracle", "md_oracle_matched", "basices", "ar_egnn", "ar_et", "geotdm", "egi_naive", "egi",
         "egi_unfrozen", "etkdg", "shuffled_md")  # fmt: skip


@dataclass(frozen=True)
class Ensemble:
    """Trajectories of one molecule from one method.

    Attributes
    ----------
    method : str
    trajectories : list of (T, n, 3) ndarray
        Modelled atoms, Å; T may differ.
    refined : bool
    note : str
        Goes to the reason column of its rows.
    replicas : tuple of int
        Which replica each trajectory is of; empty if each is its own. Phases of a replica are not independent.
    """

    method: str
    trajectories: list[np.ndarray]
    refined: bool = False
    note: str = ""
    replicas: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """Name in the files for figures."""
        return label(self.method, self.refined)

    @property
    def frames(self) -> int:
        """Number of frames of all trajectories."""
        return sum(map(len, self.trajectories))


@dataclass(frozen=True)
class Measures:
    """What is measured in the frames of a molecule."""

    coordinates: InternalCoordinates
    centres: Stereocentres
    contacts: Contacts
    double_bonds: DoubleBonds


def measures_of(record: MoleculeRecord) -> Measures:
    """Everything that is measured in a molecule's frames."""
    return Measures(internal_coordinates(record), stereocentres(record), contacts(record), double_bonds(record))


@dataclass(frozen=True)
class Observed:
    """Internal coordinates of an ensemble's finite frames.

    Attributes
    ----------
    name : str
        Of the ensemble.
    frames : (frames, n, 3) ndarray
    bond_length, bond_angle, torsion : (frames, columns) ndarray
        Å, radian; frames that are not finite are left out.
    hand : (frames, centres) int8 ndarray
        1 for the right hand, -1 for the other.
    series, hand_series : list of (T, torsions) ndarray, list of (T, centres) ndarray
        Torsions and hands of the trajectories; one with frames that are not finite is cut there, into its unbroken
        stretches.
    replicas : list of int
        Which replica each of those is of.
    length : int
        Frames of the longest trajectory, before it was cut.
    note : str
        What was left out.
    """

    name: str
    frames: np.ndarray
    bond_length: np.ndarray
    bond_angle: np.ndarray
    torsion: np.ndarray
    hand: np.ndarray
    series: list[np.ndarray]
    hand_series: list[np.ndarray]
    replicas: list[int]
    length: int
    note: str

    def whole(self) -> list[np.ndarray]:
        """`series` of the longest trajectories that are finite throughout; Unscorable if there is none."""
        found = [s for s in self.series if len(s) == self.length]
        if not found:
            raise Unscorable("no_finite_frames", "no trajectory without NaN or infinity")
        return found


def observe(ensemble: Ensemble, measures: Measures) -> Observed:
    """Measure an ensemble's bonds, angles, torsions and stereocentres.

    Raises
    ------
    Unscorable
        If no frame is finite.
    """
    frames = np.concatenate(ensemble.trajectories)
    finite = np.isfinite(frames).all((1, 2))
    if not finite.any():
        raise Unscorable("no_finite_frames", f"none of {len(frames)} frames is finite")
    notes = [ensemble.note] if ensemble.note else []
    if not finite.all():
        notes.append(f"{int((~finite).sum())} of {len(frames)} frames not finite, left out")
    lengths = [len(t) for t in ensemble.trajectories]
    owner = np.repeat(np.arange(len(lengths)), lengths)
    stretch = (owner + np.cumsum(~finite))[finite]  # one number for frames without a gap between them
    starts = np.flatnonzero(np.diff(stretch)) + 1
    frames, on = frames[finite], measures.coordinates
    torsion, hand = torsion_angles(frames, on.torsions), hands(frames, measures.centres)
    replicas = ensemble.replicas or range(len(lengths))
    return Observed(
        ensemble.name, frames, bond_lengths(frames, on.bonds), bond_angles(frames, on.angles), torsion, hand,
        np.split(torsion, starts), np.split(hand, starts), [replicas[k] for k in owner[finite][np.r_[0, starts]]],
        max(lengths), "; ".join(notes),
    )  # fmt: skip


def cut(ensemble: Ensemble, like: Ensemble, method: str) -> Ensemble:
    """As many frames as another ensemble has, no trajectory longer than its longest; a note if there are fewer."""
    note = "" if ensemble.frames >= like.frames else f"{ensemble.frames} frames where {like.frames} were generated"
    length, left, kept = max(map(len, like.trajectories)), like.frames, []
    for trajectory in ensemble.trajectories:
        for start in range(0, len(trajectory), length):
            if left > 0:
                kept.append(trajectory[start : start + min(length, left)])
                left -= len(kept[-1])
    return Ensemble(method, kept, ensemble.refined, note)


def frames_of(interval_ps: float, lag_ps: Decimal, name: str) -> int:
    """A lag in frames of a file with this interval; ConfigError if it is no whole number."""
    return whole_multiple(lag_ps, Decimal(str(round(float(interval_ps), 9))), name, "interval of the trajectories")


def read_md(reader: Reader, molecule: str) -> tuple[Ensemble, Ensemble]:
    """Reference and oracle trajectories of a test molecule, by the replicas' roles.

    Returns
    -------
    (Ensemble, Ensemble)
        Methods ``reference`` and ``md_oracle``; each phase of a replica is a trajectory.

    Raises
    ------
    StorageError
        If a replica has another role, or a role has no replica.
    """
    group = reader.group(molecule)
    roles: dict[str, list[np.ndarray]] = {"reference": [], "oracle": []}
    replicas: dict[str, list[int]] = {"reference": [], "oracle": []}
    for number, name in enumerate(sorted(n for n in group if n.startswith("replica_"))):
        role = group[name].attrs.get("role")
        if role not in roles:
            raise StorageError(f"{reader.path}: {molecule}/{name} has role {role!r}; wanted 'reference' or 'oracle'")
        phases = list(group[name][...].transpose(0, 2, 1, 3))
        roles[role] += phases
        replicas[role] += [number] * len(phases)
    if not all(roles.values()):
        raise StorageError(f"{reader.path}: {molecule} has {len(roles['reference'])} reference and "
                           f"{len(roles['oracle'])} oracle trajectories; wanted at least one of each")  # fmt: skip
    reference, oracle = (
        Ensemble(method, roles[role], replicas=tuple(replicas[role]))
        for method, role in (("reference", "reference"), ("md_oracle", "oracle"))
    )
    return reference, oracle


def read_samples(reader: Reader, molecule: str, method: str, record: MoleculeRecord) -> Ensemble:
    """Generated trajectories of a molecule.

    Raises
    ------
    StorageError
        If the samples are empty, or have other atoms than the reference.
    """
    samples = reader.array(molecule, "samples")
    atoms = len(record.atomic_numbers)
    if samples.ndim != 4 or samples.shape[1] != atoms or samples.shape[3] != 3 or 0 in samples.shape:
        raise StorageError(f"{reader.path}: samples of {molecule} have shape {samples.shape}; wanted "
                           f"[samples, {atoms}, frames, 3], none of them 0")  # fmt: skip
    if not np.array_equal(reader.array(molecule, "atomic_numbers"), record.atomic_numbers):
        raise StorageError(f"{reader.path}: {molecule} has other atoms, or another order, than the reference")
    refined = bool(reader.attributes.get("refined", False))
    return Ensemble(method, list(samples.transpose(0, 2, 1, 3)), refined)


def check_interval(reader: Reader, interval_ps: float) -> None:
    """Refuse samples whose frames lie at another interval than the reference's."""
    seen = float(reader.attributes.get("interval_ps", interval_ps))
    if abs(seen - interval_ps) > 1e-6:
        raise StorageError(f"{reader.path} has frames every {seen} ps; the reference has {interval_ps} ps")


def check_filled(reader: Reader, reference: Path) -> None:
    """Refuse samples without molecules; of interpolation there are none where no molecule has start and end frames."""
    if not reader.ids and reader.attributes.get("task") != "interpolation":
        raise StorageError(f"{reader.path} holds no molecules; wanted samples of those in {reference}")


def check_unit(path: Path, ensemble: Ensemble, limits: Contacts) -> None:
    """Refuse coordinates in nm, by the bond lengths of the first frames."""
    if in_nanometres(ensemble.trajectories[0][:50], limits):
        raise StorageError(f"{path} has bonds a tenth as long as they should be: coordinates in nm; wanted angstrom")


def truncated(ensemble: Ensemble, frames: int) -> Ensemble:
    """Each trajectory cut to `frames` frames, as forward roll-outs are to the reference's length (FACTS 14)."""
    return replace(ensemble, trajectories=[t[:frames] for t in ensemble.trajectories])


def label(method: str, refined: bool) -> str:
    """Name of a method's raw or refined frames in the files for figures."""
    return f"{method}_refined" if refined else method


def sample_files(given: list[str]) -> list[tuple[str, Path]]:
    """METHOD=PATH arguments in the order of tables.

    Raises
    ------
    UserError
        If an argument is not of that form.
    """
    pairs = [tuple(text.split("=", 1)) for text in given]
    wrong = [text for text, pair in zip(given, pairs, strict=True) if len(pair) != 2 or not all(pair)]
    if wrong:
        raise UserError(f"--samples has {wrong[0]!r}; wanted METHOD=PATH")
    return sorted(((method, Path(path)) for method, path in pairs), key=lambda p: rank(p[0]))


def rank(method: str) -> tuple[int, str]:
    """Place of a method in tables; an oracle cut to a length stands before the whole one."""
    if method.startswith("md_oracle_") and method not in ORDER:
        return ORDER.index("reference"), method
    return (ORDER.index(method) if method in ORDER else len(ORDER)), method
