"""Shapes with too many axes or elements, in both readers."""

from __future__ import annotations

import numpy as np
import pytest

from parity_tests.building import tables
from parity_tests.building.limits import within
from parity_tests.building.tflite_files import TFLiteBuilder
from porting.errors import BadSource, UnsupportedSource
from porting.sources import open_source
from porting.sources.memory import ENDLESS, elements


@pytest.fixture
def tflite(tmp_path):
    def write(shape, values):
        file = TFLiteBuilder()
        w = file.tensor("w", shape, data=values)
        path = tmp_path / "model.tflite"
        path.write_bytes(file.finish([w], [w]))
        return path

    return write


@pytest.fixture
def checkpoint(tmp_path):
    def write(shape, values):
        prefix = tmp_path / "model.ckpt"
        tables.write_checkpoint(
            prefix, {"w": values}, change=lambda _, numbers: numbers | {"shape": shape}
        )
        return prefix

    return write


ONE = np.ones(1, np.float32)


@pytest.mark.parametrize(
    ("kind", "shape", "message"),
    [
        ("tflite", (1,) * 255, "254"),
        ("tflite", (3,) * 100_000, "254"),
        ("tflite", (1 << 30,) * 32, "takes more than any file's bytes"),
        ("tflite", (1 << 30, 0, 1 << 30), "takes 0 bytes"),
        ("checkpoint", (1,) * 33, "a shape of over 32 axes"),
        ("checkpoint", (3,) * 100_000, "a shape of over 32 axes"),
        ("checkpoint", (1 << 30,) * 32, "which does not fit in memory"),
        ("checkpoint", (1 << 30, 0, 1 << 38), "which does not fit in memory"),
    ],
    ids=range(8),
)
def test_shapes_beyond_all_bounds(request, kind, shape, message):
    path = request.getfixturevalue(kind)(shape, ONE)
    with within(mebibytes=64, seconds=5), pytest.raises(BadSource, match=message) as error_info:
        open_source(path)
    assert len(str(error_info.value)) < 1000


def test_more_sides_than_numpy_holds_are_unsupported(tflite):
    with pytest.raises(UnsupportedSource, match="'w' has 100 sides, at most 32 are read"):
        open_source(tflite((1,) * 100, ONE)).read("w")


@pytest.mark.parametrize("kind", ["tflite", "checkpoint"])
def test_as_many_sides_as_every_numpy_holds(request, kind):
    path = request.getfixturevalue(kind)((1,) * 32, ONE)
    assert open_source(path).read("w").shape == (1,) * 32


def test_elements():
    assert elements(()) == 1
    assert elements((3, 4)) == 12
    assert elements((1 << 40, 0, 1 << 40)) == 0
    assert elements((1 << 40,) * 3) == ENDLESS
