"""Each figure against its definition, computed in another way."""

from __future__ import annotations

import numpy as np
import pytest

from porting.parity.figures import HEAT, RunningFigures, heat_map, ulps
from porting.parity.noise import Tolerance


def figures_of(judge, port, noise=1e-3, tolerance=None):
    running = RunningFigures(tolerance or Tolerance())
    running.add(judge, port, np.full(len(judge), noise))
    return running.result()


@pytest.fixture
def pair():
    generator = np.random.default_rng(5)
    judge = generator.standard_normal((3, 7, 40, 50)).astype(np.float32)
    return judge, judge + 1e-3 * generator.standard_normal(judge.shape).astype(np.float32)


def test_against_the_definitions(pair):
    judge, port = (values.astype(np.float64) for values in pair)
    actual, difference = figures_of(*pair), np.abs(pair[0] - pair[1]).astype(np.float64)
    assert actual.elements == judge.size
    assert actual.max_abs == difference.max()
    assert actual.mean_abs == pytest.approx(difference.mean(), rel=1e-5)
    assert actual.scale == pytest.approx(np.abs(judge).max())
    assert actual.relative == pytest.approx(difference.max() / np.abs(judge).max())
    snr = 10 * np.log10((judge**2).sum() / ((judge - port) ** 2).sum())
    assert actual.snr_db == pytest.approx(snr, abs=1e-3)
    cosine = (judge * port).sum() / np.sqrt((judge**2).sum() * (port**2).sum())
    assert actual.cosine == pytest.approx(cosine, abs=1e-6)
    assert actual.beyond == pytest.approx((difference > 1e-3).mean(), rel=1e-9)
    assert actual.ratio == pytest.approx(difference.max() / 1e-3)
    place = np.unravel_index(difference.argmax(), difference.shape)
    assert (actual.worst_input, actual.worst_channel, *actual.worst_position) == place
    np.testing.assert_allclose(actual.details.channels, difference.max(axis=(0, 2, 3)), rtol=1e-6)
    plane = difference[place[0], place[1]]
    assert np.max(actual.details.heat) == pytest.approx(plane.max())
    assert np.shape(actual.details.heat) == (HEAT, HEAT)
    exact = ulps(*pair).astype(np.float64)
    assert actual.ulp_max == exact.max()
    assert actual.ulp_median == pytest.approx(np.median(exact), rel=0.1)


def test_quantiles_over_few_elements_are_exact():
    judge = np.linspace(1, 2, 500, dtype=np.float32).reshape(1, 5, 10, 10)
    port = judge.copy()
    port.ravel()[:10] = np.nextafter(port.ravel()[:10], np.float32(9))
    actual = figures_of(judge, port)
    assert (actual.ulp_median, actual.ulp_p99, actual.ulp_max) == (0, 1, 1)
    counts = actual.details.histogram
    assert (counts[0], sum(counts)) == (490, 500)
    # 1.19e-7 lies between 10 ** (-12 + 20 / 4) and the next edge.
    assert counts[21] == 10


@pytest.mark.parametrize(
    ("left", "right", "apart"),
    [
        (1.0, 1.0, 0),
        (0.0, -0.0, 0),
        (1.0, np.nextafter(np.float32(1), np.float32(2)), 1),
        (np.float32(1e-45), np.float32(-1e-45), 2),
        (1.0, 2.0, 1 << 23),
        (-1.0, -2.0, 1 << 23),
        (-1.0, 1.0, 2 * 0x3F800000),
    ],
)
def test_ulps(left, right, apart):
    pair = (np.array([value], np.float32) for value in (left, right))
    assert ulps(*pair).tolist() == [apart]


def test_vectors_have_no_position():
    judge = np.array([[1.0, 2.0, 3.0]], np.float32)
    actual = figures_of(judge, judge + np.array([[0, 0.5, 0]], np.float32))
    assert (actual.worst_channel, actual.worst_position, actual.details.heat) == (1, (), ())


def test_equal_arrays():
    judge = np.ones((1, 2, 3, 3), np.float32)
    actual = figures_of(judge, judge.copy(), noise=0.0)
    assert actual.agrees
    assert (actual.max_abs, actual.ratio, actual.beyond) == (0, 0, 0)
    assert actual.snr_db == np.inf


def test_noise_is_never_below_one_rounding():
    judge = np.full((1, 1, 2, 2), 8.0, np.float32)
    actual = figures_of(judge, np.nextafter(judge, np.float32(9)), noise=0.0)
    assert actual.agrees
    assert actual.noise == pytest.approx(8 * 2**-23)


def test_the_heat_map_keeps_the_largest():
    plane = np.zeros((100, 30))
    plane[99, 29] = 7
    cells = heat_map(plane)
    assert cells.shape == (HEAT, HEAT)
    assert cells[-1, -1] == 7
    assert heat_map(np.ones((3, 4))).shape == (3, 4)


def test_points_are_pairs(pair):
    scatter = figures_of(*pair).details.scatter
    judge, port = pair[0][0].ravel().tolist(), pair[1][0].ravel().tolist()
    actual = set(zip(judge, port, strict=True))
    assert len(scatter) > 100
    assert all(point in actual for point in scatter)
