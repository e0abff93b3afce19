"""Sources that compute with integers: a gap due to quantisation alone does not fail a port."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import jsonschema
import numpy as np
import pytest
import torch

import porting
from genmobilenet import get_config
from parity_tests.accuracy.evaluation.test_evaluate import MEAN, STD, pixels_of
from parity_tests.building.command import porting_process as run
from parity_tests.building.tflite_networks import network_file
from porting.accuracy.evaluation import agreement
from porting.accuracy.evaluation.batch import Work
from porting.accuracy.evaluation.predictors import Inputs
from porting.accuracy.evaluation.preparing import prepare
from porting.errors import UnsupportedSource
from porting.judges import litert
from porting.judges.litert import LiteRTJudge
from porting.release import write_release
from porting.reports.documents import EVALUATION, schema
from porting.reports.evaluation import evaluation_report
from porting.sources.tflite import TFLiteSource


@pytest.fixture(scope="session")
def quantised(tmp_path_factory):
    """A source with 8-bit weights, beside which LiteRT quantises what comes in, and its port."""
    folder = tmp_path_factory.mktemp("quantised")
    path = folder / "int8.tflite"
    path.write_bytes(network_file(get_config("tf_mnasnet_small"), seed=4, weights="uint8_legacy"))
    return path, write_release(porting.port(path), folder / "ported").weights


def spoiled(weights, path, name="blocks.3.1.conv_dw.weight", factor=2.0):
    """The weights with one scaled tensor."""
    state = torch.load(weights, weights_only=True)
    state[name] *= factor
    torch.save(state, path)
    return path


def test_a_port_of_a_quantised_source_is_the_judge_in_float32(quantised, photos, evaluated):
    source, weights = quantised
    actual = evaluated(source, weights)
    data = evaluation_report(actual).to_json()
    jsonschema.validate(data, schema(EVALUATION))
    differing = actual.differing
    assert len(differing) > 2, "the file would show nothing"
    assert data["verdict"]["agrees"] is True
    assert "the port is the judge in float32" in data["verdict"]["sentence"]
    marked = {
        image["number"] for image in data["agreement"]["differing"] if image["by_quantisation"]
    }
    beyond = {number for number in differing if not actual.near_tie(number)}
    assert marked == actual.quantisation.alone == beyond
    assert data["agreement"]["quantisation"] == {
        "alone": len(beyond), "others": 0, "enough": False, "refused": None,
    }  # fmt: skip
    # With the reference kernels: in float32 the file's answers equal the port's.
    pixels = np.stack(pixels_of(photos))[differing]
    logits = {"logits": TFLiteSource(source).graph.outputs[0]}
    in_float = LiteRTJudge(TFLiteSource(source), in_float=True)
    answers = in_float.run((pixels - MEAN) / STD, logits).taps["logits"].argmax(1)
    np.testing.assert_array_equal(answers, actual.answers.best[differing, 1, 0])


def test_a_fault_in_the_port_of_a_quantised_source_is_no_quantisation(
    quantised, evaluated, tmp_path, monkeypatch
):
    source, weights = quantised
    faulty = spoiled(weights, tmp_path / "faulty.pth")
    actual = evaluated(source, faulty)
    data = evaluation_report(actual).to_json()
    asked = actual.quantisation
    assert len(asked.others) > 5
    assert data["verdict"]["agrees"] is False
    words = f"{len(asked.others)} of them neither in a near tie nor by quantisation"
    assert words in data["verdict"]["sentence"]
    marks = {i["number"]: i["by_quantisation"] for i in data["agreement"]["differing"]}
    assert {number for number, mark in marks.items() if mark is False} == asked.others
    monkeypatch.setattr(agreement, "ENOUGH", 2)
    few = evaluation_report(evaluated(source, faulty)).to_json()
    assert few["agreement"]["quantisation"]["others"] == 2
    assert "at least 2 of them neither" in few["verdict"]["sentence"]
    assert few["verdict"]["agrees"] is False


def test_a_source_that_has_no_counterpart_in_float32(quantised, evaluated, monkeypatch):
    def refuse(_content, path):
        raise UnsupportedSource(f"{path}: keeps constants behind the model")

    monkeypatch.setattr(litert, "dequantise", refuse)
    data = evaluation_report(evaluated(*quantised)).to_json()
    assert data["verdict"]["agrees"] is None
    assert (
        "int8.tflite: keeps constants behind the model"
        in (data["agreement"]["quantisation"]["refused"])
    )
    assert data["verdict"]["sentence"].startswith("whether the port is the judge cannot be told")


def test_images_that_are_gone_in_the_end_are_accounted_for_by_nothing(
    quantised, photos, evaluated, tmp_path
):
    source, weights = quantised
    actual = evaluated(source, weights)
    numbers = sorted(actual.quantisation.alone)
    folder = tmp_path / "photos"
    shutil.copytree(photos, folder)
    prepared = prepare(Inputs(source, weights), folder, folder / "labels.csv", None, None)
    work = Work(prepared.dataset, prepared.inputs, prepared.sides, 16)
    (folder / prepared.dataset.example(numbers[0]).name).unlink()
    asked = agreement.quantisation_on(work, actual.answers, numbers, actual.tie)
    assert (sorted(asked.alone), asked.others) == (numbers[1:], frozenset())
    gone = evaluation_report(replace(actual, quantisation=asked)).to_json()["verdict"]
    assert gone["agrees"] is False
    assert "1 of them beyond a tie" in gone["sentence"]


@pytest.mark.slow
def test_googles_uint8_file_and_its_port_on_real_photos(artifacts, tmp_path):
    source = artifacts / "google/mobilenet_v2_1.0_224_quant.tflite"
    weights = write_release(porting.port(source), tmp_path).weights
    faulty = spoiled(weights, tmp_path / "faulty.pth", "blocks.3.1.conv_dw.weight", 1.5)
    actual = {}
    for name, code, checkpoint in (("sound", 0, weights), ("faulty", 1, faulty)):
        result = run(
            "evaluate", artifacts / "images", "--source", source, "--checkpoint", checkpoint,
            "--model", "tf_mobilenetv2_100", "--journal", tmp_path / name, "--json", "-",
        )  # fmt: skip
        assert result.returncode == code, result.stdout + result.stderr
        actual[name] = json.loads(result.stdout)
    assert actual["sound"]["verdict"]["agrees"] is True
    assert actual["faulty"]["agreement"]["quantisation"]["others"] > 0
