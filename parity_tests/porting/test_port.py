"""Whole ports: source in, state dict and verdict out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import porting
from genmobilenet import create_model, get_config, list_models
from parity_tests.building.tflite_networks import NetworkFile, network_file
from porting.errors import (
    AmbiguousModel,
    BadInput,
    BadSource,
    MappingError,
    MissingJudge,
    WeightSetError,
)
from porting.parity.inputs import seeded_pixels

MEAN = np.array([0.485, 0.456, 0.406], np.float32) * 255
STD = np.array([0.229, 0.224, 0.225], np.float32) * 255
BOUND = 1e-5
"""Largest distance of the logits from the golden ones, over the largest of these."""


@pytest.fixture
def written(tmp_path):
    def write(config, **options):
        path = tmp_path / "model.tflite"
        path.write_bytes(network_file(config, **options))
        return path

    return write


def logits(ported, pixels):
    """The port's logits as a user computes them: load, normalise, run."""
    config = ported.config
    model = create_model(ported.model, num_classes=config.num_classes, in_chans=config.in_chans)
    model.load_state_dict(ported.state_dict)
    x = ported.convention.normalise(pixels).transpose(0, 3, 1, 2)
    with torch.inference_mode():
        return model.eval()(torch.from_numpy(np.ascontiguousarray(x))).numpy()


def golden_distance(ported, golden):
    expected = golden[f"logits_{'raw' if ported.plan.weight_set == 'raw' else 'ema'}"]
    found = logits(ported, golden["input"])
    np.testing.assert_array_equal(found.argmax(1), expected.argmax(1))
    return np.abs(found - expected).max() / np.abs(expected).max()


@pytest.mark.parametrize(
    ("file", "model", "taps"),
    [
        ("mnasnet-b1/mnasnet-b1_float.tflite", "tf_mnasnet_100", 64),
        ("mnasnet-a1-050/mnasnet-a1_float.tflite", "tf_semnasnet_050", 100),
    ],
)
def test_real_tflite_files(artifacts, file, model, taps):
    golden = np.load((artifacts / file).parent / "golden.npz")
    ported = porting.port(artifacts / file, pixels=golden["input"])
    assert ported.model == model
    assert ported.comparison, ported.comparison.summary()
    assert len(ported.comparison.taps) == taps
    assert golden_distance(ported, golden) <= BOUND


@pytest.mark.parametrize("weights", [None, "raw"])
def test_the_real_checkpoint(artifacts, weights):
    pytest.importorskip("tensorflow")
    folder = artifacts / "mnasnet-a1-050"
    golden = np.load(folder / "golden.npz")
    ported = porting.port(folder, weights=weights, pixels=golden["input"])
    assert (ported.model, ported.plan.weight_set) == ("tf_semnasnet_050", weights or "ema")
    assert ported.comparison, ported.comparison.summary()
    assert golden_distance(ported, golden) <= BOUND


def test_the_real_dynamic_range_file(artifacts):
    file = artifacts / "mnasnet-a1-050/mnasnet-a1_postquant.tflite"
    ported = porting.port(file)
    assert ported.comparison
    assert ported.comparison["classifier"].figures.relative <= BOUND
    assert ported.quantised["classifier"].figures.relative > 100 * BOUND


@pytest.mark.parametrize("model", list_models("tf_*"))
def test_every_network_is_recognised_and_at_parity(written, model):
    config = replace(get_config(model), num_classes=17)
    path, pixels = written(config, seed=len(model)), seeded_pixels(1, 64)
    ported = porting.port(path, pixels=pixels)
    assert ported.model == model
    assert ported.comparison, ported.comparison.summary()
    operators = [op for op in ported.source.graph.operators if op.kind not in PASSING]
    assert len(ported.comparison.taps) == len(operators) - 2 * gates(config)


PASSING = ("RESHAPE", "SQUEEZE")


def gates(config):
    """Hard sigmoids: an addition and a product of theirs count as one with the last."""
    return (config.gate == "hard_sigmoid") * sum(bool(b.squeeze) for b in config.resolve()) / 2


def test_hard_swish_spelled_out(written):
    config = get_config("tf_mobilenetv3_small_075")
    one, three = (porting.port(written(config, spelled_out=way)) for way in (False, True))
    assert one.comparison and three.comparison
    assert len(one.comparison.taps) == len(three.comparison.taps)


def test_the_gates_constant_is_taken_into_the_projection(written):
    ported = porting.port(written(get_config("tf_mobilenetv3_small_075")))
    factors = {fill.target: fill.factor for fill in ported.plan.fills if fill.factor != 1}
    assert len(factors) == 9
    assert factors["blocks.0.0.conv_pw.weight"] == pytest.approx(1.00002, abs=1e-7)


@pytest.mark.parametrize("weights", ["float16", "int8", "int8_channels", "uint8_legacy"])
def test_stored_formats(written, weights):
    path = written(get_config("tf_mnasnet_small"), weights=weights)
    ported = porting.port(path)
    assert ported.comparison, ported.comparison.summary()
    assert (ported.quantised is None) == (weights == "float16")


def test_weights_are_exactly_the_dequantised_ones(tmp_path):
    made = NetworkFile(get_config("tf_mnasnet_small"), weights="int8")
    path = tmp_path / "model.tflite"
    path.write_bytes(made.build())
    state = porting.port(path, verify=False).state_dict
    # Kernels are OHWI in the file, depthwise 1HWC.
    head = made.real["head/kernel"].transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(state["conv_head.weight"].numpy(), head)
    depthwise = made.real["block_1/dw/kernel"].transpose(3, 0, 1, 2)
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
    ported = porting.port(written(get_config("tf_mnasnet_small"), normalise=True))
    assert ported.comparison, ported.comparison.summary()
    assert ported.convention.mean == pytest.approx((127.5,) * 3)
    assert ported.convention.std == pytest.approx((127.5,) * 3)
    assert "SUB, MUL" in ported.convention.evidence


def test_a_softmax_at_the_end_is_a_tap_of_its_own(written):
    ported = porting.port(written(get_config("tf_mnasnet_small"), softmax=True))
    assert ported.comparison
    assert [tap.tap for tap in ported.comparison.taps[-2:]] == ["classifier", "softmax"]
    assert ported.comparison["classifier"].judge_name == "logits"


def test_dropping_the_background_class(written):
    config = replace(get_config("tf_mnasnet_small"), num_classes=1001)
    path = written(config)
    kept, dropped = porting.port(path), porting.port(path, classes="drop-background")
    assert dropped.comparison, dropped.comparison.summary()
    assert (kept.convention.classes, dropped.convention.classes) == (1001, 1000)
    for key in ("classifier.weight", "classifier.bias"):
        assert torch.equal(kept.state_dict[key][1:], dropped.state_dict[key])


def test_only_of_1001_classes_can_the_first_be_dropped(written):
    path = written(replace(get_config("tf_mnasnet_small"), num_classes=10))
    with pytest.raises(BadInput, match="has 10 classes; only of 1001"):
        porting.port(path, classes="drop-background", verify=False)


def test_grey_images(written):
    ported = porting.port(written(replace(get_config("tf_mnasnet_small"), in_chans=1)))
    assert ported.comparison
    assert ported.convention.channels == 1


def test_a_wrong_model_names_the_first_difference_and_the_one_that_fits(written):
    path = written(get_config("tf_mnasnet_100"))
    with pytest.raises(MappingError) as caught:
        porting.port(path, "semnasnet_100", verify=False)
    lines = str(caught.value).splitlines()
    assert "after 3 layers in agreement" in lines[0]
    assert lines[1].startswith("  graph:   operator 3 CONV_2D 'block_1/expand/out' (1x1, stride 1")
    assert "16 -> 48" in lines[1]
    assert "blocks.1.0.conv_pw (conv 1x1, stride 1, 16 -> 96" in lines[2]
    assert lines[3] == "  the network that would fit: tf_mnasnet_100"


def test_a_plain_network_computes_otherwise_and_is_refused(written):
    with pytest.raises(MappingError, match="the network that would fit: tf_mnasnet_050"):
        porting.port(written(get_config("tf_mnasnet_050")), "mnasnet_050", verify=False)


def test_the_missing_residual_is_seen_in_the_graph(written):
    """mnasnet-small as timm has it, with a residual that Google's graph lacks."""
    with_residual = replace(
        get_config("tf_mnasnet_small"), blocks=get_config("mnasnet_small").blocks
    )
    with pytest.raises(MappingError, match="ADD"):
        porting.port(written(with_residual), "tf_mnasnet_small", verify=False)


def test_an_unknown_network_names_the_nearest(written):
    config = get_config("tf_mnasnet_100")
    other = replace(config, blocks=(*config.blocks[:-1], "ir_r1_k5_s1_e6_c320_noskip"))
    with pytest.raises(MappingError) as caught:
        porting.port(written(other), verify=False)
    message = str(caught.value)
    assert "no known network fits; the nearest is tf_mnasnet_100" in message
    assert "5x5" in message
    assert "blocks.6.0.conv_dw (depthwise 3x3" in message


def test_two_networks_that_fit_are_listed(written, monkeypatch):
    from genmobilenet import zoo

    twin = get_config("tf_mnasnet_small")
    monkeypatch.setitem(zoo.NETWORKS, "tf_mnasnet_twin", twin)
    path = written(twin)
    with pytest.raises(AmbiguousModel, match="tf_mnasnet_small, tf_mnasnet_twin; choose with"):
        porting.port(path, verify=False)
    assert porting.port(path, "tf_mnasnet_twin", verify=False).model == "tf_mnasnet_twin"


@pytest.mark.parametrize("weights", ["ema", "raw"])
def test_an_exported_file_has_no_weight_sets_to_choose_from(written, weights):
    with pytest.raises(WeightSetError, match=f"has no {weights} weights to choose"):
        porting.port(written(get_config("tf_mnasnet_small")), weights=weights, verify=False)


def test_weights_that_are_not_finite_are_named(tmp_path):
    made = NetworkFile(get_config("tf_mnasnet_small"))
    made.random = np.random.default_rng(0)
    content = bytearray(made.build())
    kernel = made.real["head/kernel"].tobytes()
    at = content.find(kernel)
    content[at : at + 4] = np.float32(np.nan).tobytes()
    path = tmp_path / "nan.tflite"
    path.write_bytes(content)
    with pytest.raises(BadSource, match=r"head/kernel holds nan at conv_head\.weight"):
        porting.port(path, verify=False)


def test_a_missing_judge_names_the_extra(written, monkeypatch):
    import sys

    for package in ("ai_edge_litert", "tflite_runtime"):
        monkeypatch.setitem(sys.modules, f"{package}.interpreter", None)
    path = written(get_config("tf_mnasnet_small"))
    with pytest.raises(MissingJudge, match=r"pip install 'genmobilenet\[litert\]'"):
        porting.port(path)


def test_classes_takes_two_words(written):
    with pytest.raises(BadInput, match="expected 'keep' or 'drop-background'"):
        porting.port(written(get_config("tf_mnasnet_small")), classes="all")


def test_progress_counts_the_inputs(written):
    seen = []
    porting.port(written(get_config("tf_mnasnet_small")), progress=lambda *step: seen.append(step))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
