"""Ports of real files, against logits computed by TensorFlow."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import porting
from genmobilenet import create_model
from genmobilenet.factory import build
from parity_tests.building.zoo_mutations import blocks
from porting.judges.reference.descriptions import descriptions_of

BOUND = 1e-5
"""Largest distance of the logits from the golden ones, over the largest of these."""


def logits(ported, pixels):
    """The port's logits as a user computes them: load, normalise, run."""
    config = ported.config
    model = create_model(ported.model, num_classes=config.num_classes, in_chans=config.in_chans)
    model.load_state_dict(ported.state_dict)
    x = ported.convention.normalise(pixels).transpose(0, 3, 1, 2)
    with torch.inference_mode():
        return model.eval()(torch.from_numpy(np.ascontiguousarray(x))).numpy()


def pixels_of(golden):
    """Images 0..255; slim's are given as what they become, [-1, 1]."""
    given = golden["input"]
    return given if given.dtype == np.uint8 else given * np.float32(127.5) + np.float32(127.5)


def golden_distance(ported, golden):
    expected = golden[f"logits_{'raw' if ported.plan.weight_set == 'raw' else 'ema'}"]
    actual = logits(ported, pixels_of(golden))
    np.testing.assert_array_equal(actual.argmax(1), expected.argmax(1))
    return np.abs(actual - expected).max() / np.abs(expected).max()


@pytest.mark.parametrize(
    ("file", "model", "taps"),
    [
        ("mnasnet-b1/mnasnet-b1_float.tflite", "tf_mnasnet_100", 64),
        ("mnasnet-a1-050/mnasnet-a1_float.tflite", "tf_semnasnet_050", 100),
        ("mobilenet-v2-035-96/mobilenet-v2_float.tflite", "tf_mobilenetv2_035", 65),
        (
            "mobilenet-v3-small-minimalistic/v3-small-min.tflite",
            "tf_mobilenetv3_small_minimal_100",
            44,
        ),
    ],
)
def test_real_tflite_files(artifacts, file, model, taps):
    golden = np.load((artifacts / file).parent / "golden.npz")
    ported = porting.port(artifacts / file, pixels=pixels_of(golden))
    assert ported.model == model
    assert ported.comparison, ported.comparison.summary()
    assert len(ported.comparison.taps) == taps
    assert golden_distance(ported, golden) <= BOUND


@pytest.mark.parametrize(
    ("name", "model", "weights"),
    [
        ("mnasnet-a1-050", "tf_semnasnet_050", None),
        ("mnasnet-a1-050", "tf_semnasnet_050", "raw"),
        ("mobilenet-v2-035-96", "tf_mobilenetv2_035", None),
    ],
)
def test_real_checkpoints(artifacts, name, model, weights):
    pytest.importorskip("tensorflow")
    folder = artifacts / name
    golden = np.load(folder / "golden.npz")
    ported = porting.port(folder, weights=weights, pixels=pixels_of(golden))
    assert (ported.model, ported.plan.weight_set) == (model, weights or "ema")
    assert ported.comparison, ported.comparison.summary()
    assert golden_distance(ported, golden) <= BOUND


@pytest.mark.parametrize(
    ("file", "model"),
    [
        ("mnasnet-b1/mnasnet-b1_float.tflite", "tf_mnasnet_100"),
        ("mnasnet-a1-050/mnasnet-a1_float.tflite", "tf_semnasnet_050"),
        ("mnasnet-a1-050/model.ckpt-12", "tf_semnasnet_050"),
    ],
)
def test_blocks_of_real_networks_give_what_tensorflow_gave(artifacts, file, model):
    """Outputs of single blocks by TensorFlow 1.15, where the published table numbers them."""
    golden = np.load((artifacts / file).parent / "golden.npz")
    ported = porting.port(artifacts / file, verify=False)
    network = build(ported.config, ported.state_dict)
    # Google counts blocks through the network.
    places = {f"block_{i}": b.path for i, b in enumerate(descriptions_of(model)[0].blocks)}
    places["stem"] = "act1"
    outputs = {}
    for name in (key for key in golden if key.startswith("endpoint_")):
        place = places[name.removeprefix("endpoint_")]
        network.get_submodule(place).register_forward_hook(
            lambda _module, _inputs, output, name=name: outputs.update({name: output})
        )
    x = ported.convention.normalise(pixels_of(golden)[:1]).transpose(0, 3, 1, 2)
    with torch.inference_mode():
        network(torch.from_numpy(np.ascontiguousarray(x)))
    assert len(outputs) >= 4
    for name, output in outputs.items():
        expected = golden[name]
        distance = np.abs(output.permute(0, 2, 3, 1).numpy() - expected).max()
        # As for the judge: single elements of the last blocks differ by 1.3e-5 of the scale.
        assert distance <= 3e-5 * np.abs(expected).max(), name


@pytest.mark.slow
def test_a_zoo_with_two_strides_exchanged_is_refused(artifacts, monkeypatch):
    """Judge and network agree at every tap, and both give other answers than TensorFlow gave."""
    pytest.importorskip("tensorflow")
    folder = artifacts / "mnasnet-a1-050"
    golden = np.load(folder / "golden.npz")
    exchange = blocks(("k3_s2_e6_c80", "k3_s1_e6_c80"), ("k3_s1_e6_c112", "k3_s2_e6_c112"))
    exchange(monkeypatch, "tf_semnasnet_050")
    ported = porting.port(folder, pixels=pixels_of(golden)[:2])
    assert all(tap.agrees for tap in ported.comparison.taps)
    expected = golden["logits_ema"]
    distance = np.abs(logits(ported, pixels_of(golden)) - expected).max()
    assert distance > 0.01 * np.abs(expected).max()
    assert not ported.comparison
    judge, network, graph = ported.comparison.refusals
    for refusal in (judge, network):
        assert "blocks.3.0.conv_dw: described depthwise 3x3, stride 2" in refusal
    assert graph.startswith(
        "mnasnet-a1_float.tflite beside the checkpoint has the network's layers"
    )


def test_the_background_of_a_real_checkpoint_is_dropped(artifacts):
    """The judge restores all classes, as the checkpoint has them, and leaves out the first."""
    pytest.importorskip("tensorflow")
    folder = artifacts / "mobilenet-v2-035-96"
    golden = np.load(folder / "golden.npz")
    pixels = pixels_of(golden)[:1]
    ported = porting.port(folder, classes="drop-background", pixels=pixels)
    assert ported.comparison, ported.comparison.summary()
    assert ported.basis.agrees
    expected = golden["logits_ema"][:1, 1:]
    assert np.abs(logits(ported, pixels) - expected).max() <= BOUND * np.abs(expected).max()


def test_the_real_dynamic_range_file(artifacts):
    file = artifacts / "mnasnet-a1-050/mnasnet-a1_postquant.tflite"
    ported = porting.port(file)
    assert ported.comparison
    assert ported.comparison["classifier"].figures.relative <= BOUND
    assert ported.quantised["classifier"].figures.relative > 100 * BOUND
