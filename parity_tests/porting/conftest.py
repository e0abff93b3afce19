"""Files that ports begin from: a network's, a source with its port, a port with a fault."""

from __future__ import annotations

import pytest
import torch

import porting
from genmobilenet import get_config
from parity_tests.building.tflite_networks import network_file
from porting.release import write_release


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    """A source and the weights of its port."""
    folder = tmp_path_factory.mktemp("small")
    path = folder / "small.tflite"
    path.write_bytes(network_file(get_config("tf_mnasnet_small"), seed=4))
    return path, write_release(porting.port(path), folder / "ported").weights


@pytest.fixture
def faulty(small, tmp_path):
    state = torch.load(small[1], weights_only=True)
    state["blocks.3.1.conv_dw.weight"] *= 1.001
    path = tmp_path / "faulty.pth"
    torch.save(state, path)
    return path


@pytest.fixture
def written(tmp_path):
    def write(config, **options):
        path = tmp_path / "model.tflite"
        path.write_bytes(network_file(config, **options))
        return path

    return write
