"""Which part of an image is kept, as the evaluation code of the networks' authors has it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np


@dataclass(frozen=True)
class Window:
    """A part of an image, in pixels."""

    top: int
    left: int
    height: int
    width: int


class WindowRule(Protocol):
    """From an image's height and width in pixels to the part of it that is kept."""

    def __call__(self, height: int, width: int) -> Window:
        """The window of an image of that size."""
        ...


@dataclass(frozen=True)
class Padded:
    """A square of ``size / (size + padding)`` of the shorter side, in the middle.

    Source: ``_decode_and_center_crop`` in tensorflow/tpu
    ``models/official/efficientnet/preprocessing.py``, which MnasNet's equals.
    """

    size: int
    padding: int

    def __call__(self, height: int, width: int) -> Window:
        """The window of an image of that size."""
        share = np.float32(self.size / (self.size + self.padding))
        side = max(int(share * np.float32(min(height, width))), 1)
        return Window((height - side + 1) // 2, (width - side + 1) // 2, side, side)

    def __str__(self) -> str:
        return f"padded {self.size}+{self.padding}"


@dataclass(frozen=True)
class Fraction:
    """That part of each side, in the middle.

    Source: ``tf.image.central_crop``, as ``preprocess_for_eval`` in tensorflow/models
    ``research/slim/preprocessing/inception_preprocessing.py`` calls it.
    """

    fraction: float

    def __call__(self, height: int, width: int) -> Window:
        """The window of an image of that size."""
        top, left = (int((side - side * self.fraction) / 2) for side in (height, width))
        return Window(top, left, height - 2 * top, width - 2 * left)

    def __str__(self) -> str:
        return f"fraction {self.fraction}"


@dataclass(frozen=True)
class Square:
    """A square of that part of the shorter side, in the middle.

    Source: ``Crop`` in tensorflow
    ``lite/tools/evaluation/stages/image_preprocessing_stage.cc``, whose
    ``round`` rounds halves up.
    """

    fraction: float

    def __call__(self, height: int, width: int) -> Window:
        """The window of an image of that size."""
        side = max(int(np.float32(self.fraction) * np.float32(min(height, width)) + 0.5), 1)
        return Window((height - side + 1) // 2, (width - side + 1) // 2, side, side)

    def __str__(self) -> str:
        return f"square {self.fraction}"


@dataclass(frozen=True)
class Centre:
    """A square of so many pixels, in the middle; the image must be at least as large.

    Source: ``center_crop`` in torchvision ``transforms/functional.py``.
    """

    side: int

    def __call__(self, height: int, width: int) -> Window:
        """The window of an image of that size."""
        top, left = (round((length - self.side) / 2.0) for length in (height, width))
        return Window(top, left, self.side, self.side)

    def __str__(self) -> str:
        return f"centre {self.side}"
