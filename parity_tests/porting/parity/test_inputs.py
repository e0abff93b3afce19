"""Images to compare on: folders with good and broken files, arrays, built-in ones."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from porting.errors import BadInput
from porting.parity.inputs import (
    INPUTS,
    THUMBNAILS,
    image_stream,
    photograph_images,
    photographs_version,
    seeded_images,
    seeded_pixels,
)


def save(path, size=(40, 30), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(len(path.name)).integers(0, 256, (size[1], size[0], 3))
    Image.fromarray(pixels.astype(np.uint8)).convert(mode).save(path)


def test_a_folder(tmp_path):
    for name, mode in (("a.png", "RGB"), ("b.JPEG", "L"), ("deep/c.webp", "RGB"), ("d.png", "P")):
        save(tmp_path / name, mode=mode)
    (tmp_path / "notes.txt").write_text("no image")
    stream = image_stream(tmp_path, 8, 24, 3)
    images = list(stream)
    assert stream.total == 4
    assert stream.skipped == []
    assert all(image.shape == (24, 24, 3) and image.dtype == np.uint8 for image in images)
    assert stream.what == f"4 images of {tmp_path.name}"


def test_grey_networks_get_one_channel(tmp_path):
    save(tmp_path / "a.png")
    assert next(iter(image_stream(tmp_path, 8, 24, 1))).shape == (24, 24, 1)


def test_the_middle_is_taken(tmp_path):
    pixels = np.zeros((80, 160, 3), np.uint8)
    pixels[:, 40:120] = 200
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert (next(iter(image_stream(tmp_path, 8, 16, 3))) == 200).all()


@pytest.mark.parametrize("ending", ["gif", "tif"])
def test_kinds_that_pillow_reads(tmp_path, ending):
    save(tmp_path / f"a.{ending}")
    assert len(list(image_stream(tmp_path, 8, 24, 3))) == 1


def test_an_image_of_an_unread_kind_is_named(tmp_path):
    save(tmp_path / "a.png")
    (tmp_path / "b.heic").write_bytes(b"\0\0\0\x18ftypheic")
    stream = image_stream(tmp_path, 8, 24, 3)
    assert len(list(stream)) == 1
    assert [name for name, _ in stream.skipped] == ["b.heic"]


def test_a_broken_file_among_good_ones_is_named_and_skipped(tmp_path):
    for name in ("a.png", "c.png"):
        save(tmp_path / name)
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "b.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "e.jpg").write_bytes(b"no image at all")
    (tmp_path / "f.png").write_bytes(b"")
    stream = image_stream(tmp_path, 8, 24, 3)
    assert len(list(stream)) == 2
    assert [name for name, _ in stream.skipped] == ["b.png", "e.jpg", "f.png"]
    assert all(reason for _, reason in stream.skipped)
    assert not any(str(tmp_path) in reason for _, reason in stream.skipped)


def test_folders_without_images(tmp_path):
    with pytest.raises(BadInput, match="no image in it; known are"):
        image_stream(tmp_path, 8, 24, 3)
    with pytest.raises(BadInput, match="not a folder of images"):
        image_stream(tmp_path / "absent", 8, 24, 3)


@pytest.mark.parametrize("shape", [(4, 8, 8), (2, 8, 8, 4), (0, 8, 8, 3)])
def test_arrays_of_other_shapes(shape):
    with pytest.raises(BadInput, match=r"expected \(N, H, W, 3\)"):
        image_stream(np.zeros(shape, np.uint8), 8, 8, 3)


def test_thumbnails_are_few_and_small():
    stream = image_stream(seeded_pixels(THUMBNAILS + 5, 200), 0, 200, 3)
    assert len(list(stream)) == THUMBNAILS + 5
    assert len(stream.thumbnails) == THUMBNAILS
    packed = base64.b64decode(stream.thumbnails[0].partition(",")[2])
    assert Image.open(io.BytesIO(packed)).size == (96, 96)


def test_seeded_pixels_vary_at_every_scale():
    pixels = seeded_pixels(2, 64)
    np.testing.assert_array_equal(pixels, seeded_pixels(2, 64))
    assert not np.array_equal(pixels, seeded_pixels(2, 64, seed=1))
    assert not np.array_equal(pixels[0], pixels[1])
    for cell in (1, 8, 32):
        coarse = pixels.reshape(2, 64 // cell, cell, 64 // cell, cell, 3).mean((2, 4))
        assert coarse.std() > 5


def test_built_in_images_are_photographs_and_then_random_ones():
    stream = image_stream(None, INPUTS, 64, 3)
    images = list(stream)
    expected = [*photograph_images(64), *seeded_images(INPUTS - 8, 64)]
    assert len(images) == stream.total == INPUTS == 10
    for image, other in zip(images, expected, strict=True):
        np.testing.assert_array_equal(image, other)
    version = photographs_version()
    assert stream.what == f"8 photographs (set {version}) and 2 random images (seed 0)"


def test_a_few_built_in_images_are_photographs_alone():
    stream = image_stream(None, 3, 32, 3)
    first = list(photograph_images(32))[:3]
    np.testing.assert_array_equal(np.stack(list(stream)), np.stack(first))
    assert stream.what == f"3 photographs (set {photographs_version()})"
    assert image_stream(None, 1, 32, 3).what.startswith("1 photograph (set ")


def test_random_images_alone():
    stream = image_stream(None, 12, 32, 3, random_only=True)
    np.testing.assert_array_equal(np.stack(list(stream)), seeded_pixels(12, 32))
    assert (stream.total, stream.what) == (12, "12 random images (seed 0)")
    assert image_stream(None, 1, 32, 3, random_only=True).what == "1 random image (seed 0)"
