"""Layout changes as einops patterns, each with an inverse.

A name is an einops pattern, source axes on the left, PyTorch axes on the
right: ``h``/``w`` kernel sides, ``i``/``o`` input and output channels, ``c``
channels that are both. A depthwise kernel of TensorFlow has on its last axis what each channel is
multiplied to: nothing (``1``), or ``m`` channels one behind the other.
"""

from __future__ import annotations

import math
import re

import numpy as np

CONV_TF = "h w i o -> o i h w"
DEPTHWISE_TF = "h w c 1 -> c 1 h w"
MULTIPLIED_TF = "h w c m -> (c m) 1 h w"
DENSE_TF = "i o -> o i"
DENSE_AS_CONV_TF = "1 1 i o -> o i"
CONV_TFLITE = "o h w i -> o i h w"
DEPTHWISE_TFLITE = "1 h w c -> c 1 h w"
ONE_CHANNEL_TFLITE = "i h w o -> o i h w"
GROUPED_TF = "h w 1 c -> c 1 h w"
GROUPED_TFLITE = "c h w 1 -> c 1 h w"
DENSE_TFLITE = "o i -> o i"
DENSE_AS_CONV_TFLITE = "o 1 1 i -> o i"
DENSE_TO_CONV = "o i -> o i 1 1"
DENSE_TF_TO_CONV = "i o -> o i 1 1"
VECTOR = "c -> c"
VECTORS = (VECTOR, "1 c -> c", "1 1 c -> c", "1 1 1 c -> c")
"""Vectors of one number per channel, written with one to four axes."""

LAYOUTS = (
    CONV_TF,
    DEPTHWISE_TF,
    MULTIPLIED_TF,
    DENSE_TF,
    DENSE_AS_CONV_TF,
    CONV_TFLITE,
    DEPTHWISE_TFLITE,
    ONE_CHANNEL_TFLITE,
    GROUPED_TF,
    GROUPED_TFLITE,
    DENSE_TFLITE,
    DENSE_AS_CONV_TFLITE,
    DENSE_TO_CONV,
    DENSE_TF_TO_CONV,
    *VECTORS,
)
"""Every layout change that a plan may name."""


def layout_onto(axes: str, kind: str) -> str:
    """The layout change from an operator's weight axes to those of a PyTorch layer.

    A dense operator fills a convolution of one place, and such a convolution a dense layer.
    """
    if kind == "depthwise":
        return MULTIPLIED_TF if axes == "h w c m" else f"{axes} -> c 1 h w"
    spatial = "h" in axes.split()
    if kind == "conv":
        return f"{axes} -> {'o i h w' if spatial else 'o i 1 1'}"
    return f"{axes.replace('h', '1').replace('w', '1')} -> o i"


def change(values: np.ndarray, layout: str, **sizes: int) -> np.ndarray:
    """Bring an array from the left side's axes to the right side's.

    ``sizes`` are those of axes that the left side has joined, as the inverse of one with a
    multiplier has: ``m=2``.

    Raises:
        ValueError: the array does not have the left side's axes.
    """
    if layout == VECTOR and values.ndim == 1:
        return values
    from einops import EinopsError, rearrange

    try:
        return np.asarray(rearrange(values, layout, **sizes))
    except EinopsError as error:
        raise ValueError(
            f"an array of shape {values.shape} does not have the axes of {layout!r}"
        ) from error


def invert(layout: str) -> str:
    """The layout change that undoes this one.

    For taking a port's weights back to where they came from: a user who asks
    which element of the source a weight is, and the tests of every layout.
    """
    return " -> ".join(reversed(layout.split(" -> ")))


def changed_shape(shape: tuple[int, ...], layout: str) -> tuple[int, ...] | None:
    """The shape after the change; None if the axes do not fit."""
    before, after = (re.findall(r"\([^)]*\)|\S+", side) for side in layout.split(" -> "))
    if len(before) != len(shape):
        return None
    sides = dict(zip(before, shape, strict=True))
    if sides.get("1", 1) != 1 or any(
        n != 1 for a, n in zip(before, shape, strict=True) if a == "1"
    ):
        return None
    sides["1"] = 1
    return tuple(math.prod(sides[name] for name in axis.strip("()").split()) for axis in after)
