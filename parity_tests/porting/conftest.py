"""Source files to port."""

from __future__ import annotations

import pytest

from genmobilenet import zoo
from parity_tests.building.networks import TINY
from parity_tests.building.tflite_networks import network_file
from parity_tests.building.tiny_files import FILES, tiny_file


@pytest.fixture
def written(tmp_path):
    def write(config, **options):
        path = tmp_path / "model.tflite"
        path.write_bytes(network_file(config, **options))
        return path

    return write


@pytest.fixture
def tiny_networks(monkeypatch):
    """Only these are known."""
    for name in list(zoo.NETWORKS):
        monkeypatch.delitem(zoo.NETWORKS, name)
    for name, config in TINY.items():
        monkeypatch.setitem(zoo.NETWORKS, name, config)
        monkeypatch.setitem(zoo.NETWORKS, f"tf_{name}", config.tensorflow_form())


@pytest.fixture(params=FILES)
def tiny_model(request, tiny_networks):
    return tiny_file(request.param)
