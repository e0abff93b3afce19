"""A normalisation inside a source's graph: removed, or kept in the network."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import porting
from genmobilenet import create_model, get_config
from parity_tests.building.command import porting as run
from porting.errors import BadInput
from porting.parity.inputs import seeded_pixels

MODEL = "tf_mnasnet_small"
PIXELS = seeded_pixels(2, 64)


@pytest.fixture
def normalising(written):
    return written(get_config(MODEL), seed=2, normalise=True)


def test_it_is_moved_out_unless_asked_for(normalising):
    port = porting.port(normalising, pixels=PIXELS)
    assert port.comparison
    assert "normalise.mean" not in port.state_dict
    assert port.convention.std[0] > 1
    assert port.convention.evidence.startswith("the source's graph normalises its input")


def test_kept_it_travels_with_the_weights(normalising, tmp_path):
    stripped = porting.port(normalising, verify=False)
    result = run("port", normalising, "--normalisation", "keep", "--out", tmp_path, "--json")
    assert result.returncode == 0, result.stderr
    data = json.loads(result.stdout)
    assert data["input"]["mean"] == [0, 0, 0]
    assert "the network normalises by itself" in data["input"]["evidence"]
    network = create_model(MODEL, checkpoint_path=data["weights"]).eval()
    pixels = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3)).astype(np.float32)
    plain = create_model(MODEL).eval()
    plain.load_state_dict(stripped.state_dict)
    with torch.inference_mode():
        kept = network(torch.from_numpy(pixels).permute(0, 3, 1, 2))
        given = torch.from_numpy(stripped.convention.normalise(pixels)).permute(0, 3, 1, 2)
        torch.testing.assert_close(kept, plain(given), rtol=1e-4, atol=1e-4)


def test_what_it_gives_is_compared(normalising):
    port = porting.port(normalising, normalisation="keep", pixels=PIXELS)
    taps = {tap.tap: tap for tap in port.comparison.taps}
    assert taps["normalise"].agrees
    assert taps["normalise"].depth == 0


def test_a_wrong_one_is_seen_where_it_stands(normalising, tmp_path):
    port = porting.port(normalising, normalisation="keep", verify=False)
    port.state_dict["normalise.std"][1] *= 1.01
    path = tmp_path / "wrong.pth"
    torch.save(port.state_dict, path)
    comparison = porting.compare(normalising, path, PIXELS)
    assert not comparison
    assert comparison.culprit.tap == "normalise"


def test_where_there_is_none_it_cannot_be_kept(small):
    with pytest.raises(BadInput, match="no normalisation inside to keep"):
        porting.port(small[0], normalisation="keep")
