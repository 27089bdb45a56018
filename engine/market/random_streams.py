"""Independent random numbers by name, so that no draw depends on what else was drawn."""

from __future__ import annotations

import hashlib

import numpy as np

__all__ = ["stream"]


def stream(seed: int, *name: str) -> np.random.Generator:
    """Random generator that belongs to a seed and a name.

    Each purpose has a stream of its own and is drawn from front to back, so the first n draws are the same
    however many follow and whichever other streams are used.

    Parameters
    ----------
    seed : int
        Not negative.
    *name : str
        What the numbers are for, from general to special.
    """
    digest = hashlib.blake2b("\x00".join(name).encode(), digest_size=16).digest()
    words = np.frombuffer(digest, dtype="<u4").tolist()
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, *words])))
