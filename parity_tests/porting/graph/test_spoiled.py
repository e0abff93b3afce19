"""Damaged graphs matched with a module: refused with a message, or matched correctly."""

from __future__ import annotations

import pytest

from genmobilenet.network import GenMobileNet
from parity_tests.building import mutations
from parity_tests.building.limits import within
from parity_tests.building.networks import TINY
from parity_tests.building.sampling import sampled
from parity_tests.building.tiny_files import FILES
from porting.errors import PortingError
from porting.graph.from_module import graph_of_module
from porting.mapping.match import match_module
from porting.sources import open_source

# Each network in one spelling; every change of the others takes minutes.
EXHAUSTED = sampled(FILES, ["excited", "swished, spelled out", "activated, pooled"])


@pytest.fixture
def tried(tmp_path, tiny_networks, monkeypatch, request):
    """Whether a file's bytes fit the tiny network that they are made from, which is traced once."""
    name = request.node.callspec.params["tiny_model"].split(",")[0]
    module = GenMobileNet(TINY[name].tensorflow_form()).eval()
    traced = graph_of_module(module, (1, module.config.in_chans, 32, 32))
    monkeypatch.setattr("porting.graph.from_module.graph_of_module", lambda *_: traced)
    path = tmp_path / "model.tflite"

    def fits(content):
        path.write_bytes(content)
        return _fits(path, module)

    return fits


def _fits(path, module):
    with within(mebibytes=128, seconds=5):
        try:
            match_module(open_source(path), module, "tiny", "as stored")
        except PortingError as error:
            assert str(path) in str(error)
            return False
        return True


def test_unspoiled_they_fit(tiny_model, tried):
    assert tried(mutations.packed(tiny_model))


@pytest.mark.slow
@pytest.mark.parametrize("tiny_model", EXHAUSTED, indirect=True)
def test_every_change_of_an_operators_inputs(tiny_model, tried):
    for changed in mutations.every_change_of_inputs(tiny_model):
        tried(mutations.packed(changed))


@pytest.mark.parametrize("rounds", [20, pytest.param(50, marks=pytest.mark.thorough)])
def test_random_changes(tiny_model, tried, rounds):
    for content in mutations.random_changes(tiny_model, rounds):
        tried(content)
