"""Resizing as TensorFlow 1, TensorFlow 2 and Pillow do it. (H, W, 3) -> (height, width, 3)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from porting.accuracy.preprocessing.interpolation import (
    Taps,
    antialiased_taps,
    cubic_taps,
    linear_taps,
)

Resizer = Callable[[np.ndarray, str, int, int], np.ndarray]
"""Image, kernel, height, width -> the image at that size."""

KERNELS = ("bilinear", "bicubic")


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
    """As ``PIL.Image.resize``, antialiased; uint8, which other values are rounded to first."""
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
    """Values to the nearest of 0..255, halves to even."""
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
    """Places of pixels in a row, as places of their first values."""
    return (3 * places).astype(np.uint64)
