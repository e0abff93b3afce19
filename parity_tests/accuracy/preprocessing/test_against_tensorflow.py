"""Each step compared with TensorFlow's operation, on over two hundred images."""

from __future__ import annotations

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from parity_tests.building.photos import encoded, jpeg_of, photo
from porting.accuracy.preprocessing import decoding, named_pipeline, resizing
from porting.accuracy.preprocessing.steps import Fraction, Padded, Square, Window

NEARLY = 1e-3  # of a grey level
SAME_WHEN_ROUNDED = 0.9999


def test_decode_gives_the_same_bytes(jpegs):
    assert len(jpegs) >= 200
    for name, data in jpegs.items():
        expected = tf.io.decode_jpeg(data, channels=3).numpy()
        assert np.array_equal(decoding.decode_as_tensorflow(data), expected), name


def test_the_accurate_dct_gives_the_same_bytes(jpegs):
    for name, data in jpegs.items():
        expected = tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE").numpy()
        assert np.array_equal(decoding.decode_as_tensorflow(data, fast=False), expected), name


def test_decode_and_crop_gives_the_same_bytes_up_to_the_last_column(jpegs):
    generator = np.random.default_rng(5)
    for name, data in jpegs.items():
        height, width = decoding.image_size(data)
        for _ in range(6):
            tall, wide = generator.integers(1, (height + 1, width + 1))
            top, left = generator.integers(0, (height - tall + 1, width - wide + 1))
            if generator.random() < 0.3:
                left = left // 16 * 16  # where a block of the decoder starts
            window = Window(*map(int, (top, left, tall, wide)))
            expected = tf.io.decode_and_crop_jpeg(data, [top, left, tall, wide], channels=3)
            found = decoding.decode_and_crop(data, window)
            assert np.array_equal(found, expected.numpy()), (name, window)


def test_a_slice_is_something_else_where_chroma_is_smoothed_at_the_edge():
    data, window = jpeg_of(64, 64), Window(0, 0, 64, 32)
    whole = decoding.decode_as_tensorflow(data)[:, :32]
    differs = np.nonzero((whole != decoding.decode_and_crop(data, window)).any((0, 2)))[0]
    assert differs.tolist() == [31]


@pytest.mark.parametrize("size", [224, 192, 96])
def test_the_windows_are_those_of_the_evaluation_code(size):
    for height, width in ((500, 375), (375, 500), (333, 334), (64, 65), (1, 9), (1999, 1201)):
        shape = tf.constant([height, width])
        side = tf.cast(
            size / (size + 32) * tf.cast(tf.minimum(shape[0], shape[1]), tf.float32), tf.int32
        )
        top, left = ((length - int(side) + 1) // 2 for length in (height, width))
        if int(side):
            assert Padded(size, 32)(height, width) == Window(top, left, int(side), int(side))
        image = tf.reshape(tf.range(height * width), (height, width, 1))
        kept = tf.image.central_crop(image, 0.875).numpy()
        window = Fraction(0.875)(height, width)
        first = window.top * width + window.left
        assert kept.shape[:2] == (window.height, window.width)
        assert kept.flat[0] == first


def test_the_window_of_the_tflite_tool_rounds_halves_up():
    assert Square(0.875)(500, 375) == Window(86, 24, 328, 328)  # 328.125
    assert Square(0.875)(100, 60) == Window(24, 4, 53, 53)  # 52.5; 23.5 and 3.5


SHAPES = ((333, 333), (1, 1), (1, 700), (57, 1), (224, 224), (100, 160), (901, 1200))


@pytest.mark.parametrize(("height", "width"), SHAPES)
@pytest.mark.parametrize("size", [224, 96])
def test_legacy_resizing_is_equal(height, width, size):
    image = photo(height, width)
    v1 = tf.compat.v1.image
    linear = v1.resize_bilinear(image[None], (size, size))[0].numpy()
    assert np.array_equal(resizing.legacy(image, "bilinear", size, size), linear)
    cubic = v1.resize_bicubic(image[None], (size, size))[0].numpy()
    _check_near(resizing.legacy(image, "bicubic", size, size), cubic)


@pytest.mark.parametrize(("height", "width"), SHAPES)
@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("kernel", resizing.KERNELS)
def test_resizing_of_tensorflow_2_is_near(height, width, antialias, kernel):
    image, resize = photo(height, width), resizing.tf2_antialiased if antialias else resizing.tf2
    for size in (224, 96):
        expected = tf.image.resize(image, (size, size), kernel, antialias=antialias).numpy()
        _check_near(resize(image, kernel, size, size), expected)


def test_a_float_image_is_resized_as_well():
    image = photo(80, 90).astype(np.float32) / 3
    expected = tf.compat.v1.image.resize_bilinear(image[None], (64, 64))[0].numpy()
    assert np.array_equal(resizing.legacy(image, "bilinear", 64, 64), expected)


def test_pillow_is_something_else():
    image = photo(375, 500)
    legacy = resizing.legacy(image, "bicubic", 224, 224)
    assert np.abs(legacy - resizing.pillow(image, "bicubic", 224, 224)).mean() > 3


def _check_near(found, expected):
    assert np.abs(found - expected).max() <= NEARLY
    assert (np.rint(found) == np.rint(expected)).mean() >= SAME_WHEN_ROUNDED


def _mnasnet(data, size, resize):
    """``preprocess_for_eval`` of tensorflow/tpu, with today's names."""
    height, width = tf.unstack(tf.io.extract_jpeg_shape(data))[:2]
    shorter = tf.cast(tf.minimum(height, width), tf.float32)
    side = tf.cast(size / (size + 32) * shorter, tf.int32)
    window = [(height - side + 1) // 2, (width - side + 1) // 2, side, side]
    image = tf.io.decode_and_crop_jpeg(data, tf.stack(window), channels=3)
    return resize(image[None], (size, size))[0].numpy()


def test_whole_pipelines(jpegs):
    v1 = tf.compat.v1.image
    linear, cubic, slim = (
        named_pipeline(name, 224) for name in ("mnasnet-bilinear", "mnasnet", "slim")
    )
    checked = 0
    for name, data in jpegs.items():
        if min(decoding.image_size(data)) < 2:
            continue  # TensorFlow would crop to an empty image
        assert np.array_equal(linear(data), _mnasnet(data, 224, v1.resize_bilinear)), name
        _check_near(cubic(data), _mnasnet(data, 224, v1.resize_bicubic))
        image = tf.image.central_crop(tf.io.decode_jpeg(data, channels=3), 0.875)
        assert np.array_equal(slim(data), v1.resize_bilinear(image[None], (224, 224))[0]), name
        checked += 1
    assert checked > 100


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1", "I;16"])
def test_png(mode):
    colours = Image.fromarray(photo(33, 41))
    if mode == "I;16":
        values = np.arange(33 * 41, dtype=np.uint16).reshape(33, 41) * 48
        data = encoded(Image.fromarray(values), "PNG")
    else:
        data = encoded(colours.convert(mode), "PNG")
    expected = tf.io.decode_png(data, channels=3).numpy()
    assert np.array_equal(decoding.decode_as_tensorflow(data), expected)
    window = Window(3, 4, 20, 21)
    assert np.array_equal(decoding.decode_and_crop(data, window), expected[3:23, 4:25])


@pytest.mark.parametrize("lossless", [True, False])
def test_webp(lossless):
    data = encoded(Image.fromarray(photo(33, 41)), "WEBP", lossless=lossless)
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    assert np.array_equal(decoding.decode_as_tensorflow(data), expected)
    if hasattr(tf.image, "decode_webp"):
        assert np.array_equal(tf.image.decode_webp(data, channels=3).numpy().squeeze(), expected)
