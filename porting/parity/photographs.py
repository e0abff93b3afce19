"""The photographs that ship with the package: real images where a user brings none."""

from __future__ import annotations

import hashlib
from importlib import resources

NAMES = (
    "cameraman.jpg", "astronaut.jpg", "shore.jpg", "cat.jpg",
    "rocket.jpg", "dandelion.jpg", "coffee.jpg", "blossom.jpg",
)  # fmt: skip
"""Files of ``photos/``, in the order of use. ``photos/LICENSES.md`` says whose they are."""


def photograph_files() -> tuple[bytes, ...]:
    """The files in the order of use, each a JPEG."""
    folder = resources.files("porting.parity").joinpath("photos")
    return tuple(folder.joinpath(name).read_bytes() for name in NAMES)


def photographs_version() -> str:
    """The first eight hexadecimal digits of the SHA-256 of all files in a row."""
    return hashlib.sha256(b"".join(photograph_files())).hexdigest()[:8]
