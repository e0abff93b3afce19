"""The loops over pixels, compiled by numba.

Numba does not fuse a product and a sum into one operation, which would round once less. Indices
are unsigned, so that numba need not check for negative ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import numpy as np
from numba import njit

Loop = TypeVar("Loop", bound=Callable[..., np.ndarray])


def _compiled(loop: Loop) -> Loop:
    """Compile a function, without the interpreter lock; cached on disk where one can write."""
    try:
        return cast(Loop, njit(cache=True, nogil=True)(loop))
    except RuntimeError:  # neither beside the source nor in the user's own folder
        return cast(Loop, njit(nogil=True)(loop))


@_compiled
def resize_linear(
    image: np.ndarray, rows: np.ndarray, next_rows: np.ndarray, down: np.ndarray,
    columns: np.ndarray, next_columns: np.ndarray, right: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """Bilinear: (H, W, 3) -> (out, out, 3) float32, along a row first, as TensorFlow sums.

    ``columns`` and ``next_columns`` (out,) uint64 are places in a row's values.
    Each row of the input is taken along once: ``lines`` keeps the last two.
    """
    height, width, out_width = image.shape[0], image.shape[1] * 3, len(columns)
    pixels = image.reshape(height, width)
    out = np.empty((len(rows), 3 * out_width), np.float32)
    lines, line_rows = np.empty((2, 3 * out_width), np.float32), np.full(2, -1, np.int64)
    source = np.empty(width, np.float32)
    for i in range(len(rows)):
        for row in (rows[i], next_rows[i]):
            line, values = lines[row % 2], pixels[row]
            if line_rows[row % 2] == row:
                continue
            line_rows[row % 2] = row
            for k in range(width):
                source[k] = values[k]
            for j in range(out_width):
                for c in range(3):
                    first = source[columns[j] + np.uint64(c)]
                    second = source[next_columns[j] + np.uint64(c)]
                    line[3 * j + c] = first + (second - first) * right[j]
        top, bottom, step = lines[rows[i] % 2], lines[next_rows[i] % 2], down[i]
        for k in range(3 * out_width):
            out[i, k] = top[k] + (bottom[k] - top[k]) * step
    return out.reshape(len(rows), out_width, 3)


@_compiled
def resize_by_taps(
    image: np.ndarray, rows: np.ndarray, row_weights: np.ndarray,
    columns: np.ndarray, column_weights: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """Any separable kernel: (H, W, 3) -> (out, out, 3) float32, down a column first.

    ``columns`` (out, taps) uint64 are places in a row's values.
    """
    height, width, out_width = image.shape[0], image.shape[1] * 3, len(columns)
    pixels = image.reshape(height, width)
    out = np.empty((len(rows), out_width, 3), np.float32)
    line = np.empty(width, np.float32)
    for i in range(len(rows)):
        line[:] = np.float32(0)
        for t in range(rows.shape[1]):
            values, weight = pixels[rows[i, t]], row_weights[i, t]
            for k in range(width):
                line[k] += np.float32(values[k]) * weight
        for j in range(out_width):
            red = green = blue = np.float32(0)
            for t in range(columns.shape[1]):
                place, weight = columns[j, t], column_weights[j, t]
                red += line[place] * weight
                green += line[place + np.uint64(1)] * weight
                blue += line[place + np.uint64(2)] * weight
            out[i, j, 0], out[i, j, 1], out[i, j, 2] = red, green, blue
    return out


@_compiled
def _sum_samples(
    planes: np.ndarray, y: int, first: int, last: int, halves_rows: bool, sums: np.ndarray
) -> np.ndarray:
    """Four times each sample of a row's chroma, a quarter of it the row beside, (2, samples)."""
    last_row = (planes.shape[0] - 1) // 2
    for c in range(2):
        for sample in range(first, last + 1):
            if halves_rows:
                near = y // 2
                if last > first:
                    near = min(max(near + 2 * (y % 2) - 1, 0), last_row)
                own = np.int32(planes[y // 2 * 2, 2 * sample, c + 1])
                sums[c, sample] = 3 * own + np.int32(planes[2 * near, 2 * sample, c + 1])
            else:
                sums[c, sample] = 4 * np.int32(planes[y, 2 * sample, c + 1])
    return sums


@_compiled
def colours_of_window(
    planes: np.ndarray, top: int, left: int, height: int, width: int, start: int,
    halves_rows: bool, of_chroma: bool,
) -> np.ndarray:  # fmt: skip
    """RGB (height, width, 3) of a window, its chroma smoothed no further than the window's edge.

    ``planes`` (H, W, 3 or more) uint8 holds luma and, repeated over the pixels of
    each sample, chroma, whose samples span two columns, and two rows where
    ``halves_rows``; without ``of_chroma`` three colours, which are given as they
    are smoothed. ``start`` is the column from which the decoder decodes; of one
    sample alone it smooths nothing, down a column neither.
    Source: ``h2v1_fancy_upsample`` and ``h2v2_fancy_upsample`` in libjpeg-turbo
    ``src/jdsample.c``, ``ycc_rgb_convert`` in ``src/jdcolext.c``.
    """
    out = np.empty((height, width, 3), np.uint8)
    first, last = start // 2, (left + width - 1) // 2
    sums = np.empty((2, last + 1), np.int32)
    for i in range(height):
        y = top + i
        _sum_samples(planes, y, first, last, halves_rows, sums)
        for j in range(width):
            x = left + j
            own_place = x // 2
            next_place = own_place + 2 * (x % 2) - 1
            if next_place < first or next_place > last:
                next_place = own_place
            half = (7 if x % 2 else 8) if halves_rows else (8 if x % 2 else 4)
            second = (sums[0, own_place] * 3 + sums[0, next_place] + half) >> 4
            third = (sums[1, own_place] * 3 + sums[1, next_place] + half) >> 4
            luma, blue, red = np.int32(planes[y, x, 0]), second - 128, third - 128
            if not of_chroma:
                out[i, j, 0], out[i, j, 1], out[i, j, 2] = luma, second, third
                continue
            out[i, j, 0] = min(max(luma + ((91881 * red + 32768) >> 16), 0), 255)
            out[i, j, 1] = min(max(luma + ((-22554 * blue - 46802 * red + 32768) >> 16), 0), 255)
            out[i, j, 2] = min(max(luma + ((116130 * blue + 32768) >> 16), 0), 255)
    return out
