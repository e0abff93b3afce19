"""A trained network as a TFLite file, images like its training images, and its ports."""

from __future__ import annotations

import pytest
import torch

import porting
from parity_tests.building.folded_networks import CLASSES, MODEL, SIDE, FoldedFile, trained_network
from parity_tests.building.patterns import striped_images


@pytest.fixture(scope="package", autouse=True)
def one_thread():
    """Training is a matter of the last bits, and sums have the same in one thread alone."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="package")
def trained():
    return trained_network()


@pytest.fixture(scope="package")
def source(trained, tmp_path_factory):
    path = tmp_path_factory.mktemp("folded") / "trained.tflite"
    path.write_bytes(FoldedFile(trained).build())
    return path


@pytest.fixture(scope="package")
def striped():
    """Images (48, H, W, 3) of those trained on, and their classes (48,)."""
    return striped_images(48, SIDE, CLASSES, seed=0)


@pytest.fixture(scope="package")
def images(striped):
    return striped[0]


@pytest.fixture(scope="package")
def labels(striped):
    return striped[1]


@pytest.fixture(scope="package")
def ports(source, images):
    """The port with identity batch norms, and the calibrated one, both judged."""
    return {
        "identity": porting.port(source, MODEL, pixels=images[:2]),
        "calibrate": porting.port(source, MODEL, bn="calibrate", images=images),
    }
