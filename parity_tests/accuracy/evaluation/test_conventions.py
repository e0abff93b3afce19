"""Inputs of judge and port if the source normalises by itself, or the user says how."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import porting
from genmobilenet import get_config
from parity_tests.building.tflite_variants import normalising
from porting.accuracy.evaluation.predictors import Inputs
from porting.accuracy.evaluation.preparing import prepare
from porting.errors import BadInput
from porting.release import write_release

MODEL = "tf_mnasnet_small"
STEPS = [("MUL", 2.0), ("SUB", 1.0)]
KINDS = {
    "float of 0 to 1": (normalising(STEPS), 255),
    "bytes of 0 to 1": (normalising(STEPS, quantised=("uint8", 1 / 255, 0)), 255),
    "float of 0 to 255": (normalising([("MUL", 1 / 127.5), ("SUB", 1.0)]), 1),
}
"""Name -> a kind of file, and over what pixels are its input."""


@pytest.fixture
def ported(tmp_path):
    def write(kind, **options):
        path = tmp_path / "model.tflite"
        path.write_bytes(kind(get_config(MODEL), seed=4).build())
        return path, write_release(porting.port(path, **options), tmp_path / "ported").weights

    return write


@pytest.mark.parametrize("normalisation", ["strip", "keep"])
@pytest.mark.parametrize(("kind", "std"), KINDS.values(), ids=KINDS)
def test_both_answer_alike(ported, evaluated, kind, std, normalisation):
    source, weights = ported(kind, normalisation=normalisation)
    evaluation = evaluated(source, weights)
    judge, port = evaluation.sides
    np.testing.assert_allclose((judge.mean, judge.std), ((0,) * 3, (std,) * 3), rtol=1e-6)
    np.testing.assert_allclose(port.std, 1 if normalisation == "keep" else 127.5, rtol=1e-6)
    assert not evaluation.differing
    margins = evaluation.answers.margin
    assert np.abs(margins[:, 0] - margins[:, 1]).max() < 1e-3


def test_what_the_user_states(ported, photos):
    source, weights = ported(normalising())
    labels = photos / "labels.csv"
    stated = Inputs(source, weights, normalisation=((0.0,), (255.0,)))
    for inputs in (stated, replace(stated, source=None)):
        prepared = prepare(inputs, photos, labels, None, None)
        assert {side.std for side in prepared.sides} == {(255.0,) * 3}
        assert prepared.convention.certainty == "stated"


def test_a_card_that_is_proved_is_not_restated(ported, photos):
    _, weights = ported(KINDS["bytes of 0 to 1"][0])
    inputs = Inputs(None, weights, normalisation=((0.0,), (255.0,)))
    with pytest.raises(BadInput, match="contradict its card, by which RGB"):
        prepare(inputs, photos, photos / "labels.csv", None, None)
