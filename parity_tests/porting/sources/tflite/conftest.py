"""TFLite files on disk, from bytes or from one constant."""

from __future__ import annotations

import pytest

from parity_tests.building.tflite_files import TFLiteBuilder
from porting.sources.tflite import TFLiteSource


@pytest.fixture
def opened(tmp_path):
    def write(content):
        path = tmp_path / "model.tflite"
        path.write_bytes(content)
        return TFLiteSource(path)

    return write


@pytest.fixture
def constant(opened):
    """A source whose only constant, ``w``, is made of the builder's arguments."""

    def make(*tensor, **options):
        file = TFLiteBuilder()
        file.tensor("w", *tensor, **options)
        x, y = file.tensor("x", [1, 4]), file.tensor("y", [1, 4])
        file.operator("LOGISTIC", [x], y)
        return opened(file.finish([x], [y]))

    return make
