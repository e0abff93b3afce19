"""Faults planted in a small network: the diagnosis must name the cause, and its place."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from genmobilenet import get_config
from parity_tests.building.tflite_networks import network_file
from parity_tests.faults.cases import Subject
from parity_tests.faults.diagnosis import KINDS, NONE, Outcome, pixels_of
from porting.parity.diagnosis.engine import diagnose_port

PLANTED = (
    "two output channels exchanged", "kernel flipped", "biases missing", "ReLU6 for ReLU",
    "epsilon 1e-5 everywhere", "symmetric padding", "autocast", "BGR pixels", "softmax for logits",
    "stride on the wrong convolution", "residual missing", "gate not clipped",
    "squeeze-excite kernels swapped", "dropout active",
)  # fmt: skip
THOROUGH = (
    "kernel transposed", "weight rounded to float16", "normalised twice", "class offset",
    "two layers swapped", "batch norm in training mode",
)  # fmt: skip


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    path = tmp_path_factory.mktemp("diagnosis") / "small.tflite"
    path.write_bytes(network_file(get_config("tf_mnasnet_small"), seed=4))
    return Subject(path)


def diagnosed(subject, network):
    pixels = pixels_of(subject)[:5]
    return diagnose_port(subject.source, subject.match, network, subject.convention, pixels)


@pytest.mark.parametrize(
    "kind", [*PLANTED, *(pytest.param(kind, marks=pytest.mark.thorough) for kind in THOROUGH)]
)
def test_a_fault_is_named_at_its_place(small, kind):
    network = copy.deepcopy(small.network)
    place = KINDS[kind].plant(small, network, np.random.default_rng(5))
    diagnosis = diagnosed(small, network)
    outcome = Outcome(small.name, (kind,), (place,), diagnosis)
    assert outcome.right, diagnosis.summary()
    assert diagnosis.complete
    for cause in diagnosis.causes:
        for difference in cause.differences:
            assert difference.after <= difference.limit < difference.before or not difference.limit


def test_two_faults_in_one_piece_are_both_named(small):
    network = copy.deepcopy(small.network)
    layer = next(layer for layer in small.layers if layer.path == "blocks.3.1.conv_dw")
    weight = network.get_submodule(layer.path).weight
    weight.data = weight.data.flip(2, 3)
    network.get_submodule(layer.norm).bias.data.zero_()
    diagnosis = diagnosed(small, network)
    assert {cause.cause for cause in diagnosis.causes} == {"kernel flipped", "bias missing"}
    assert diagnosis.complete


def test_what_moves_values_about_is_no_activation(small):
    network = copy.deepcopy(small.network)
    layer = next(layer for layer in small.layers if layer.path == "blocks.3.1.conv_dw")
    network.get_submodule(layer.tap).register_forward_hook(
        lambda _module, _inputs, output: output.transpose(2, 3).contiguous()
    )
    diagnosis = diagnosed(small, network)
    assert not diagnosis.causes
    assert diagnosis.unexplained[0].tap == layer.tap


def test_other_weights_throughout_are_named_throughout(small):
    """Batch norms that the source has folded hold no identity any more."""
    network = copy.deepcopy(small.network)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for values in network.parameters():
            values.add_(torch.randn(values.shape, generator=generator), alpha=1e-3)
    diagnosis = diagnosed(small, network)
    assert diagnosis.complete
    kernels = {key for key, v in network.state_dict().items() if v.ndim > 1}
    assert kernels <= {place for cause in diagnosis.causes for place in cause.places}


@pytest.mark.parametrize("kind", NONE)
def test_without_a_fault_nothing_is_named(small, kind):
    network = copy.deepcopy(small.network)
    NONE[kind](small, network, np.random.default_rng(5))
    diagnosis = diagnosed(small, network)
    assert not diagnosis.causes
    assert not diagnosis.unexplained


def test_momentum_is_said_to_have_no_effect(small):
    network = copy.deepcopy(small.network)
    NONE["momentum"](small, network, np.random.default_rng(5))
    (note,) = diagnosed(small, network).notes
    assert "no effect in evaluation" in note
