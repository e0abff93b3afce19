"""Networks of timm and torchvision, filled by structure."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import porting
from genmobilenet import get_config
from parity_tests.building.tflite_networks import NetworkFile
from parity_tests.building.tflite_variants import Padded, symmetric_amounts


class SymmetricallyPadded(Padded):
    """Pads as PyTorch does."""

    amounts = staticmethod(symmetric_amounts)


# Our name, the source, and the function that builds the other package's network.
TIMM = [
    ("mnasnet_100", SymmetricallyPadded, {}),
    ("mnasnet_100", NetworkFile, {"pad_type": "same"}),
    ("semnasnet_100", SymmetricallyPadded, {}),
    ("mobilenetv2_100", SymmetricallyPadded, {}),
    ("tf_mobilenetv3_small_minimal_100", NetworkFile, {}),
    ("tf_mobilenetv3_small_100", NetworkFile, {}),
]


@pytest.mark.parametrize(("name", "file", "options"), TIMM, ids=lambda v: getattr(v, "__name__", v))
def test_timms_networks(others, tmp_path, name, file, options):
    path = tmp_path / "network.tflite"
    path.write_bytes(file(get_config(name), seed=1).build())
    module = others.timm.create_model(name, **options)
    port = porting.port(path, onto=module)
    assert port.comparison, port.comparison.summary()
    # timm's keys equal ours: matching by graph must give the same weights for them.
    plain = porting.port(path, name if file is SymmetricallyPadded else _tf(name), verify=False)
    for key, values in plain.state_dict.items():
        if not key.endswith("running_var"):  # an identity at the network's own epsilon
            torch.testing.assert_close(port.state_dict[key], values, rtol=0, atol=0)


def _tf(name):
    return name if name.startswith("tf_") else f"tf_{name}"


def test_torchvisions_network(others, tmp_path):
    path = tmp_path / "network.tflite"
    path.write_bytes(SymmetricallyPadded(get_config("mobilenetv2_100"), seed=1).build())
    port = porting.port(path, onto=others.torchvision.models.mobilenet_v2())
    assert port.comparison, port.comparison.summary()
    assert np.isfinite(port.state_dict["features.0.0.weight"].numpy()).all()


def test_padding_is_what_keeps_a_plain_network_from_googles_answers(others, tmp_path):
    path = tmp_path / "network.tflite"
    path.write_bytes(NetworkFile(get_config("mnasnet_100"), seed=1).build())
    port = porting.port(path, onto=others.timm.create_model("mnasnet_100"))
    assert not port.comparison
    assert "convolutions pad otherwise: conv_stem" in port.plan.notes[0]
