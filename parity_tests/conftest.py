"""Fixtures for all tests."""

import os
import random
import sys
from pathlib import Path

import pytest

if os.environ.get("WITHOUT_LITERT"):
    # As on a machine with only tflite-runtime; the builders still use LiteRT's schema.
    sys.modules["ai_edge_litert.interpreter"] = None


@pytest.fixture(autouse=True)
def fixed_seeds(request):
    """The same random weights in every run, whichever tests ran before.

    Keras takes the seed of an initialiser that has none from ``random``.
    """
    random.seed(request.node.nodeid)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)
    if "tensorflow" in sys.modules:
        sys.modules["tensorflow"].random.set_seed(0)


@pytest.fixture(scope="session")
def artifacts():
    """The folder of real files; a test that needs it is skipped where it is not named."""
    folder = os.environ.get("PORTING_ARTIFACTS")
    if folder is None:
        pytest.skip("PORTING_ARTIFACTS does not name a folder of real files")
    return Path(folder)


@pytest.fixture(scope="session")
def small_synthetic(tmp_path_factory):
    """MNASNet-small as a checkpoint and TFLite files, written by TensorFlow."""
    pytest.importorskip("tensorflow")
    from porting.judges.reference.synthesize import synthesize

    return synthesize("tf_mnasnet_small", tmp_path_factory.mktemp("synthetic") / "small")


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    """A source and the weights of its port."""
    import porting
    from genmobilenet import get_config
    from parity_tests.building.tflite_networks import network_file
    from porting.parity.inputs import seeded_pixels
    from porting.release import write_release

    folder = tmp_path_factory.mktemp("small")
    path = folder / "small.tflite"
    path.write_bytes(network_file(get_config("tf_mnasnet_small"), seed=4))
    return path, write_release(
        porting.port(path, pixels=seeded_pixels(2, 64)), folder / "ported"
    ).weights


@pytest.fixture
def faulty(small, tmp_path):
    """The weights of that port with one depthwise kernel scaled."""
    import torch

    state = torch.load(small[1], weights_only=True)
    state["blocks.3.1.conv_dw.weight"] *= 1.001
    path = tmp_path / "faulty.pth"
    torch.save(state, path)
    return path
