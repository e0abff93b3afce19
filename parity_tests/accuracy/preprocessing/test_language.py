"""Pipelines as text."""

from __future__ import annotations

import numpy as np
import pytest

from parity_tests.building.photos import jpeg_of
from porting.accuracy.preprocessing import PIPELINES, named_pipeline, parse_pipeline
from porting.errors import BadExample, BadInput


@pytest.mark.parametrize("name", PIPELINES)
@pytest.mark.parametrize("size", [224, 96])
def test_named_pipelines_round_trip_and_have_their_size(name, size):
    pipeline = named_pipeline(name, size)
    assert parse_pipeline(str(pipeline)) == pipeline
    assert str(pipeline) == PIPELINES[name](size)
    pixels = pipeline(jpeg_of(150, 201))
    assert (pixels.shape, pixels.dtype) == ((size, size, 3), np.float32)
    assert pixels.min() >= -64
    assert 100 < pixels.max() <= 255 + 64  # cubic kernels overshoot


def test_every_word():
    text = (
        "decode tf, crop square 0.9, resize-shorter tf2-antialiased bilinear 70, crop centre 64, "
        "round, swap-channels"
    )
    pipeline = parse_pipeline(text)
    assert str(pipeline) == text
    assert pipeline(jpeg_of(80, 90)).shape == (64, 64, 3)


def test_a_share_keeps_all_its_digits():
    text = "decode tf, crop fraction 0.8754321987, crop square 0.1234567891"
    assert str(parse_pipeline(text)) == text


def test_steps_do_what_they_say():
    data = jpeg_of(80, 90)
    plain = parse_pipeline("decode tf, resize legacy bilinear 64")(data)
    rounded = parse_pipeline("decode tf, resize legacy bilinear 64, round")(data)
    swapped = parse_pipeline("decode tf, resize legacy bilinear 64, swap-channels")(data)
    assert np.array_equal(rounded, np.rint(plain))
    assert not np.array_equal(rounded, plain)
    assert np.array_equal(swapped, plain[..., ::-1])


def test_an_image_too_small_for_its_crop_is_named():
    with pytest.raises(BadExample, match="20 x 30 pixels are too few for crop centre 64"):
        parse_pipeline("decode tf, crop centre 64")(jpeg_of(30, 20))


def test_a_window_larger_than_the_image_is_refused_by_the_decoder_too():
    with pytest.raises(BadExample, match="20 x 30 pixels are too few for crop centre 64"):
        parse_pipeline("decode-and-crop centre 64, resize legacy bilinear 64")(jpeg_of(30, 20))


@pytest.mark.parametrize("first", ["decode tf, crop", "decode-and-crop"])
def test_a_window_one_pixel_too_large_is_refused(first):
    with pytest.raises(BadExample, match="too few for crop centre 31"):
        parse_pipeline(f"{first} centre 31")(jpeg_of(30, 50))
    with pytest.raises(BadExample, match="too few for crop centre 256"):
        parse_pipeline(f"{first} centre 256")(jpeg_of(255, 400))


def test_a_long_image_is_not_blown_up():
    with pytest.raises(BadExample, match="pixels, too many, would come of resize-shorter pillow"):
        named_pipeline("pillow", 224)(jpeg_of(1, 3000))


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("decode tf", None),
        ("decode tf, resize tf2 bilinear 64", 64),
        ("decode tf, resize-shorter pillow bicubic 64", None),
        ("decode tf, resize-shorter pillow bicubic 64, crop centre 60", 60),
        ("decode tf, resize tf2 bilinear 64, crop fraction 0.5", 32),
        ("decode-and-crop centre 50, round", 50),
        ("decode tf, crop square 0.5", None),
    ],
)
def test_the_size_is_known_where_there_is_one(text, size):
    assert parse_pipeline(text).size == size


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("slimm", r"known are mnasnet, .* \(nearest: slim\)"),
        ("crop square 0.9, decode tf", "the first step is crop square 0.9; expected a decode"),
        ("decode tf, decode tf", "decode tf comes after pixels are decoded"),
        ("decode jpeg", "'decode jpeg' is not understood; expected decode and one of tf,"),
        ("decode tf, blur 3", "step 'blur' is not known; known are decode,"),
        ("decode tf, crop square 1.5", "'crop square 1.5' is not understood"),
        ("decode tf, crop round 0.5", "'crop round 0.5' is not understood"),
        ("decode tf, crop padded 224", "expected crop and padded SIZE"),
        ("decode tf, resize legacy cubic 224", "one of bilinear, bicubic, and a number of pixels"),
        ("decode tf, resize legacy bicubic 0", "is not understood"),
        ("decode tf, resize legacy bicubic", "is not understood"),
        ("decode tf, round 3", "expected round alone"),
        ("decode tf, ", "step '' is not known"),
    ],
)
def test_what_is_not_understood_is_said(text, message):
    with pytest.raises(BadInput, match=message):
        named_pipeline(text, 224)
