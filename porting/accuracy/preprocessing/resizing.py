"""Resize as TensorFlow 1, TensorFlow 2 and Pillow do. (H, W, 3) -> (height, width, 3).

Sources: ``tensorflow/core/kernels/image/resize_bilinear_op.cc``,
``resize_bicubic_op.cc``, ``image_resizer_state.h``, ``scale_and_translate_op.cc``
and ``sampling_kernels.h``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

Resizer = Callable[[np.ndarray, str, int, int], np.ndarray]
"""Image, kernel, height, width -> the image at that size."""

KERNELS = ("bilinear", "bicubic")

TABLE = 1024
"""``kTableSize``: TensorFlow looks cubic weights up at so many places between two pixels."""

LEGACY_A, KEYS_A = -0.75, -0.5
"""Of the cubic kernel: TensorFlow 1's, and the one of Keys that TensorFlow 2 takes."""

_NOTHING = np.float32(1000) * np.finfo(np.float32).tiny
"""Below this sum TensorFlow leaves weights unscaled."""


def legacy(image: np.ndarray, kernel: str, height: int, width: int) -> np.ndarray:
    """As ``tf.compat.v1.image.resize_bilinear`` and ``resize_bicubic``; float32."""
    return _by_points(image, kernel, height, width, half_pixel=False)


def tf2(image: np.ndarray, kernel: str, height: int, width: int) -> np.ndarray:
    """As ``tf.image.resize``; float32."""
    return _by_points(image, kernel, height, width, half_pixel=True)


def tf2_antialiased(image: np.ndarray, kernel: str, height: int, width: int) -> np.ndarray:
    """As ``tf.image.resize(antialias=True)``; float32."""
    rows = antialiased_taps(image.shape[0], height, kernel)
    columns = antialiased_taps(image.shape[1], width, kernel)
    return _by_taps(image, rows, columns)


def pillow(image: np.ndarray, kernel: str, height: int, width: int) -> np.ndarray:
    """As ``PIL.Image.resize``, antialiased; the input is rounded to uint8 first."""
    from PIL import Image

    if image.dtype != np.uint8:
        image = to_uint8(image)
    resampling = Image.Resampling[kernel.upper()]
    return np.asarray(Image.fromarray(image).resize((width, height), resampling))


RESIZERS: dict[str, Resizer] = {
    "legacy": legacy,
    "tf2": tf2,
    "tf2-antialiased": tf2_antialiased,
    "pillow": pillow,
}


def to_uint8(image: np.ndarray) -> np.ndarray:
    """Round to whole values 0..255, halves to even."""
    whole: np.ndarray = np.clip(np.rint(image), 0, 255)
    return whole.astype(np.uint8)


def _by_points(
    image: np.ndarray, kernel: str, height: int, width: int, half_pixel: bool
) -> np.ndarray:
    if kernel == "bicubic":
        rows = cubic_taps(image.shape[0], height, half_pixel)
        return _by_taps(image, rows, cubic_taps(image.shape[1], width, half_pixel))
    from porting.accuracy.preprocessing.kernels import resize_linear

    lower, upper, right = linear_taps(image.shape[1], width, half_pixel)
    return resize_linear(
        np.ascontiguousarray(image), *linear_taps(image.shape[0], height, half_pixel),
        _of_values(lower), _of_values(upper), right,
    )  # fmt: skip


def _by_taps(image: np.ndarray, rows: Taps, columns: Taps) -> np.ndarray:
    from porting.accuracy.preprocessing.kernels import resize_by_taps

    return resize_by_taps(
        np.ascontiguousarray(image), rows.places, rows.weights,
        _of_values(columns.places), columns.weights,
    )  # fmt: skip


def _of_values(places: np.ndarray) -> np.ndarray:
    """Indices of pixels in a row, as indices of their first values."""
    return (3 * places).astype(np.uint64)


@dataclass(frozen=True)
class Taps:
    """Along one axis: ``places`` (out, taps) of the input, and ``weights`` (out, taps)."""

    places: np.ndarray
    weights: np.ndarray


@lru_cache(maxsize=256)
def linear_taps(size: int, out: int, half_pixel: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lower and upper place (out,), and how far from the lower to the upper one (out,), float32."""
    where = _where(size, out, half_pixel)
    lower = np.floor(where)
    upper = np.minimum(np.ceil(where), size - 1)
    return np.maximum(lower, 0).astype(np.int64), upper.astype(np.int64), where - lower


@lru_cache(maxsize=256)
def cubic_taps(size: int, out: int, half_pixel: bool) -> Taps:
    """Four taps a place: the legacy kernel repeats the edge, Keys' leaves taps beyond it out."""
    where = _where(size, out, half_pixel)
    first = np.floor(where)
    offset = np.rint((where - first) * np.float32(TABLE)).astype(np.int64)
    near, far = _cubic_table(KEYS_A if half_pixel else LEGACY_A)
    weights = np.stack([far[offset], near[offset], near[TABLE - offset], far[TABLE - offset]], 1)
    all_places = first.astype(np.int64)[:, None] + np.arange(-1, 3)
    places = np.clip(all_places, 0, size - 1)
    if half_pixel:
        weights = np.where(places == all_places, weights, np.float32(0))
        weights = _scaled_to_one(weights)
    return Taps(places, weights)


@lru_cache(maxsize=256)
def antialiased_taps(size: int, out: int, kernel: str) -> Taps:
    """Taps over all input places that an output place covers, with a kernel stretched to them."""
    function, radius = _KERNELS[kernel]
    step = np.float32(1) / np.float32(np.float32(out) / np.float32(size))
    stretch = max(step, np.float32(1))
    reach = np.float32(radius) * stretch
    centre = (np.arange(out, dtype=np.float32) + np.float32(0.5)) * step
    half = np.float32(0.5)
    first = np.clip(np.ceil(centre - reach - half), 0, size - 1).astype(np.int64)
    last = np.clip(np.floor(centre + reach - half), 0, size - 1).astype(np.int64)
    places = first[:, None] + np.arange(int((last - first).max()) + 1)
    distance = np.abs(
        (places.astype(np.float32) + half - centre[:, None]) * (np.float32(1) / stretch)
    )
    weights = np.where(places <= last[:, None], function(distance), np.float32(0))
    return Taps(np.minimum(places, size - 1), _scaled_to_one(weights.astype(np.float32)))


def _where(size: int, out: int, half_pixel: bool) -> np.ndarray:
    """Where each place of the output lies in the input, in pixels, float32."""
    scale = np.float32(size) / np.float32(out)
    place = np.arange(out, dtype=np.float32)
    if half_pixel:
        return (place + np.float32(0.5)) * scale - np.float32(0.5)
    return place * scale


@lru_cache(maxsize=2)
def _cubic_table(a: float) -> tuple[np.ndarray, np.ndarray]:
    """Weights at a distance below one pixel, and at one pixel more."""
    x = (np.arange(TABLE + 1) / TABLE).astype(np.float32).astype(np.float64)
    far = x + 1
    near_weights = ((a + 2) * x - (a + 3)) * x * x + 1
    far_weights = ((a * far - 5 * a) * far + 8 * a) * far - 4 * a
    return near_weights.astype(np.float32), far_weights.astype(np.float32)


def _scaled_to_one(weights: np.ndarray) -> np.ndarray:
    """Weights (out, taps) over their sum, added up and divided in TensorFlow's order."""
    total = np.zeros((len(weights), 1), np.float32)
    for tap in weights.T:
        total += tap[:, None]
    one = np.float32(1)
    return weights * (one / np.where(np.abs(total) >= _NOTHING, total, one))


def _triangle(x: np.ndarray) -> np.ndarray:
    return np.maximum(np.float32(1) - x, np.float32(0))


def _keys_cubic(x: np.ndarray) -> np.ndarray:
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x >= 2, 0, np.where(x >= 1, far, near))


_KERNELS = {"bilinear": (_triangle, 1), "bicubic": (_keys_cubic, 2)}
