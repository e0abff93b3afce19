"""A release is loaded by timm itself, with nothing but the folder's name."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

import porting
from genmobilenet import create_model, get_config, list_models
from parity_tests.building.tflite_networks import network_file
from porting.errors import BadInput
from porting.release import write_release
from porting.release.folder import make_release
from porting.release.timm_config import TIMM_NAMES, timm_config

pytest.importorskip("safetensors")


@pytest.mark.parametrize(
    ("name", "channels"),
    [("tf_mnasnet_050", 3), ("tf_mobilenetv1_100", 1), ("tf_mobilenetv3_small_minimal_100", 3)],
)
def test_timm_gives_the_same_logits(others, tmp_path, name, channels):
    path = tmp_path / "network.tflite"
    config = replace(get_config(name), num_classes=5, in_chans=channels)
    path.write_bytes(network_file(config, seed=2))
    ported = write_release(porting.port(path, verify=False), tmp_path / "ported").weights
    folder = make_release(ported, tmp_path / "r", None, allow_unverified=True).folder
    theirs = others.timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    ours = create_model(pretrained=folder).eval()
    for side in (64, 75):
        pixels = torch.randn(2, channels, side, side)
        with torch.inference_mode():
            torch.testing.assert_close(theirs(pixels), ours(pixels), rtol=0, atol=1e-5)
    # Without model_args timm would build a network with other padding and epsilon.
    entry = json.loads((folder / "config.json").read_text())
    entry["model_args"] = {"in_chans": channels}
    (folder / "config.json").write_text(json.dumps(entry))
    plain = others.timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    with torch.inference_mode():
        apart = (plain(pixels) - ours(pixels)).abs().max()
    assert (apart > 1e-2) == (not name.startswith("tf_mobilenetv3"))


def test_a_network_of_other_blocks_than_timms_has_no_config():
    config = replace(get_config("tf_mnasnet_small"), num_classes=5)
    card = SimpleNamespace(model="tf_mnasnet_small")
    with pytest.raises(BadInput, match="timm's mnasnet_small has not the same blocks"):
        timm_config(card, config)


def test_the_table_has_every_network_that_timm_has(others):
    theirs = set(others.timm.list_models())
    assert {name for name in list_models() if name in theirs} == TIMM_NAMES


def test_huggingface_hub_can_be_imported(others):
    from huggingface_hub import HfApi, hf_hub_download

    assert callable(hf_hub_download)
    assert HfApi
