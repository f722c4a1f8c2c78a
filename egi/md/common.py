"""What the simulation modules share: unit conversion, the rejection of one molecule, hashes of inputs."""

from __future__ import annotations

import hashlib
import json
from typing import Any

NM_PER_ANGSTROM = 0.1
#: kJ/(mol K)
GAS_CONSTANT = 0.00831446261815324
#: g/mL of one amu/nm^3
GRAMS_PER_ML = 1.66053906892e-3


class Rejected(Exception):
    """One molecule or replica cannot be simulated; the others go on.

    Attributes
    ----------
    stage : str
        build, charges, parameters, solvation, minimisation, equilibration, production.
    reason : str
    """

    def __init__(self, stage: str, reason: str):
        super().__init__(f"{stage}: {reason}")
        self.stage, self.reason = stage, reason

    def __reduce__(self):
        return type(self), (self.stage, self.reason)  # so that it crosses process borders


def digest(*parts: Any) -> str:
    """Short hash of bytes, text and JSON values."""
    made = hashlib.sha256()
    for part in parts:
        made.update(part if isinstance(part, bytes) else json.dumps(part, sort_keys=True).encode())
        made.update(b"\x1f")
    return made.hexdigest()[:16]
