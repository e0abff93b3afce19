"""A normalisation inside a source's graph: removed, or kept in the network."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from ai_edge_litert import schema_py_generated as schema

import porting
from genmobilenet import create_model, get_config
from genmobilenet.config import parse_network
from parity_tests.building.command import porting as run
from parity_tests.building.tflite_networks import NetworkFile
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


class TurnedAround(NetworkFile):
    """A network that takes 1 - x / 127.5 of pixels."""

    def normalised(self, image, shape):
        numbers = [
            self.file.tensor(f"number_{value}", [1], data=np.array([value], np.float32))
            for value in (127.5, 1.0)
        ]
        quotient = self.file.tensor("quotient", shape)
        quotient = self.file.operator("DIV", [image, numbers[0]], quotient, schema.DivOptionsT())
        result = self.file.tensor("turned", shape)
        return self.file.operator("SUB", [numbers[1], quotient], result, schema.SubOptionsT())


def test_a_subtraction_from_a_constant_normalises_too(tmp_path):
    path = tmp_path / "turned.tflite"
    config = replace(parse_network("stem_c8_nr6 | ds_r1_k3_s2_c8 | cn_c16 pool fc"), num_classes=3)
    path.write_bytes(TurnedAround(config, size=16, normalise=True).build())
    ported = porting.port(path, pixels=seeded_pixels(1, 16))
    assert ported.comparison, ported.comparison.summary()
    assert ported.pixels.agrees
    assert ported.convention.mean == (127.5,) * 3
    assert ported.convention.std == (-127.5,) * 3
    assert "(DIV, SUB from a constant)" in ported.convention.evidence
