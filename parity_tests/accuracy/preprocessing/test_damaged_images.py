"""Images that cannot be decoded as TensorFlow decodes them are refused by name."""

from __future__ import annotations

import struct

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from parity_tests.building.photos import encoded, jpeg_of, photo
from porting.accuracy.preprocessing import decoding, named_pipeline
from porting.accuracy.preprocessing.steps import Window
from porting.errors import BadExample

JPEG = jpeg_of(60, 70)
PNG = encoded(Image.fromarray(photo(60, 70)), "PNG")


def _with_size(jpeg, height, width):
    """The same file with another size in its frame header."""
    place = jpeg.index(b"\xff\xc0") + 5
    return jpeg[:place] + struct.pack(">HH", height, width) + jpeg[place + 4 :]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not an image: the file is empty"),
        (
            b"hello, this is text",
            "not an image: it begins with b'hello, this '; expected JPEG, PNG",
        ),
        (JPEG[: len(JPEG) // 2], "cut short"),
        (JPEG[:-1], "cut short"),
        (JPEG[:4], "a JPEG that cannot be read|not sampled as usual"),
        (_with_size(JPEG, 30000, 30000), "30,000 x 30,000 pixels; at most 33,554,432"),
        (PNG[: len(PNG) // 2], "the PNG image is damaged"),
        (PNG[:20], "an image that cannot be read"),
        (b"GIF89a" + bytes(40), "not an image: it begins with b'GIF89a"),
    ],
)
@pytest.mark.parametrize("name", ["mnasnet", "slim", "pillow"])
def test_damage_is_said(name, data, message):
    pipeline = named_pipeline(name, 32)
    if name == "pillow" and data[:2] == JPEG[:2]:
        message = "damaged|not an image|an image that cannot be read|pixels"
    with pytest.raises(BadExample, match=message):
        pipeline(data)


def test_a_bomb_of_a_png_is_not_unpacked():
    header = struct.pack(">IIBBBBB", 30000, 30000, 8, 2, 0, 0, 0)
    data = PNG[:16] + header + PNG[29:]
    with pytest.raises(BadExample):
        decoding.decode_as_tensorflow(data)


def test_what_libjpeg_only_warns_of_is_taken():
    """Bytes between segments: a few of ImageNet's files have such."""
    place = JPEG.rindex(b"\xff\xd9")
    data = JPEG[:place] + b"\x00\x00\x00" + JPEG[place:]
    expected = tf.io.decode_jpeg(data, channels=3).numpy()
    assert np.array_equal(decoding.decode_as_tensorflow(data), expected)


@pytest.mark.parametrize("kind", ["4:2:0", "4:4:4", "grey", "cmyk", "progressive 4:2:0"])
def test_a_damaged_jpeg_is_refused_or_gives_the_pixels_of_tensorflow(kind):
    generator = np.random.default_rng(3)
    taken = 0
    for number in range(150):
        data = bytearray(jpeg_of(48, 51, kind, seed=number % 3))
        for _ in range(generator.integers(1, 4)):
            data[generator.integers(2, len(data))] = generator.integers(256)
        data = bytes(data)
        window = Window(5, 3, 30, 21)
        try:
            actual = decoding.decode_as_tensorflow(data), decoding.decode_and_crop(data, window)
        except BadExample:
            continue
        try:
            expected = tf.io.decode_jpeg(data, channels=3).numpy()
        except tf.errors.InvalidArgumentError:
            continue  # TensorFlow refuses this image
        assert np.array_equal(actual[0], expected), number
        if actual[0].shape == (48, 51, 3):
            cropped = tf.io.decode_and_crop_jpeg(data, [5, 3, 30, 21], channels=3)
            assert np.array_equal(actual[1], cropped.numpy()), number
        taken += 1
    assert taken > 20
