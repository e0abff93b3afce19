"""What all tests share."""

import os
import sys
from pathlib import Path

import pytest

if os.environ.get("WITHOUT_LITERT"):
    # As on a machine that has tflite-runtime alone; the builders go on using LiteRT's schema.
    sys.modules["ai_edge_litert.interpreter"] = None


@pytest.fixture(scope="session")
def artifacts():
    """The folder of real files; a test that needs it is skipped where it is not named."""
    folder = os.environ.get("PORTING_ARTIFACTS")
    if folder is None:
        pytest.skip("PORTING_ARTIFACTS does not name a folder of real files")
    return Path(folder)


@pytest.fixture(scope="session")
def small_rehearsal(tmp_path_factory):
    """MNASNet-small as a checkpoint and TFLite files, written by TensorFlow."""
    pytest.importorskip("tensorflow")
    from porting.judges.reference.rehearse import rehearse

    return rehearse("tf_mnasnet_small", tmp_path_factory.mktemp("rehearsal") / "small")
