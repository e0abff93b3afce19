"""How large a shape may be, and how many elements it has, for shapes that nobody vouches for."""

from __future__ import annotations

from collections.abc import Sequence

MOST_SIDES = 254
"""Most sides that a shape has in TensorFlow (``TensorShape::MaxDimensions``)."""

MOST_SIDES_READ = 32
"""Most sides of an array in every NumPy that this package works with (64 since NumPy 2)."""

ENDLESS = 1 << 62
"""Stands for any number of elements that no file can hold."""


def elements(shape: Sequence[int]) -> int:
    """Elements of a shape without negative sides, :data:`ENDLESS` at most."""
    if 0 in shape:
        return 0
    total = 1
    for side in shape:
        total *= side
        if total >= ENDLESS:
            return ENDLESS
    return total


def told(count: int) -> str:
    """A number of bytes for a message."""
    return f"{count:,}" if count < ENDLESS else "more than any file's"
