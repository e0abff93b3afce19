"""Complete ports, from the source to the state dict and the verdict.

Every network is in ``parity_tests.matrix``.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import porting
from genmobilenet import get_config
from parity_tests.building.tflite_networks import NetworkFile
from porting.errors import (
    BadInput,
)
from porting.parity.inputs import seeded_pixels

PIXELS = seeded_pixels(2, 64)


@pytest.mark.parametrize(
    "model", ["tf_mnasnet_small", "tf_semnasnet_035", "tf_mobilenetv1_025", "tf_mobilenetv2_035",
              "tf_mobilenetv3_small_075", "tf_mobilenetv3_small_minimal_100"],
)  # fmt: skip
def test_every_operator_is_a_tap(written, model):
    config = replace(get_config(model), num_classes=17)
    result = porting.port(written(config, seed=len(model)), pixels=seeded_pixels(1, 64))
    assert result.comparison, result.comparison.summary()
    operators = [op for op in result.source.graph.operators if op.kind not in PASSING]
    assert len(result.comparison.taps) == len(operators) - 2 * gates(config)


PASSING = ("RESHAPE", "SQUEEZE")


def gates(config):
    """Hard sigmoids: an addition and a product of theirs count as one with the last."""
    return (config.gate == "hard_sigmoid") * sum(bool(b.squeeze) for b in config.resolve()) / 2


def test_hard_swish_spelled_out(written):
    config = get_config("tf_mobilenetv3_small_075")
    one, three = (
        porting.port(written(config, spelled_out=way), pixels=PIXELS) for way in (False, True)
    )
    assert one.comparison and three.comparison
    assert len(one.comparison.taps) == len(three.comparison.taps)


def test_the_gates_constant_is_taken_into_the_projection(written):
    result = porting.port(written(get_config("tf_mobilenetv3_small_075")), verify=False)
    factors = {fill.target: fill.factor for fill in result.plan.fills if fill.factor != 1}
    assert len(factors) == 9
    assert factors["blocks.0.0.conv_pw.weight"] == pytest.approx(1.00002, abs=1e-7)


def test_weights_are_exactly_the_dequantised_ones(tmp_path):
    file = NetworkFile(get_config("tf_mnasnet_small"), weights="int8")
    path = tmp_path / "model.tflite"
    path.write_bytes(file.build())
    state = porting.port(path, verify=False).state_dict
    # Kernels are OHWI in the file, depthwise 1HWC.
    head = file.real["head/kernel"].transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(state["conv_head.weight"].numpy(), head)
    depthwise = file.real["block_1/dw/kernel"].transpose(3, 0, 1, 2)
    np.testing.assert_array_equal(state["blocks.1.0.conv_dw.weight"].numpy(), depthwise)


def test_folded_batch_norms_are_exact_identities(written):
    config = get_config("tf_mnasnet_small")
    state = porting.port(written(config), verify=False).state_dict
    norm = torch.nn.BatchNorm2d(1280, eps=config.bn_epsilon).eval()
    norm.load_state_dict({k.removeprefix("bn2."): v for k, v in state.items() if k[:4] == "bn2."})
    bias = norm.bias.detach().clone()
    torch.nn.init.zeros_(norm.bias)
    x = torch.randn(4, 1280, 7, 7) * 100
    assert torch.equal(norm(x), x)
    assert bias.abs().max() > 0


def test_normalisation_in_the_graph_becomes_the_convention(written):
    result = porting.port(written(get_config("tf_mnasnet_small"), normalise=True), pixels=PIXELS)
    assert result.comparison, result.comparison.summary()
    assert result.convention.mean == pytest.approx((127.5,) * 3)
    assert result.convention.std == pytest.approx((127.5,) * 3)
    assert "SUB, MUL" in result.convention.evidence


def test_a_softmax_at_the_end_is_a_tap_of_its_own(written):
    result = porting.port(written(get_config("tf_mnasnet_small"), softmax=True), pixels=PIXELS)
    assert result.comparison
    assert [tap.tap for tap in result.comparison.taps[-2:]] == ["classifier", "softmax"]
    assert result.comparison["classifier"].judge_name == "logits"


def test_dropping_the_background_class(written):
    config = replace(get_config("tf_mnasnet_small"), num_classes=1001)
    path = written(config)
    kept = porting.port(path, verify=False)
    dropped = porting.port(path, classes="drop-background", pixels=PIXELS)
    assert dropped.comparison, dropped.comparison.summary()
    assert (kept.convention.classes, dropped.convention.classes) == (1001, 1000)
    for key in ("classifier.weight", "classifier.bias"):
        assert torch.equal(kept.state_dict[key][1:], dropped.state_dict[key])


def test_only_of_1001_classes_can_the_first_be_dropped(written):
    path = written(replace(get_config("tf_mnasnet_small"), num_classes=10))
    with pytest.raises(BadInput, match="has 10 classes; only of 1001"):
        porting.port(path, classes="drop-background", verify=False)


def test_grey_images(written):
    result = porting.port(written(replace(get_config("tf_mnasnet_small"), in_chans=1)))
    assert result.comparison
    assert result.convention.channels == 1


def test_progress_counts_the_inputs(written):
    seen = []
    source = written(get_config("tf_mnasnet_small"))
    porting.port(source, pixels=PIXELS, progress=lambda *step: seen.append(step))
    assert seen == [(1, 2), (2, 2)]
