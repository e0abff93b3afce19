"""Google's own MobileNet V1 0.25 and its port on real photos, as the command evaluates them."""

from __future__ import annotations

import json

import pytest

import porting
from parity_tests.building.command import porting_process as run
from porting.release import write_release

pytestmark = pytest.mark.slow


def test_judge_and_port_agree_on_every_photo(artifacts, tmp_path):
    source = artifacts / "google/mobilenet_v1_0.25_224_float.tflite"
    weights = write_release(porting.port(source), tmp_path).weights
    words = ["evaluate", artifacts / "images", "--source", source, "--checkpoint", weights]
    result = run(*words, "--journal", tmp_path / "journal", "--json", "-")
    assert result.returncode == 0, result.stderr
    data = json.loads(result.stdout)
    assert data["verdict"]["sentence"] == "the port is the judge: 0 of 63 answers differ"
    assert data["agreement"]["top1"]["count"] == data["agreement"]["top5_sets"]["count"] == 63
    # Other pixels give other counts: Pillow's give 41 and 56.
    assert data["sides"]["judge"]["top1"]["count"] == 36
    assert data["sides"]["judge"]["top5"]["count"] == 52


def test_one_tensor_scaled_by_a_twentieth_fails_though_accuracies_are_equal(artifacts, tmp_path):
    source = artifacts / "google/mobilenet_v1_0.25_224_float.tflite"
    ported = porting.port(source, verify=False)
    ported.state_dict["blocks.2.0.conv_dw.weight"] *= 1.05
    weights = write_release(ported, tmp_path).weights
    words = ["evaluate", artifacts / "images", "--source", source, "--checkpoint", weights]
    result = run(*words, "--journal", tmp_path / "journal", "--json", "-")
    assert result.returncode == 1, result.stderr
    data = json.loads(result.stdout)
    change = data["agreement"]["difference"]
    assert (change["gained"], change["lost"], change["p"]) == (4, 4, 1.0)
    assert data["verdict"]["differs"] is False and data["verdict"]["agrees"] is False
    assert data["verdict"]["sentence"] == (
        "the port is not the judge, but these images show no difference in accuracy (McNemar p = "
        "1): 13 of 63 answers differ, all of them beyond a tie"
    )


def test_any_number_of_workers_gives_the_same(artifacts, tmp_path):
    source = artifacts / "google/mobilenet_v2_1.0_224_quant.tflite"
    words = ["evaluate", artifacts / "images", "--source", source, "--json", "-"]
    first = run(*words, "--journal", tmp_path / "a", "--workers", 1)
    second = run(*words, "--journal", tmp_path / "b", "--workers", 3)
    assert json.loads(first.stdout) == json.loads(second.stdout)
    assert json.loads(first.stdout)["sides"]["judge"]["top1"]["count"] >= 55
