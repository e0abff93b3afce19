"""The normalisation stated in a file's metadata."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from parity_tests.building.labels import AXIS_LABELS, metadata
from parity_tests.building.limits import within
from parity_tests.building.normalisations import NORMALISATION, SCORES, normalising_metadata
from parity_tests.building.tflite_files import TFLiteBuilder
from porting.errors import BadInput, BadSource
from porting.sources import open_source


def model(about=None):
    file = TFLiteBuilder()
    x, y = file.tensor("x", [1, 8, 8, 3]), file.tensor("y", [1, 8, 8, 3])
    file.operator("LOGISTIC", [x], y)
    if about is not None:
        file.metadata("TFLITE_METADATA", about)
    return file.finish([x], [y])


def test_one_number_for_all_channels(opened):
    source = opened(model(normalising_metadata([127.5], [127.5])))
    assert source.metadata_normalisation == ((127.5,), (127.5,))


def test_a_number_a_channel(opened):
    source = opened(model(normalising_metadata([1, 2, 3], [4, 5, 6])))
    assert source.metadata_normalisation == ((1, 2, 3), (4, 5, 6))


def test_none(opened):
    assert opened(model()).metadata_normalisation is None
    assert opened(model(metadata({"labels.txt": AXIS_LABELS}))).metadata_normalisation is None


def test_other_process_units_are_passed_over(opened):
    assert opened(model(normalising_metadata([1], [2], (SCORES,)))).metadata_normalisation is None
    both = normalising_metadata([1], [2], (SCORES, NORMALISATION))
    assert opened(model(both)).metadata_normalisation == ((1,), (2,))


def test_the_first_input_counts(opened):
    two = normalising_metadata([1], [2], inputs=2)
    assert opened(model(two)).metadata_normalisation == ((1,), (2,))


@pytest.mark.parametrize(("mean", "std"), [([], [1]), ([1], []), ([1] * 65, [1])])
def test_more_channels_than_an_image_has(opened, mean, std):
    source = opened(model(normalising_metadata(mean, std)))
    expected = rf"normalise by {len(mean)} means and {len(std)} deviations; expected one number"
    with pytest.raises(BadSource, match=expected):
        _ = source.metadata_normalisation


def test_damaged(opened):
    about = bytearray(normalising_metadata([1], [2]))
    struct.pack_into("<I", about, 0, 2**31)
    source = opened(model(bytes(about)))
    with pytest.raises(BadSource, match="root table at byte 0 points to"):
        _ = source.metadata_normalisation


def test_bytes_at_random_end_in_a_message(opened):
    """Any metadata are read, refused, or ignored."""
    random = np.random.default_rng(0)
    sound = normalising_metadata([1, 2, 3], [4, 5, 6], (SCORES, NORMALISATION))
    refused = 0
    for _ in range(300):
        raw = bytearray(sound)
        for place in random.integers(0, len(raw), 3):
            raw[place] = int(random.choice([0, 1, 4, 127, 128, 255]))
        with within(mebibytes=16, seconds=2):
            try:
                stated = opened(model(bytes(raw))).metadata_normalisation
                assert stated is None or all(stated)
            except BadInput:
                refused += 1
    assert refused > 30


def test_what_model_maker_writes(artifacts):
    path = artifacts / "retrained" / "model_maker_efficientnet_lite0_int8.tflite"
    assert open_source(path).metadata_normalisation == ((0,), (255,))
