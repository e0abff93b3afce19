"""Photos to set both sides on, and TensorFlow's own preprocessing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from parity_tests.building.photos import jpeg_of

KINDS = ("4:4:4", "4:2:2", "4:2:0", "4:4:0", "4:1:1", "grey", "cmyk", "rgb", "adobe", "rotated",
         "progressive 4:2:0", "progressive 4:4:4")  # fmt: skip
SIZES = ((1, 1), (1, 40), (37, 1), (3, 2), (17, 16), (33, 50), (64, 48), (81, 80), (101, 163),
         (120, 99), (150, 151), (200, 181), (224, 224), (231, 97), (300, 240),
         (375, 500))  # fmt: skip


@pytest.fixture(scope="session")
def jpegs():
    """Name -> JPEG: every kind in every size, huge ones, and real photos where they are at hand."""
    made = {
        f"{kind} {width}x{height}": jpeg_of(height, width, kind, seed)
        for seed, kind in enumerate(KINDS)
        for height, width in SIZES
    }
    made["huge"] = jpeg_of(1800, 2501)
    made["quality 100"] = jpeg_of(90, 91, quality=100)
    made["quality 5"] = jpeg_of(90, 91, quality=5)
    return made | real_photos()


def real_photos():
    """Those of the artifacts, where there are any."""
    folder = Path(os.environ.get("PORTING_ARTIFACTS", "nowhere"), "images")
    return {file.name: file.read_bytes() for file in sorted(folder.glob("*.JPEG"))}
