"""Files that ports begin from."""

from __future__ import annotations

import pytest

from parity_tests.building.tflite_networks import network_file


@pytest.fixture
def written(tmp_path):
    def write(config, **options):
        path = tmp_path / "model.tflite"
        path.write_bytes(network_file(config, **options))
        return path

    return write
