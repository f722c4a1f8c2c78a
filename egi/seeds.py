"""Random streams derived from names: (seed, molecule, replica) always gives the same numbers."""

from __future__ import annotations

import hashlib

import numpy as np


def integer(seed: int, *names: object) -> int:
    """A positive 31-bit seed derived from a base seed and names (molecule id, replica, purpose)."""
    text = "\x1f".join(str(part) for part in (seed, *names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") % (2**31 - 1) + 1


def stream(seed: int, *names: object) -> np.random.Generator:
    """A NumPy generator derived from a base seed and names."""
    return np.random.default_rng(integer(seed, *names))


def torch_generator(seed: int, *names: object, device: str = "cpu"):
    """A torch generator derived from a base seed and names."""
    import torch  # slow to import, not needed by the simulation stage

    return torch.Generator(device=device).manual_seed(integer(seed, *names))
