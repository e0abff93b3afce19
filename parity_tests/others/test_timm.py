"""Networks of timm under the same names: state dicts load unchanged, and logits are equal."""

from __future__ import annotations

import pytest
import torch

from genmobilenet import create_model
from parity_tests.building.networks import drawn

NAMES = [
    "mixnet_s", "tf_mixnet_s", "tf_mixnet_m", "tf_mixnet_l", "mobilenetv4_conv_small",
    "mobilenetv4_conv_small_050", "mobilenetv4_conv_medium", "mobilenetv4_conv_large",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_state_dicts_load_both_ways_and_logits_are_equal(others, name):
    ours, theirs = drawn(name), others.timm.create_model(name, num_classes=7).eval()
    theirs.load_state_dict(ours.state_dict())
    again = create_model(name, num_classes=7).eval()
    again.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 3, 65, 97)
    with torch.inference_mode():
        expected = theirs(x)
        for network in (ours, again):
            torch.testing.assert_close(network(x), expected, rtol=0, atol=0)
