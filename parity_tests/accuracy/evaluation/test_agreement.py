"""Accuracy, differences between predictors, and near ties."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch

from genmobilenet import create_model
from parity_tests.accuracy.evaluation.test_evaluate import MEAN, STD, pixels_of
from porting.accuracy.evaluation.agreement import Counts, agreement_of, sentence_of, tie_on
from porting.accuracy.evaluation.batch import Work
from porting.accuracy.evaluation.predictors import Inputs
from porting.accuracy.evaluation.preparing import prepare
from porting.accuracy.evaluation.significance import difference, share
from porting.parity.port_runner import PortRunner


def test_shares_and_differences():
    actual = share(36, 63)  # by R's binom.confint(36, 63, methods = "wilson")
    assert actual.percent == pytest.approx(57.142857)
    assert (actual.low, actual.high) == pytest.approx((44.8616, 68.6031), abs=1e-3)
    before = np.array([True] * 10 + [False] * 30 + [True] * 60)
    after = np.array([False] * 10 + [True] * 30 + [True] * 60)
    change = difference(before, after)
    assert (change.gained, change.lost, change.points) == (30, 10, 20.0)
    # Exact binomial: twice the sum of choose(40, k) / 2^40 for k up to 10.
    assert change.p == pytest.approx(0.00222, abs=1e-5)
    # Agresti and Min: (20 +- 1.96 sqrt(41 - 400 / 102)) / 102.
    assert (change.low, change.high) == pytest.approx((7.906, 31.310), abs=1e-2)
    assert difference(before, before).p == 1.0


def test_an_interval_ends_where_accuracies_do():
    change = difference(np.array([True]), np.array([False]))
    assert (change.points, change.low) == (-100, -100)
    assert difference(np.array([False]), np.array([True])).high == 100


NONE = difference(np.ones(200, bool), np.ones(200, bool))
LOST = difference(np.ones(200, bool), np.arange(200) >= 40)
"""40 of 200 images lost: more than chance does."""


@pytest.mark.parametrize(
    ("counts", "change", "agrees", "sentence"),
    [
        (Counts(0, 0), NONE, True, "the port is the judge: 0 of 200 answers differ"),
        (
            Counts(2, 2), NONE, True,
            "the port is the judge, within noise: 2 of 200 answers differ, each a near tie",
        ),
        (
            Counts(40, 40), LOST, False,
            "the port is not the judge: it is less accurate by 20.00 points (McNemar p = 1.8e-12), "
            "40 of 200 answers differ, 0 of them beyond a tie",
        ),
        (
            Counts(9, 2), NONE, False,
            "the port is not the judge, but these images show no difference in accuracy (McNemar "
            "p = 1): 9 of 200 answers differ, 7 of them beyond a tie",
        ),
        (
            Counts(9, 0), NONE, False,
            "the port is not the judge, but these images show no difference in accuracy (McNemar "
            "p = 1): 9 of 200 answers differ, all of them beyond a tie",
        ),
        (
            Counts(9, 0, has_tie=False), NONE, False,
            "the port is not the judge, but these images show no difference in accuracy (McNemar "
            "p = 1): 9 of 200 answers differ, and how near a tie each is could not be measured",
        ),
        (
            Counts(9, 0, by_quantisation=9), NONE, True,
            "the port is the judge in float32: 9 of 200 answers differ, each by quantisation alone "
            "(in float32 the source answers as the port does)",
        ),
        (
            Counts(40, 3, by_quantisation=37), LOST, True,
            "the port is the judge in float32: 40 of 200 answers differ, 3 of them near ties, the "
            "others by quantisation alone (in float32 the source answers as the port does); by "
            "that the port is less accurate by 20.00 points (McNemar p = 1.8e-12)",
        ),
        (
            Counts(9, 2, by_quantisation=6, others=1), NONE, False,
            "the port is not the judge, but these images show no difference in accuracy (McNemar "
            "p = 1): 9 of 200 answers differ, 1 of them neither in a near tie nor by quantisation "
            "(the source in float32 does not answer as the port does)",
        ),
        (
            Counts(150, 0, by_quantisation=0, others=100, enough=True), LOST, False,
            "the port is not the judge: it is less accurate by 20.00 points (McNemar p = 1.8e-12), "
            "150 of 200 answers differ, at least 100 of them neither in a near tie nor by "
            "quantisation (the source in float32 does not answer as the port does)",
        ),
        (
            Counts(9, 2, by_quantisation=6), NONE, False,
            "the port is not the judge, but these images show no difference in accuracy (McNemar "
            "p = 1): 9 of 200 answers differ, 1 of them beyond a tie",
        ),
        (
            Counts(9, 2, by_quantisation=0, refusal="x.tflite: why"), NONE, None,
            "whether the port is the judge cannot be told: 9 of 200 answers differ, 7 of them "
            "beyond a tie, and the source, which computes with integers, could not be asked in "
            "float32 (x.tflite: why)",
        ),
        (
            Counts(40, 2, by_quantisation=0, refusal="x.tflite: why"), LOST, False,
            "the port is not the judge: it is less accurate by 20.00 points (McNemar p = 1.8e-12), "
            "40 of 200 answers differ, 38 of them beyond a tie",
        ),
    ],
)  # fmt: skip
def test_what_is_said_of_answers_that_differ(counts, change, agrees, sentence):
    assert agreement_of(counts, change) is agrees
    assert sentence_of(counts, change) == sentence


def test_a_near_tie_is_what_float32_may_decide(small, photos, evaluated, tmp_path):
    state = torch.load(small[1], weights_only=True)
    state["blocks.3.1.conv_dw.weight"] *= 2
    torch.save(state, tmp_path / "faulty.pth")
    actual = evaluated(checkpoint=tmp_path / "faulty.pth")
    pixels = [pixels_of(photos)[number] for number in actual.differing[:8]]
    given = torch.from_numpy(((np.stack(pixels) - MEAN) / STD).transpose(0, 3, 1, 2).copy())
    network = create_model("tf_mnasnet_small", checkpoint_path=tmp_path / "faulty.pth").eval()
    noise = PortRunner(network, ["classifier"]).run_with_noise(given, thorough=True).noise
    assert actual.tie == pytest.approx(2 * 8 * noise["classifier"].max())
    number = actual.differing[0]
    assert not actual.near_tie(number)
    for side in (0, 1):
        actual.answers.margin[number, side] = actual.tie
        assert actual.near_tie(number) is (side == 1)
    assert evaluated(journal=tmp_path / "sound").tie is None


def test_images_that_are_gone_in_the_end_fail_nothing(small, photos, tmp_path):
    data = tmp_path / "photos"
    shutil.copytree(photos, data)
    prepared = prepare(Inputs(*small), data, data / "labels.csv", None, None)
    work = Work(prepared.dataset, prepared.inputs, prepared.sides, 16)
    tie = tie_on(work, [3, 4])
    (data / "003.jpg").write_bytes(bytes((data / "003.jpg").stat().st_size))
    assert tie_on(work, [3, 4]) == tie_on(work, [4]) > 0
    (data / "004.jpg").unlink()
    assert tie > 0 and tie_on(work, [3, 4]) is None
