"""Sources that cannot be ported: the message names the problem, and what would fit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import porting
from genmobilenet import get_config
from parity_tests.building.tflite_networks import NetworkFile
from porting.errors import (
    AmbiguousModel,
    BadInput,
    BadSource,
    MappingError,
    MissingJudge,
    WeightSetError,
)


def test_a_wrong_model_names_the_first_difference_and_the_one_that_fits(written):
    path = written(get_config("tf_mnasnet_100"))
    with pytest.raises(MappingError) as error_info:
        porting.port(path, "semnasnet_100", verify=False)
    lines = str(error_info.value).splitlines()
    assert "after 3 layers in agreement" in lines[0]
    assert lines[1].startswith("  source:  operator 3 CONV_2D 'block_1/expand/out' (1x1, stride 1")
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


def test_another_network_than_the_one_asked_for_names_the_difference(written):
    config = get_config("tf_mnasnet_100")
    other = replace(config, blocks=(*config.blocks[:-1], "ir_r1_k5_s1_e6_c320_noskip"))
    path = written(other)
    assert porting.port(path, verify=False).config.resolve() == other.resolve()
    with pytest.raises(MappingError) as error_info:
        porting.port(path, "tf_mnasnet_100", verify=False)
    message = str(error_info.value)
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
    with pytest.raises(MissingJudge, match="pip install ai-edge-litert tflite"):
        porting.port(path)


def test_classes_takes_two_words(written):
    with pytest.raises(BadInput, match="expected 'keep' or 'drop-background'"):
        porting.port(written(get_config("tf_mnasnet_small")), classes="all")
