"""Mixed convolutions and universal inverted residuals of graphs as TensorFlow writes them."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import torch

import porting
from genmobilenet.config import parse_network
from genmobilenet.network import GenMobileNet
from genmobilenet.zoo import get_config
from parity_tests.building.frozen_graphs import frozen
from parity_tests.building.tensorflow_networks import (
    SLICES,
    TensorFlowNetwork,
    saved_model,
    tflite_bytes,
)
from porting.errors import MappingError
from porting.graph.from_source import graph_of_source
from porting.mapping.recognise import find_match
from porting.parity.inputs import seeded_pixels
from porting.sources import open_source

MIXED = replace(
    parse_network(
        "stem_c8_nre squeeze_activation=silu | ds_r1_k3.5_p1.1_s1_c8 "
        "| ir_r1_k3.5.7_a1.1_s2_e3_c12_se0.5_nsw ir_r1_k3_a1.1_p1.1_s1_e2_c12 "
        "| ir_r1_k3.3.9.5_s2_e3_c20_se0.25_nsw | cn_c24 pool fc"
    ),
    num_classes=5, input_size=32,
)  # fmt: skip
UNIVERSAL = replace(
    parse_network(
        "stem_c8_nre | cn_r1_k3_s2_c16 cn_r1_k1_s1_c16 "
        "| uir_r1_a5_k3_s2_e2_c24 uir_r1_k3_s1_e2_c24 uir_r1_a3_k0_s1_e4_c24 "
        "uir_r1_k0_s1_e2_c24 uir_r1_k3_p3_s1_e2_c24 "
        "| cn_r1_k1_s1_c32 | pool cn_c40_norm fc"
    ),
    num_classes=5, input_size=32,
)  # fmt: skip


def written(path, form, network, side=32):
    """A file of a network in one of its forms."""
    if form == "frozen graph":
        return frozen(path / "network.pb", lambda _, x: network(x), (None, side, side, 3))
    if form == "SavedModel":
        return saved_model(path / "saved", network, side)
    file = path / "network.tflite"
    file.write_bytes(tflite_bytes(network, side))
    return file


def blocks_of(config):
    return [replace(block, path="") for block in config.resolve()]


@pytest.mark.parametrize("form", ["TFLite", "frozen graph", "SavedModel"])
@pytest.mark.parametrize("config", [MIXED, UNIVERSAL], ids=["mixed", "universal"])
def test_every_form_ports_and_is_judged(tmp_path, form, config):
    path = written(tmp_path, form, TensorFlowNetwork(config, seed=4))
    ported = porting.port(path, pixels=seeded_pixels(2, 32))
    assert ported.comparison, ported.comparison.summary()
    assert blocks_of(ported.config) == blocks_of(config)
    # Two values of one share are exchanged: the comparison rests on each part.
    key = next(key for key in ported.state_dict if key.endswith("0.conv_dw.1.weight")
               or key.endswith("dw_start.conv.weight"))  # fmt: skip
    ported.state_dict[key][:2] = ported.state_dict[key][:2].flip(0)
    from genmobilenet import create_model

    model = create_model(ported.model, num_classes=5)
    model.load_state_dict(ported.state_dict)
    comparison = porting.compare(path, model, seeded_pixels(1, 32))
    assert not comparison
    assert comparison.culprit.tap.startswith(key.removesuffix(".weight").removesuffix(".conv"))


@pytest.mark.parametrize("norm_in_pieces", [False, True], ids=["fused", "in pieces"])
@pytest.mark.parametrize("slices", SLICES)
def test_spellings_of_slices_and_norms_are_one(tmp_path, slices, norm_in_pieces):
    network = TensorFlowNetwork(MIXED, slices=slices, norm_in_pieces=norm_in_pieces)
    plain = porting.port(written(tmp_path, "TFLite", TensorFlowNetwork(MIXED)), verify=False)
    for form in ("frozen graph", *["TFLite"] * (not norm_in_pieces)):
        ported = porting.port(written(tmp_path, form, network), verify=False)
        assert blocks_of(ported.config) == blocks_of(MIXED)
        for key in plain.state_dict:
            # Of other layers TFLite has folded the batch norm into the weights.
            if re.search(r"conv_\w+\.\d", key):
                assert torch.equal(ported.state_dict[key], plain.state_dict[key]), key


def test_an_integer_network_ports(tmp_path):
    path = tmp_path / "network.tflite"
    path.write_bytes(tflite_bytes(TensorFlowNetwork(MIXED), 32, integers=True))
    ported = porting.port(path, pixels=seeded_pixels(2, 32))
    assert ported.comparison, ported.comparison.summary()
    assert blocks_of(ported.config) == blocks_of(MIXED)


@pytest.mark.parametrize("name", ["tf_mixnet_s", "tf_mobilenetv4_conv_small"])
def test_networks_of_the_zoo_are_recognised(tmp_path, name):
    config = replace(get_config(name), num_classes=5, input_size=32)
    path = written(tmp_path, "TFLite", TensorFlowNetwork(config))
    assert find_match(open_source(path), None).model == name


@pytest.mark.parametrize("config", [MIXED, UNIVERSAL], ids=["mixed", "universal"])
def test_a_module_is_filled_by_structure(tmp_path, config):
    path = written(tmp_path, "TFLite", TensorFlowNetwork(config))
    plain = porting.port(path, verify=False).state_dict
    ported = porting.port(path, onto=GenMobileNet(config), verify=False).state_dict
    keys = [key for key in ported if key in plain and "running" not in key]
    assert all(torch.equal(ported[key], plain[key]) for key in keys)
    assert len(keys) > 0.6 * len(ported)


class HalfSliced(TensorFlowNetwork):
    """A network whose mixed convolutions leave some channels out."""

    def sliced(self, x, count):
        first, *rest = super().sliced(x, count)
        return [first[..., :-1], *rest]


def test_slices_that_leave_channels_out_are_no_mixed_convolution(tmp_path):
    path = written(tmp_path, "TFLite", HalfSliced(MIXED))
    with pytest.raises(MappingError, match=r"as far as it can be read:\n  stem_c8"):
        find_match(open_source(path), None)


def test_slices_of_slices_are_slices(tmp_path):
    def build(tf, x):
        inner = tf.split(x, (1, 3), -1)[1][..., 1:]
        tf.nn.conv2d(inner, tf.ones((1, 1, 2, 4)), 1, "SAME")

    source = open_source(frozen(tmp_path / "g.pb", build, (1, 8, 8, 4)))
    (channels,) = graph_of_source(source, 4).graph.output.inputs
    assert (channels.kind, channels.facts) == ("channels", (2, 4, 4))
