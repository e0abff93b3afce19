"""Explicit padding before VALID convolutions: its amounts tell which network pads so."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

import porting
from genmobilenet import get_config
from parity_tests.building.tflite_variants import Padded, same_amounts, symmetric_amounts
from porting.errors import MappingError
from porting.graph.padding import NO_PADS, Padding, Pads, same_pad, same_pads
from porting.parity.inputs import seeded_pixels
from porting.release import write_release


@pytest.fixture
def written(tmp_path):
    def write(model, size=64, amounts=same_amounts, filled_with=None):
        ways = {"amounts": staticmethod(amounts), "filled_with": filled_with}
        kind = type("Kind", (Padded,), ways)
        path = tmp_path / "model.tflite"
        path.write_bytes(kind(replace(get_config(model), num_classes=17), size=size).build())
        return path

    return write


def at_parity(path, size):
    result = porting.port(path, pixels=seeded_pixels(1, size))
    assert result.comparison, result.comparison.summary()
    return result.model


@pytest.mark.parametrize("size", [64, 96])
@pytest.mark.parametrize("model", ["mnasnet_small", "mobilenetv2_035", "mobilenetv3_small_075"])
def test_the_amounts_tell_tensorflows_network_from_pytorchs(written, model, size):
    assert at_parity(written(f"tf_{model}", size), size) == f"tf_{model}"
    assert at_parity(written(model, size, symmetric_amounts), size) == model


def test_a_port_onto_a_plain_network_can_be_compared_again(written, tmp_path):
    path = written("mnasnet_small", 64, symmetric_amounts)
    result = porting.port(path, pixels=seeded_pixels(1, 64))
    weights = write_release(result, tmp_path / "out").weights
    assert porting.compare(path, weights, seeded_pixels(1, 64))


def keras(side, kernel, _stride):
    """``imagenet_utils.correct_pad`` of keras_applications."""
    half = kernel // 2
    return half - (1 - side % 2), half


@pytest.mark.parametrize("size", [64, 65, 75, 96])
def test_what_keras_pads_is_same(written, size):
    assert at_parity(written("tf_mobilenetv2_035", size, keras), size) == "tf_mobilenetv2_035"


def test_zeros_of_a_padv2_are_zeros(written):
    assert at_parity(written("tf_mnasnet_small", filled_with=0.0), 64) == "tf_mnasnet_small"


def test_wrong_amounts_are_named_on_both_sides(written):
    path = written("tf_mnasnet_small", amounts=lambda *_: (1, 0))
    with pytest.raises(MappingError) as error_info:
        porting.port(path, "tf_mnasnet_small", verify=False)
    lines = str(error_info.value).splitlines()
    assert "operator 1 CONV_2D 'stem/out'" in lines[1]
    assert "VALID behind an explicit one of rows (1, 0), columns (1, 0)" in lines[1]
    assert lines[2].startswith("  network: conv_stem (conv 3x3, stride 2")
    assert lines[2].endswith("padding same")


def test_valid_without_padding_is_refused(written):
    path = written("tf_mnasnet_small", amounts=lambda *_: (0, 0))
    with pytest.raises(MappingError, match=r"padding VALID\n.*padding same"):
        porting.port(path, "tf_mnasnet_small", verify=False)


def test_padding_with_something_else_is_refused(written):
    path = written("tf_mnasnet_small", filled_with=-1.0)
    with pytest.raises(
        MappingError,
        match=r"operator 0 PADV2 'stem/padded', of other than height and width, or not with 0",
    ):
        porting.port(path, "tf_mnasnet_small", verify=False)


def test_same_behind_an_explicit_padding_is_refused(tmp_path):
    class Doubled(Padded):
        def padded(self, x, name, kernel, stride):
            return super().padded(x, name, kernel, stride)[0], False

    path = tmp_path / "model.tflite"
    path.write_bytes(Doubled(get_config("tf_mnasnet_small")).build())
    with pytest.raises(MappingError, match=r"padding SAME behind an explicit one of rows \(0, 1\)"):
        porting.port(path, "tf_mnasnet_small", verify=False)


@pytest.mark.parametrize(
    ("side", "kernel", "stride", "ends"),
    [(224, 3, 2, (0, 1)), (225, 3, 2, (1, 1)), (224, 5, 2, (1, 2)), (7, 3, 1, (1, 1))],
)
def test_what_same_adds(side, kernel, stride, ends):
    assert same_pads((side,) * 2, (kernel,) * 2, (stride,) * 2) == Pads(ends, ends)


@pytest.mark.parametrize("size", range(1, 40))
def test_same_gives_as_many_places_as_tensorflow(size):
    for kernel in (1, 3, 5):
        for stride in (1, 2, 3):
            before, after = same_pad(size, kernel, stride)
            places = (size + before + after - kernel) // stride + 1
            assert places == math.ceil(size / stride)
            assert after - before in (0, 1)


@pytest.mark.parametrize("padding", ["same", "symmetric"])
@pytest.mark.parametrize("rule", ["SAME", "VALID"])
@pytest.mark.parametrize("stride", [1, 2])
def test_a_kernel_of_one_place_pads_by_any_rule(padding, rule, stride):
    assert Padding(rule, NO_PADS, (-1, -1), (1, 1), (stride, stride)).fits(padding)
    assert not Padding(rule, Pads((1, 1), (1, 1)), (8, 8), (1, 1), (stride, stride)).fits(padding)


@pytest.mark.parametrize(("side", "fits"), [(5, True), (6, False), (-1, False)])
def test_same_may_be_symmetric_at_one_size(side, fits):
    padding = Padding("SAME", NO_PADS, (side, side), (5, 5), (2, 2))
    assert padding.fits("symmetric") == fits
    assert padding.fits("same")
