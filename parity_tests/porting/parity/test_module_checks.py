"""Modules whose noise cannot serve as a tolerance are refused in one sentence."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

import porting
from genmobilenet.factory import create_model
from parity_tests.faults.fault_kinds import Autocast
from porting.errors import BadInput
from porting.graph.layers import layers_of
from porting.parity.compare import Comparer
from porting.parity.inputs import seeded_pixels
from porting.parity.module_checks import reduced_precision, wrong_activations
from porting.parity.port_runner import PortRunner, has_user_defined_parts, output_tensor

PIXELS = seeded_pixels(1, 64)


class Behind(nn.Module):
    """A module, and a function of what it gives."""

    def __init__(self, inner, function):
        super().__init__()
        self.inner, self.function = inner, function

    def forward(self, x):
        return self.function(self.inner(x))


def seeded_noise(x):
    generator = torch.Generator().manual_seed(3)
    return x + 1e-2 * torch.randn(x.shape, generator=generator, dtype=x.dtype)


@pytest.fixture
def network(small):
    return create_model("tf_mnasnet_small", checkpoint_path=small[1]).eval()


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda x: nn.functional.dropout(x, 0.2, True), "gives something else each time"),
        (lambda x: x + 1e-3 * torch.randn_like(x), "gives something else each time"),
        (seeded_noise, "its own float32 noise is"),
        (lambda x: x.bfloat16().to(x.dtype), "blocks.2.0.act1 are rounded to bfloat16"),
        (lambda x: x.half().to(x.dtype), "blocks.2.0.act1 are rounded to float16"),
    ],
)
def test_a_tap_that_is_not_float32_is_refused(small, network, function, reason):
    network.blocks[2][0].act1 = Behind(network.blocks[2][0].act1, function)
    comparison = porting.compare(small[0], network, PIXELS)
    assert not comparison
    assert reason in comparison.unsound
    assert comparison.summary().endswith(f"it cannot be judged: {comparison.unsound}")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_module_that_switches_autocast_on_is_refused(small, network, dtype):
    comparison = porting.compare(small[0], Autocast(network, dtype), PIXELS)
    assert not comparison
    assert f"switches autocast to {str(dtype)[6:]} on" in comparison.unsound


def test_autocast_around_a_comparison_does_not_reach_into_it(small, network):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert porting.compare(small[0], network, PIXELS)


def test_a_forward_that_fails_in_the_middle_is_named(small, network):
    network.blocks[2][0].act1 = Behind(network.blocks[2][0].act1, torch.Tensor.half)
    with pytest.raises(BadInput, match=r"its forward fails on torch.float32 inputs"):
        porting.compare(small[0], network, PIXELS)


class ClampedInPlace(nn.Module):
    """A ReLU that overwrites its input, and has no ``inplace`` that says so."""

    def forward(self, x):
        return x.clamp_(min=0)


def test_a_user_defined_activation_may_overwrite_its_input(small, network):
    inputs = torch.randn(1, 3, 64, 64)
    taps = ["blocks.2.0.bn1", "blocks.2.0.act1"]
    expected = PortRunner(network, taps).run(inputs)
    assert not has_user_defined_parts(network)
    network.blocks[2][0].act1 = ClampedInPlace()
    assert has_user_defined_parts(network)
    values = PortRunner(network, taps, overwrites=has_user_defined_parts(network)).run(inputs)
    assert all(torch.equal(values[tap], expected[tap]) for tap in taps)
    assert porting.compare(small[0], network, PIXELS)


class Pooled(nn.Module):
    """The mean over height and width, and over the batch as well."""

    def forward(self, x):
        return x.mean((0, 2, 3), keepdim=True).expand(len(x), -1, -1, -1)


def test_a_network_that_takes_the_neighbours_of_an_image_into_account_is_refused(small, network):
    network.global_pool = Pooled()
    comparison = porting.compare(small[0], network, PIXELS)
    assert not comparison
    assert all(tap.agrees for tap in comparison.taps)
    assert "depends on the others in its batch, global_pool first" in comparison.summary()


def test_answers_in_another_order_than_their_images_are_refused(small, network):
    turned = Behind(network, lambda x: x.flip(0) if len(x) > 1 else x)
    comparison = porting.compare(small[0], turned, PIXELS)
    assert not comparison
    assert "depends on the others in its batch, (output) first" in comparison.summary()


def test_a_module_that_takes_single_images_alone_is_judged(small, network):
    assert porting.compare(small[0], Behind(network, lambda x: x.reshape(1, 1000)), PIXELS)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda x: x.flip(-1), "what it returns is not what classifier gives: a hook"),
        (lambda x: x * 0.5, "what it returns is not what classifier gives: a hook"),
        (lambda x: x.bfloat16(), "what it returns is not what classifier gives, but bfloat16"),
        (lambda x: [x, x], "what it returns is not what classifier gives, but no tensor"),
    ],
)
def test_what_a_network_returns_is_judged_and_not_its_classifier_alone(
    small, network, change, reason
):
    network.register_forward_hook(lambda _module, _inputs, output: change(output))
    comparison = porting.compare(small[0], network, PIXELS)
    assert not comparison
    assert all(tap.agrees for tap in comparison.taps)
    assert reason in comparison.summary()


@pytest.mark.parametrize("pack", [lambda x: (x,), lambda x: [x], lambda x: {"scores": x}])
def test_answers_in_a_container_are_those_compared(small, network, pack):
    assert porting.compare(small[0], Behind(network, pack), PIXELS)
    doubled = porting.compare(small[0], Behind(network, lambda x: pack(2 * x)), PIXELS)
    assert not doubled
    assert not doubled["(output)"].agrees


@pytest.mark.parametrize(
    ("returned", "answer"),
    [
        ({"logits": 1, "features": 2}, 1),
        ({"features": 2, "names": ["a"]}, 2),
        ((None, 3), 3),
        ([1, 2], None),
        ({"one": 1, "other": 2}, None),
        ("text", None),
    ],
)
def test_the_answer_in_what_a_module_returns(returned, answer):
    tensors = {number: torch.full((1, 4), float(number)) for number in (1, 2, 3)}

    def filled(value):
        if isinstance(value, dict):
            return {key: filled(part) for key, part in value.items()}
        if isinstance(value, (list, tuple)):
            return type(value)(filled(part) for part in value)
        return tensors.get(value, value)

    assert output_tensor(filled(returned)) is tensors.get(answer)


class Early(nn.Module):
    """Computes the logits, and returns the features that it had before."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        features = self.inner.flatten(self.inner.global_pool(self.inner.forward_features(x)))
        self.inner.classifier(features)
        return features


def test_a_module_that_returns_an_earlier_value_is_not_at_parity(small, network):
    comparison = porting.compare(small[0], Early(network), PIXELS)
    assert not comparison
    # Its output takes the place of the logits, but is not.
    assert any("logits" in name for name in comparison.unmatched)


class Darkened(Behind):
    """Another answer for a dark image, of values that no part of the module gives."""

    def forward(self, x):
        logits = self.inner(x)
        return logits if x.mean() > -1 else self.function(logits)


def test_a_module_that_returns_something_else_on_a_later_image_is_refused(small, network):
    images = np.concatenate([PIXELS, np.zeros_like(PIXELS)])
    comparison = porting.compare(small[0], Darkened(network, lambda x: 2 * x), images)
    assert not comparison
    assert all(tap.agrees for tap in comparison.taps)
    assert "what it returns is not what inner.classifier gives" in comparison.summary()


def test_a_module_that_returns_no_answer_is_refused(small, network):
    with pytest.raises(BadInput, match=r"Behind: returns a list; expected its answers"):
        porting.compare(small[0], Behind(network, lambda x: [x, x]), PIXELS)


def test_a_module_of_torchscript_is_refused(small, network):
    traced = torch.jit.trace(network, torch.zeros(1, 3, 64, 64))
    with pytest.raises(BadInput, match="a module of TorchScript cannot be looked into"):
        porting.compare(small[0], traced, PIXELS)


def test_a_compiled_network_is_judged_as_it_is_before_that(small, network):
    assert porting.compare(small[0], torch.compile(network, backend="eager"), PIXELS)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_in_half_precision_are_not_at_parity(small, network, dtype):
    own = Behind(copy.deepcopy(network), lambda x: x)
    for module in (network, own):
        assert not porting.compare(small[0], module.to(dtype), PIXELS)
        assert next(module.parameters()).dtype == dtype


def test_a_module_in_float64_is_judged_in_float32(small, network):
    module = Behind(network, lambda x: x).double()
    assert porting.compare(small[0], module, PIXELS)
    assert next(module.parameters()).dtype == torch.float64


def test_what_a_parametrisation_computes_is_no_tap(small, network):
    nn.utils.parametrizations.weight_norm(network.classifier)
    comparison = porting.compare(small[0], Behind(network, lambda x: x), PIXELS)
    assert not comparison.unmatched
    assert all(tap.agrees for tap in comparison.taps)


def test_the_callers_modes_do_not_reach_into_a_comparison(small, network):
    own = Behind(network, lambda x: x)
    with torch.inference_mode():
        assert porting.compare(small[0], own, PIXELS)
    torch.set_default_dtype(torch.float64)
    try:
        assert porting.compare(small[0], own, PIXELS)
    finally:
        torch.set_default_dtype(torch.float32)


def test_values_that_are_exact_on_both_sides_are_no_rounding():
    whole = {"tap": torch.arange(200, dtype=torch.float32)}
    assert reduced_precision(whole, whole) is None
    real = {"tap": torch.randn(200)}
    assert reduced_precision(whole, real) == "all values of tap are rounded to bfloat16"
    assert reduced_precision(real, whole) is None


def test_what_an_activation_cuts_off_does_not_count():
    values = torch.tensor([0.0] * 50 + [6.0] * 50 + [1.5] * 10)
    assert reduced_precision({"tap": values}, {"tap": torch.randn(110)}) is None


def test_the_network_is_left_as_it_was(small, network):
    before = copy.deepcopy(network.state_dict())
    assert porting.compare(small[0], network, PIXELS)
    assert all(torch.equal(values, before[key]) for key, values in network.state_dict().items())


@pytest.mark.parametrize(("tap", "unsound"), [("block.se.gate", False), ("block.se", True)])
def test_noise_before_a_gate_is_not_the_gates_own(tap, unsound):
    # A gate saturates at 1 for any scale of its argument; its pieces give its own noise.
    comparer = Comparer({tap: "judge's"}, ("accumulated", "dense"))
    values, quiet = {tap: np.ones((1, 4, 1, 1), "f4")}, {tap: np.full(1, 1e-6)}
    comparer.add("accumulated", values, values, {tap: np.full(1, 1e-3)})
    comparer.add("dense", values, values, quiet)
    assert (comparer.finish("judge", "1.0").unsound is not None) is unsound
    loud = Comparer({tap: "judge's"}, ("accumulated", "dense"))
    loud.add("accumulated", values, values, quiet)
    loud.add("dense", values, values, {tap: np.full(1, 1e-3)})
    assert loud.finish("judge", "1.0").unsound is not None


# Activations that compute another function than the source's are found for any images.


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
