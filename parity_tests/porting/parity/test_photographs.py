"""The photographs in the package: the same on every platform, for every input, and licensed."""

from __future__ import annotations

import hashlib
import io
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import porting
from porting.parity.inputs import (
    PHOTOGRAPHS,
    photograph_files,
    photograph_images,
    photographs_version,
)

FOLDER = Path(porting.__file__).parent / "parity" / "photos"
ROOT = Path(__file__).parents[3]


def digest(images):
    return hashlib.sha256(b"".join(image.tobytes() for image in images)).hexdigest()[:16]


def test_the_set_is_the_one_that_was_measured():
    assert photographs_version() == "e0f9d85a"
    assert len(PHOTOGRAPHS) == 8


@pytest.mark.parametrize(
    ("size", "channels", "pixels"),
    [(96, 1, "00ac462721cc2096"), (160, 3, "b2bd84cfe60ac0ef"), (224, 3, "f8a2fc485541e1ca")],
)
def test_they_decode_to_the_same_pixels(size, channels, pixels):
    """As Pillow 11.0 to 13.0 did, with libjpeg-turbo 3.0.4 to 3.2.0."""
    assert digest(photograph_images(size, channels)) == pixels


@pytest.mark.parametrize("size", [1, 32, 96, 160, 224, 331])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_any_size_and_number_of_channels(size, channels):
    images = list(photograph_images(size, channels))
    assert len(images) == len(PHOTOGRAPHS)
    assert all(image.shape == (size, size, channels) for image in images)
    assert all(image.dtype == np.uint8 for image in images)
    if size > 1:
        assert all(image.std() > 20 for image in images)


def test_channels_beyond_three_take_turns():
    colour, four = (list(photograph_images(32, channels))[1] for channels in (3, 4))
    np.testing.assert_array_equal(four, colour[..., [0, 1, 2, 0]])


def test_they_are_small_and_hold_nothing_but_pixels():
    assert sum(map(len, photograph_files())) < 250_000
    for name, file in zip(PHOTOGRAPHS, photograph_files(), strict=True):
        image = Image.open(io.BytesIO(file))
        assert image.format == "JPEG", name
        assert max(image.size) <= 320, name
        assert not image.getexif(), name
        # Without subsampling the planes need no interpolation, in which decoders differ.
        assert {layer[1:3] for layer in image.layer} == {(1, 1)}, name


def test_each_has_its_origin_author_and_licence():
    rows = re.findall(r"^\| `(.+?)` \| (.+) \|$", (FOLDER / "LICENSES.md").read_text(), re.M)
    assert sorted(name for name, _ in rows) == sorted(PHOTOGRAPHS)
    assert sorted(p.name for p in FOLDER.glob("*.jpg")) == sorted(PHOTOGRAPHS)
    for name, row in rows:
        original, crop, author, licence, stated = row.split(" | ")
        assert licence in ("CC0", "public domain"), name
        assert original and author and stated, name
        assert re.fullmatch(r"\d+, \d+, \d+", crop), name


@pytest.mark.slow
def test_a_wheel_holds_them(tmp_path):
    """Built offline, with the hatchling that is installed."""
    source = tmp_path / "source"
    files = ["genmobilenet", "porting", "pyproject.toml", "README.md", "LICENSE"]
    source.mkdir()
    subprocess.run(["cp", "-r", *(str(ROOT / name) for name in files), str(source)], check=True)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index"]
    build += ["--no-build-isolation", "--wheel-dir", str(tmp_path), str(source)]
    subprocess.run(build, check=True)
    (wheel,) = tmp_path.glob("genmobilenet-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = [archive.read(f"porting/parity/photos/{name}") for name in PHOTOGRAPHS]
        assert b"CC0" in archive.read("porting/parity/photos/LICENSES.md")
    assert tuple(held) == photograph_files()
