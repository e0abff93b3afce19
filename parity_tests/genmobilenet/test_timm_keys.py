"""State-dict keys and shapes are timm's, for each network that timm has.

``timm_keys.json`` was recorded from timm itself; the digest is over every key
and shape, so that one that differs changes it.
"""

import hashlib
import json
from pathlib import Path

import pytest
import torch

from genmobilenet import get_config
from genmobilenet.network import GenMobileNet

RECORDED = json.loads(Path(__file__).with_name("timm_keys.json").read_text())["networks"]


def digest(state):
    lines = (f"{key} {tuple(value.shape)}" for key, value in sorted(state.items()))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


@pytest.mark.parametrize("name", RECORDED)
@pytest.mark.parametrize("form", ["", "tf_"], ids=["plain", "tf"])
def test_keys_and_shapes_are_those_of_timm(name, form):
    with torch.device("meta"):
        state = GenMobileNet(get_config(form + name)).state_dict()
    assert len(state) == RECORDED[name]["keys"]
    assert digest(state) == RECORDED[name]["sha256"]
