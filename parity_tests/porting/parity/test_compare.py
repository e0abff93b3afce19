"""Comparing arrays: verdicts and refusals."""

from __future__ import annotations

import math

import numpy as np
import pytest

from porting.errors import BadInput
from porting.parity.compare import Comparer
from porting.parity.noise import Tolerance, noise_of, small_sample_factor

NAMES = {"a": "A:0", "b": "B:0"}


def runs(change=0.0, noise=1e-6, shape=(2, 3, 4, 4), seed=0):
    """Judge and port at two taps, (N, C, H, W); ``change`` spoils the judge's second."""
    generator = np.random.default_rng(seed)
    exact = {tap: generator.standard_normal(shape) for tap in NAMES}

    def rounded():
        return {t: (v + noise * generator.standard_normal(shape)).astype("f4")
                for t, v in exact.items()}  # fmt: skip

    judge, port = rounded(), rounded()
    judge["b"][1, 0, 2, 3] += change
    return judge, port, dict.fromkeys(NAMES, np.full(shape[0], 2 * noise))


def compared(*batches, **options):
    comparer = Comparer(NAMES, **options)
    for batch in batches:
        comparer.add("accumulated", *batch)
    return comparer.finish("judge", "1.0")


def test_noise_agrees():
    comparison = compared(runs(), runs(seed=1))
    assert comparison
    assert comparison.inputs == 4
    assert comparison.first_bad is None
    assert comparison.culprit is None
    assert "all 2 taps agree" in comparison.summary()


def test_a_difference_is_found_where_it_is():
    comparison = compared(runs(), runs(change=0.5))
    assert not comparison
    bad = comparison.first_bad
    assert (bad.tap, bad.judge_name, bad.depth, bad.shape) == ("b", "B:0", 1, (3, 4, 4))
    figures = bad.figures
    assert figures.max_abs == pytest.approx(0.5, rel=1e-3)
    assert (figures.worst_input, figures.worst_channel, figures.worst_position) == (3, 0, (2, 3))
    assert comparison.worst is bad is comparison.culprit
    assert "NOT at parity" in comparison.summary()
    assert "b (B:0)" in comparison.summary()


def test_it_states_the_tolerance_that_it_would_have_needed():
    needed = compared(runs(change=0.5)).needed
    assert needed.atol == pytest.approx(0.5, rel=1e-3)
    assert needed.factor == pytest.approx(0.5 / 2e-6, rel=1e-2)
    assert compared(runs(change=0.5), tolerance=Tolerance(factor=needed.factor))
    assert compared(runs(change=0.5), tolerance=Tolerance(atol=needed.atol))
    assert not compared(runs(change=0.5), tolerance=Tolerance(atol=0.99 * needed.atol))


def test_a_fixed_tolerance_is_relative_to_each_element():
    judge = {t: np.full((1, 1, 2, 2), 100.0, "f4") for t in NAMES}
    port = {t: values * np.float32(1.01) for t, values in judge.items()}
    noise = dict.fromkeys(NAMES, np.array([1e-6]))
    assert compared((judge, port, noise), tolerance=Tolerance(rtol=0.011))
    bad = compared((judge, port, noise), tolerance=Tolerance(rtol=0.009))
    assert not bad
    assert bad.first_bad.figures.disagreeing == 4


def test_figures_do_not_depend_on_the_batches():
    judge, port, noise = runs(change=0.01, shape=(6, 3, 4, 4))
    whole = compared((judge, port, noise))
    parts = [
        tuple({tap: v[i : i + 2] for tap, v in run.items()} for run in (judge, port, noise))
        for i in (0, 2, 4)
    ]
    for one, many in zip(whole.taps, compared(*parts).taps, strict=True):
        assert one.figures == many.figures


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("tolerance", [Tolerance(), Tolerance(atol=1.0)])
def test_a_value_that_is_not_finite_on_one_side_fails(value, tolerance):
    judge, port, noise = runs()
    judge["a"][0, 1, 0, 2] = value
    comparison = compared((judge, port, noise), tolerance=tolerance)
    assert not comparison
    figures = comparison.first_bad.figures
    assert comparison.first_bad.tap == "a"
    assert (figures.worst_channel, figures.worst_position) == (1, (0, 2))
    assert figures.max_abs == math.inf


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_the_same_on_both_sides_is_reported_and_agrees(value):
    judge, port, noise = runs()
    judge["a"][0, 1, 0, 2] = port["a"][0, 1, 0, 2] = value
    comparison = compared((judge, port, noise))
    assert comparison
    assert comparison["a"].figures.nonfinite == 1
    assert comparison["b"].figures.nonfinite == 0


def test_nothing_to_compare_is_an_error():
    with pytest.raises(BadInput, match="no tap in common"):
        Comparer({})
    with pytest.raises(BadInput, match="no input was run"):
        Comparer({"a": "A"}).finish("judge", "1.0")


def test_other_shapes_are_refused():
    judge, port, noise = runs()
    port["b"] = port["b"][:, :2]
    with pytest.raises(BadInput, match=r"b: the judge gave .*\(2, 3, 4, 4\), the port \(2, 2, 4"):
        compared((judge, port, noise))


def test_a_tap_without_counterpart_counts():
    comparison = compared(runs(), unmatched=("C:0",))
    assert not comparison
    assert comparison.first_bad is None
    assert "1 taps have no counterpart: C:0" in comparison.summary()


def test_a_failed_assertion_shows_a_line():
    text = repr(compared(runs(change=0.5)))
    assert text.startswith("<NOT at parity with judge (1.0)")
    assert "\n" not in text
    assert len(text) < 300


def test_the_first_failure_in_isolation_is_the_culprit():
    good, bad = runs(), runs(change=0.5)
    judge = {"a": good[0]["a"] + np.float32(1), "b": bad[0]["b"]}
    comparer = Comparer(NAMES, ("accumulated", "isolated"))
    comparer.add("accumulated", judge, good[1], good[2])
    comparer.add("isolated", *bad)
    comparison = comparer.finish("judge", "1.0")
    assert comparison.first_bad.tap == "a"
    assert comparison.culprit.tap == "b"
    assert "the error is born at b (B:0)" in comparison.summary()


def one_tap(*inputs, tolerance=None):
    """Compared at one tap: (judge, port, noise) of each input."""
    comparer = Comparer({"a": "A"}, tolerance=tolerance)
    for judge, port, noise in inputs:
        arrays = ({"a": np.array([values], "f4")} for values in (judge, port))
        comparer.add("accumulated", *arrays, {"a": np.array([noise])})
    return comparer.finish("judge", "1.0")


def test_each_input_is_judged_by_its_own_noise():
    noisy, quiet = ([1, 0.5], [1.0001, 0.5], 1e-4), ([1, 0.5], [1, 0.50005], 1e-7)
    for inputs in ((noisy, quiet), (quiet, noisy)):
        comparison = one_tap(*inputs)
        assert not comparison
        figures = comparison["a"].figures
        floor = 2**-23
        assert figures.ratio == pytest.approx(5e-5 / floor, rel=2e-3)
        assert figures.noise == floor
        assert figures.worst_abs == pytest.approx(5e-5, rel=2e-3)
        assert figures.max_abs == pytest.approx(1e-4, rel=2e-3)
        assert (figures.worst_input, figures.worst_channel) == (inputs.index(quiet), 1)
        assert f"off by 5e-05, {figures.ratio:.3g} times" in comparison.summary()
    both = Comparer({"a": "A"})
    arrays = ({"a": np.array([noisy[i], quiet[i]], "f4")} for i in (0, 1))
    both.add("accumulated", *arrays, {"a": np.array([1e-3, 1e-7])})
    assert both.finish("judge", "1.0")["a"].figures.ratio == figures.ratio


def test_needed_tolerances_suffice_and_a_little_less_does_not():
    inputs = [([4, 0.25, 1], [4.01, 0.26, 1], 1e-7), ([2, 0.5, 1], [2, 0.5, 1.002], 1e-7)]
    needed = one_tap(*inputs).needed
    assert needed.atol == pytest.approx(0.01, rel=1e-4)
    assert needed.rtol == pytest.approx(0.04, rel=1e-4)
    for name in ("atol", "rtol"):
        value = getattr(needed, name)
        assert one_tap(*inputs, tolerance=Tolerance(**{name: 1.01 * value}))
        assert not one_tap(*inputs, tolerance=Tolerance(**{name: 0.99 * value}))


def test_no_relative_tolerance_covers_a_zero_that_the_port_lacks():
    inputs = ([0, 1], [1e-9, 1], 1e-7)
    assert one_tap(inputs).needed.rtol == math.inf
    assert not one_tap(inputs, tolerance=Tolerance(rtol=1e9))
    assert one_tap(([0, 1], [0, 1], 1e-7)).needed.rtol == 0


@pytest.mark.parametrize("given", [{"atol": 0.0}, {"rtol": 0.0}, {"atol": 0.0, "rtol": 0.0}])
def test_a_tolerance_of_zero_demands_equality(given):
    near = ([1, 2], [np.nextafter(np.float32(1), np.float32(2)), 2], 1e-4)
    assert one_tap(near)
    assert not one_tap(near, tolerance=Tolerance(**given))
    assert one_tap(([1, 2], [1, 2], 1e-4), tolerance=Tolerance(**given))


def test_the_rest_of_a_tap_with_a_nan_is_judged_by_its_own_noise():
    noise = noise_of(np.array([[1.0, math.nan, 2.0]]), np.array([[1.0001, math.nan, 2.0]], "f4"))
    assert noise == pytest.approx([1e-4 * small_sample_factor(3)], rel=1e-2)
    comparison = one_tap(([1.0002, math.nan, 2], [1.0001, math.nan, 2], float(noise[0])))
    assert comparison
    assert comparison["a"].figures.nonfinite == 1


@pytest.mark.parametrize("odd", [math.nan, math.inf])
def test_what_is_finite_in_one_precision_alone_is_no_noise(odd):
    exact, single = np.array([[1.0, odd], [1.0, 3.0]]), np.array([[1.5, 3.0], [1.25, 3.0]], "f4")
    for pair in ((exact, single), (single, exact)):
        np.testing.assert_allclose(noise_of(*pair), np.array([0.5, 0.25]) * small_sample_factor(2))


def test_the_largest_of_few_draws_is_not_taken_at_its_word():
    assert small_sample_factor(4096) == small_sample_factor(10**9) == 1
    assert 1.2 < small_sample_factor(200) < 1.3
    assert small_sample_factor(1) == small_sample_factor(2) == pytest.approx(12**0.5)


def test_other_pieces_that_are_off_by_themselves_are_counted():
    names = {f"tap{number}": f"T{number}:0" for number in range(5)}
    exact = {tap: np.random.default_rng(0).standard_normal((1, 3, 4, 4)) for tap in names}
    judge = {tap: values.astype("f4") for tap, values in exact.items()}
    port = {tap: values.copy() for tap, values in judge.items()}
    port["tap1"][0, 0, 0, 0] += 1
    noise = dict.fromkeys(names, np.full(1, 1e-6))
    for spoiled, text in ((("tap1",), None), (("tap1", "tap3"), "1 other piece is off as well")):
        for tap in spoiled:
            port[tap][0, 1, 2, 3] += 1
        comparer = Comparer(names, ("accumulated", "isolated"))
        for reading in ("accumulated", "isolated"):
            comparer.add(reading, judge, port, noise)
        summary = comparer.finish("judge", "1.0").summary()
        assert "the error is born at tap1 (T1:0)" in summary
        assert ("off as well" in summary) is (text is not None)
        assert text is None or text in summary
