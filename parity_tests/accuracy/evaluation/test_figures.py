"""What counts mean: shares, differences, and when an answer is a near tie."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch

from genmobilenet import create_model
from parity_tests.accuracy.evaluation.test_evaluate import MEAN, STD, pixels_of
from porting.accuracy.evaluation.batch import Work
from porting.accuracy.evaluation.figures import difference, share
from porting.accuracy.evaluation.preparing import prepare
from porting.accuracy.evaluation.side import Inputs
from porting.accuracy.evaluation.ties import tie_on
from porting.accuracy.evaluation.verdict import sentence_of
from porting.parity.taps import PortRunner


def test_shares_and_differences():
    found = share(36, 63)  # by R's binom.confint(36, 63, methods = "wilson")
    assert found.percent == pytest.approx(57.142857)
    assert (found.low, found.high) == pytest.approx((44.8616, 68.6031), abs=1e-3)
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


def test_many_near_ties_that_make_a_difference_are_no_noise():
    before, after = np.ones(200, bool), np.ones(200, bool)
    after[:40] = False
    sentence = sentence_of(40, 40, difference(before, after))
    assert "it is less accurate by 20.00 points" in sentence
    assert "within noise" in sentence_of(1, 1, difference(before, before))


def test_a_near_tie_is_what_float32_may_decide(small, photos, evaluated, tmp_path):
    state = torch.load(small[1], weights_only=True)
    state["blocks.3.1.conv_dw.weight"] *= 2
    torch.save(state, tmp_path / "faulty.pth")
    found = evaluated(checkpoint=tmp_path / "faulty.pth")
    pixels = [pixels_of(photos)[number] for number in found.differing[:8]]
    given = torch.from_numpy(((np.stack(pixels) - MEAN) / STD).transpose(0, 3, 1, 2).copy())
    network = create_model("tf_mnasnet_small", checkpoint_path=tmp_path / "faulty.pth").eval()
    noise = PortRunner(network, ["classifier"]).accumulated(given, thorough=True).noise
    assert found.tie == pytest.approx(2 * 8 * noise["classifier"].max())
    number = found.differing[0]
    assert not found.near_tie(number)
    for side in (0, 1):
        found.answers.margin[number, side] = found.tie
        assert found.near_tie(number) is (side == 1)
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
