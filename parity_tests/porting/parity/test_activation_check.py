"""Activations that compute another function than the source's are found for any images."""

from __future__ import annotations

import pytest
from torch import nn

from genmobilenet import create_model
from porting.graph.layers import layers_of
from porting.parity.module_checks import wrong_activations


@pytest.mark.parametrize("name", ["mnasnet_small", "mobilenetv3_small_100", "mobilenetv2_100"])
def test_networks_as_described_have_none(name):
    model = create_model(name)
    assert wrong_activations(model, layers_of(model.config)) == {}


@pytest.mark.parametrize(
    "other", [nn.ReLU6(inplace=True), nn.LeakyReLU(1e-3), nn.Identity(), nn.Hardswish()]
)
def test_another_function_is_named(other):
    model = create_model("mnasnet_small")
    model.blocks[0][0].act1 = other
    actual = wrong_activations(model, layers_of(model.config))
    assert list(actual) == ["blocks.0.0.act1"]
    assert "another function than the source's relu" in actual["blocks.0.0.act1"]
