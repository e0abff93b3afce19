"""ShuffleNetV2 against torchvision's, output for output."""

from __future__ import annotations

import re

import pytest
import torch

from genmobilenet import create_model

_ENDS = {
    "conv1.0": "conv_stem", "conv1.1": "bn1", "conv5.0": "conv_head", "conv5.1": "bn2",
    "fc": "classifier",
}  # fmt: skip
_BRANCH = {"0": "conv_pw", "1": "bn1", "3": "conv_dw", "4": "bn2", "5": "conv_pwl", "6": "bn3"}
_UNIT = re.compile(r"stage(\d)\.(\d+)\.branch([12])\.(\d)")


def our_key(key):
    """torchvision's key as ours."""
    path, _, name = key.rpartition(".")
    unit = _UNIT.fullmatch(path)
    if unit is None:
        return f"{_ENDS[path]}.{name}"
    stage, number, branch, place = unit.groups()
    inner = f"shortcut.{place}" if branch == "1" else _BRANCH[place]
    return f"blocks.{int(stage) - 2}.{number}.{inner}.{name}"


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("shufflenetv2_050", "shufflenet_v2_x0_5"),
        ("shufflenetv2_100", "shufflenet_v2_x1_0"),
        ("shufflenetv2_150", "shufflenet_v2_x1_5"),
        ("shufflenetv2_200", "shufflenet_v2_x2_0"),
    ],
)
def test_outputs_are_torchvisions(others, name, theirs):
    torch.manual_seed(0)
    their = getattr(others.torchvision.models, theirs)().eval()
    for module in their.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    ours = create_model(name).eval()
    ours.load_state_dict({our_key(key): v for key, v in their.state_dict().items()})
    x = torch.randn(2, 3, 97, 128)
    with torch.inference_mode():
        torch.testing.assert_close(ours(x), their(x), rtol=0, atol=0)
