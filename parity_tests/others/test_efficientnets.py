"""EfficientNets and MobileNetEdgeTPU on timm's networks: state dicts as they are, equal logits."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

import porting
from genmobilenet import get_config
from genmobilenet.network import GenMobileNet
from parity_tests.building.tflite_networks import NetworkFile
from porting.errors import MappingError
from porting.parity.inputs import seeded_pixels

SAME = {"pad_type": "same", "bn_eps": 1e-3}


def written(tmp_path, config):
    path = tmp_path / "network.tflite"
    path.write_bytes(NetworkFile(replace(config, num_classes=1000), seed=1).build())
    return path


def strides_last(module):
    """timm's EfficientNet-EdgeTPU with the strides of fused blocks in the projection."""
    for stage in module.blocks[1:3]:
        stage[0].conv_exp.stride, stage[0].conv_pwl.stride = (1, 1), (2, 2)
    return module


def without_first_activation(module):
    """timm's MobileNetEdgeTPU with a first block that projects alone."""
    module.blocks[0][0].bn1.act = nn.Identity()
    return module


# Our network, timm's, what that is created with, and what makes it Google's.
AS_THEY_ARE = [
    ("tf_efficientnet_b0", "tf_efficientnet_b0", {}, None),
    ("tf_efficientnet_lite0", "tf_efficientnet_lite0", {}, None),
    ("tf_efficientnet_es", "tf_efficientnet_es", {}, strides_last),
    ("tf_mobilenet_edgetpu_100", "mobilenet_edgetpu_100", SAME, without_first_activation),
]


@pytest.mark.parametrize(("ours", "theirs", "options", "change"), AS_THEY_ARE)
def test_a_port_of_googles_network_loads_unchanged(others, tmp_path, ours, theirs, options, change):
    port = porting.port(written(tmp_path, get_config(ours)), pixels=seeded_pixels(2, 64))
    assert port.model == ours
    assert port.comparison, port.comparison.summary()
    module = others.timm.create_model(theirs, **options).eval()
    module.load_state_dict(port.state_dict)
    if change is not None:
        module = change(module)
    network = GenMobileNet(port.config).eval()
    network.load_state_dict(port.state_dict)
    images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(module(images), network(images), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("ours", "theirs", "options"),
    [
        ("tf_efficientnet_lite0", "tf_efficientnet_lite0", {}),
        # timm's own arrangement, in files with TensorFlow's padding.
        ("efficientnet_es", "tf_efficientnet_es", {}),
        ("mobilenet_edgetpu_100", "mobilenet_edgetpu_100", SAME),
    ],
)
def test_files_port_onto_timms_networks(others, tmp_path, ours, theirs, options):
    path = written(tmp_path, get_config(ours).tensorflow_form())
    module = others.timm.create_model(theirs, **options)
    port = porting.port(path, onto=module, pixels=seeded_pixels(2, 64))
    assert port.comparison, port.comparison.summary()


@pytest.mark.parametrize(
    ("ours", "theirs", "options", "difference"),
    [
        ("tf_efficientnet_es", "tf_efficientnet_es", {}, "stride"),
        ("tf_mobilenet_edgetpu_100", "mobilenet_edgetpu_100", SAME, "relu"),
    ],
)
def test_what_timm_computes_otherwise_is_named(others, tmp_path, ours, theirs, options, difference):
    path = written(tmp_path, get_config(ours))
    module = others.timm.create_model(theirs, **options)
    with pytest.raises(MappingError, match=difference):
        porting.port(path, onto=module, verify=False)
