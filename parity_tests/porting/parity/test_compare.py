"""Comparing arrays: verdicts, figures, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest

from porting.errors import BadInput
from porting.parity.compare import Comparer, matched

RANDOM = np.random.default_rng(0)


def runs(change=0.0, noise=1e-6, shape=(2, 4, 4, 3)):
    """Judge, port, exact and resummed runs of two taps; ``change`` spoils the judge's second."""
    exact = {tap: RANDOM.standard_normal(shape) for tap in ("a", "b")}
    port = {
        tap: (v + noise * RANDOM.standard_normal(shape)).astype("f4") for tap, v in exact.items()
    }
    judge = {
        tap: (v + noise * RANDOM.standard_normal(shape)).astype("f4") for tap, v in exact.items()
    }
    judge["b"][1, 2, 3, 0] += change
    return judge, port, exact, port


def compared(*batches):
    comparer = Comparer({"a": "A:0", "b": "B:0"})
    for batch in batches:
        comparer.add(*batch)
    return comparer.finish("judge", "1.0")


def test_noise_agrees():
    comparison = compared(runs(), runs())
    assert comparison
    assert comparison.inputs == 4
    assert comparison.first_bad is None
    assert "all 2 taps agree" in comparison.summary()


def test_a_difference_is_found_where_it_is():
    comparison = compared(runs(), runs(change=0.5))
    assert not comparison
    bad = comparison.first_bad
    assert (bad.tap, bad.judge_name) == ("b", "B:0")
    assert bad.max_abs == pytest.approx(0.5, rel=1e-3)
    assert (bad.worst_input, bad.worst_position) == (3, (2, 3, 0))
    assert comparison.worst is bad
    assert "NOT at parity" in comparison.summary()
    assert "b (B:0)" in comparison.summary()


def test_figures_do_not_depend_on_the_batches():
    judge, port, exact, _ = runs(change=0.01, shape=(6, 4, 4, 3))
    whole = compared((judge, port, exact, port))
    parts = [
        tuple({tap: v[i : i + 2] for tap, v in run.items()} for run in (judge, port, exact, port))
        for i in (0, 2, 4)
    ]
    for one, many in zip(whole.taps, compared(*parts).taps, strict=True):
        assert one.mean_abs == pytest.approx(many.mean_abs)
        assert (one.max_abs, one.noise, one.worst_input) == (
            many.max_abs,
            many.noise,
            many.worst_input,
        )


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_on_one_side_fails(value):
    judge, port, exact, resummed = runs()
    judge["a"][0, 0, 0, 0] = value
    comparison = compared((judge, port, exact, resummed))
    assert not comparison
    assert comparison.first_bad.tap == "a"
    assert comparison.first_bad.worst_position == (0, 0, 0)


def test_nothing_to_compare_is_an_error():
    with pytest.raises(BadInput, match="no tap in common"):
        Comparer({})
    with pytest.raises(BadInput, match="no input was run"):
        Comparer({"a": "A"}).finish("judge", "1.0")


def test_axes_of_one_may_differ_and_no_others():
    port = np.zeros((2, 1, 1, 5))
    assert matched(np.zeros((2, 5)), port).shape == port.shape
    with pytest.raises(BadInput, match=r"shape \(2, 4\), the port \(2, 1, 1, 5\)"):
        matched(np.zeros((2, 4)), port)
