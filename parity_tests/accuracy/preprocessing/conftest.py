"""Photos, and TensorFlow's own preprocessing to compare with."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from parity_tests.building.photos import jpeg_of, marked_as_adobe

KINDS = ("4:4:4", "4:2:2", "4:2:0", "4:4:0", "4:1:1", "grey", "cmyk", "rgb", "adobe", "rotated",
         "progressive 4:2:0", "progressive 4:4:4", "ycck 4:2:0", "ycck 4:2:2", "stored 4:2:0",
         "stored 4:2:2", "stored ycck 4:2:0")  # fmt: skip
SIZES = ((1, 1), (1, 40), (37, 1), (3, 2), (17, 16), (33, 50), (64, 48), (81, 80), (101, 163),
         (120, 99), (150, 151), (200, 181), (224, 224), (231, 97), (260, 333), (300, 240),
         (375, 500))  # fmt: skip


@pytest.fixture(scope="session")
def jpegs():
    """Name -> JPEG: every kind in every size, huge ones, and real photos where they are at hand."""
    made = {
        f"{kind} {width}x{height}": jpeg_of(height, width, kind, seed)
        for seed, kind in enumerate(KINDS)
        for height, width in SIZES
    }
    for number, odd in enumerate(oddly_marked(jpeg_of(96, 80, seed=3))):
        made[f"oddly marked {number}"] = odd
    made["huge"] = jpeg_of(1800, 2501)
    made["quality 100"] = jpeg_of(90, 91, quality=100)
    made["quality 5"] = jpeg_of(90, 91, quality=5)
    return made | real_photos()


def oddly_marked(jpeg):
    """The same image with its markers as few encoders write them."""
    start, rest = jpeg[:2], jpeg[2:]
    comment = b"\xff\xfe\x00\x05abc"
    after_jfif = 2 + int.from_bytes(rest[2:4], "big")
    adobe = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x01"
    yield start + comment + rest
    yield start + b"\xff\xff" + rest
    yield start + rest[:after_jfif] + comment + adobe + rest[after_jfif:]
    yield start + comment + adobe + comment + rest[after_jfif:]
    yield start + b"\xff\xfe\x00\x08Adobe\x00" + rest
    for code in (b"\2", b"\7"):
        yield marked_as_adobe(jpeg, code)
        yield jpeg_of(96, 80, "ycck 4:2:0").replace(
            b"Adobe\0\x64\0\0\0\0\2", b"Adobe\0\x64\0\0\0\0" + code
        )


def real_photos():
    """Those of the artifacts, where there are any."""
    folder = Path(os.environ.get("PORTING_ARTIFACTS", "nowhere"), "images")
    return {file.name: file.read_bytes() for file in sorted(folder.glob("*.JPEG"))}
