"""Backbones: the part of a graph that is a mobile network, ported by itself."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import porting
from genmobilenet import create_model
from genmobilenet.config import parse_network
from parity_tests.building.detectors import DetectorFile
from parity_tests.building.tflite_networks import network_file
from porting.errors import BadInput, MappingError
from porting.parity.inputs import seeded_pixels
from porting.release import write_release

NETWORK = parse_network(
    "stem_c8_nr6 | ds_r1_k3_s2_c8 | ir_r2_k3_s2_e2_c16 | ir_r1_k3_s2_e2_c20 | ir_r2_k3_s2_e2_c24 "
    "| features"
)


class Separable(DetectorFile):
    separable = True


class WithoutPostprocessing(DetectorFile):
    postprocess = False


@pytest.mark.parametrize("kind", [DetectorFile, Separable, WithoutPostprocessing])
def test_the_backbone_of_a_detector_ports(tmp_path, kind):
    path = tmp_path / "detector.tflite"
    path.write_bytes(kind(NETWORK, size=64, seed=1).build())
    ported = porting.port(path, backbone=True, pixels=seeded_pixels(1, 64))
    assert ported.comparison, ported.comparison.summary()
    assert ported.model == NETWORK.format()
    (note,) = ported.plan.notes
    assert "the backbone ends at 'block_5/sum'" in note
    assert "'extra/narrow/out'" in note
    files = write_release(ported, tmp_path)
    # The strings in the file say that it gives features: it is compared with the backbone.
    assert porting.compare(path, files.weights, seeded_pixels(1, 64))
    network = create_model(files.weights, features_only=True).eval()
    image = torch.rand(1, 3, 64, 64)
    outputs = network(image)
    assert [tuple(x.shape[1:]) for x in outputs] == [
        (8, 32, 32), (8, 16, 16), (16, 8, 8), (20, 4, 4), (24, 2, 2)
    ]  # fmt: skip
    assert torch.equal(outputs[-1], create_model(files.weights).eval()(image))
    assert [(info["reduction"], info["num_chs"]) for info in network.feature_info] == [
        (2, 8), (4, 8), (8, 16), (16, 20), (32, 24)
    ]  # fmt: skip


def test_a_wrong_weight_of_a_backbone_is_seen(tmp_path):
    path = tmp_path / "detector.tflite"
    path.write_bytes(DetectorFile(NETWORK, size=64, seed=1).build())
    ported = porting.port(path, backbone=True, verify=False)
    ported.state_dict["blocks.3.1.conv_pwl.weight"][3] *= 1.01
    model = create_model(ported.model)
    model.load_state_dict(ported.state_dict)
    comparison = porting.compare(path, model, seeded_pixels(1, 64))
    assert comparison.culprit.tap == "blocks.3.1.bn3"


def test_without_the_option_a_detector_is_refused_and_the_option_named(tmp_path):
    path = tmp_path / "detector.tflite"
    path.write_bytes(DetectorFile(NETWORK, size=64).build())
    with pytest.raises(MappingError, match=r"it is a detector(.|\n)*of 6 blocks .*--backbone"):
        porting.port(path)
    with pytest.raises(BadInput, match="leave out --model and --classes"):
        porting.port(path, "tf_mobilenetv2_100", backbone=True)


def test_the_backbone_of_a_classifier_is_what_is_before_its_pooling(tmp_path):
    path = tmp_path / "classifier.tflite"
    path.write_bytes(network_file(replace(NETWORK, pool="mean", num_classes=5), size=64, seed=1))
    ported = porting.port(path, backbone=True, verify=False)
    assert ported.model == NETWORK.format()


def test_features_are_those_at_each_stride():
    """A stage that strides at once leaves the stem as the finest; heads are left out of files."""
    text = "stem_c8_nre | ds_r1_k3_s2_c8 | ir_r1_k3_s1_e2_c12 ir_r1_k5_s1_e2_c12 | cn_c16 pool fc"
    network = create_model(text, features_only=True).eval()
    image = torch.rand(2, 3, 16, 16)
    with torch.no_grad():
        stem, last = network(image)
        assert torch.equal(stem, network.act1(network.bn1(network.conv_stem(image))))
        assert torch.equal(last, network.features(image)[-1])
    assert [info["module"] for info in network.feature_info] == ["act1", "blocks.1"]
    assert not any(
        key.startswith(("conv_head", "bn2", "classifier")) for key in network.state_dict()
    )
