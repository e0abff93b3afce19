"""TFLite files on disk: of a small network, from bytes, or from one constant."""

from __future__ import annotations

import pytest

from genmobilenet import get_config
from parity_tests.building.tflite_files import TFLiteBuilder
from parity_tests.building.tflite_networks import network_file
from porting.sources.tflite import TFLiteSource


@pytest.fixture(scope="session")
def small():
    return network_file(get_config("tf_mnasnet_small"), seed=5)


@pytest.fixture
def written(tmp_path):
    def write(content):
        path = tmp_path / "model.tflite"
        path.write_bytes(content)
        return path

    return write


@pytest.fixture
def opened(written):
    return lambda content: TFLiteSource(written(content))


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
