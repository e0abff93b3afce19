"""The steps of preprocessing pipelines. Pixels are (H, W, 3), RGB, values 0..255."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from porting.accuracy.preprocessing import decoding
from porting.accuracy.preprocessing.decoding import DECODERS, Window
from porting.accuracy.preprocessing.resizing import RESIZERS, to_uint8
from porting.errors import BadExample


@dataclass(frozen=True)
class Spelled:
    """Base of what ``str`` writes as in a pipeline's text: its word, then its fields."""

    word: ClassVar[str]

    def __str__(self) -> str:
        return " ".join([self.word, *map(str, vars(self).values())])


@dataclass(frozen=True)
class Padded:
    """A central square of ``size / (size + padding)`` of the shorter side.

    Source: ``_decode_and_center_crop`` in tensorflow/tpu
    ``models/official/efficientnet/preprocessing.py``, which MnasNet's equals.
    """

    size: int
    padding: int

    def __call__(self, height: int, width: int) -> Window:
        share = np.float32(self.size / (self.size + self.padding))
        side = max(int(share * np.float32(min(height, width))), 1)
        return Window((height - side + 1) // 2, (width - side + 1) // 2, side, side)

    def __str__(self) -> str:
        return f"padded {self.size}+{self.padding}"


@dataclass(frozen=True)
class Fraction(Spelled):
    """The central part of the image: that fraction of each side.

    Source: ``tf.image.central_crop``, as ``preprocess_for_eval`` in tensorflow/models
    ``research/slim/preprocessing/inception_preprocessing.py`` calls it.
    """

    word = "fraction"
    fraction: float

    def __call__(self, height: int, width: int) -> Window:
        top, left = (int((side - side * self.fraction) / 2) for side in (height, width))
        return Window(top, left, height - 2 * top, width - 2 * left)


@dataclass(frozen=True)
class Square(Spelled):
    """A central square of that fraction of the shorter side.

    Source: ``Crop`` in tensorflow
    ``lite/tools/evaluation/stages/image_preprocessing_stage.cc``, whose
    ``round`` rounds halves up.
    """

    word = "square"
    fraction: float

    def __call__(self, height: int, width: int) -> Window:
        side = max(int(np.float32(self.fraction) * np.float32(min(height, width)) + 0.5), 1)
        return Window((height - side + 1) // 2, (width - side + 1) // 2, side, side)


@dataclass(frozen=True)
class Centre(Spelled):
    """A central square of ``side`` pixels; the image must be at least as large.

    Source: ``center_crop`` in torchvision ``transforms/functional.py``.
    """

    word = "centre"
    side: int

    def __call__(self, height: int, width: int) -> Window:
        top, left = (round((length - self.side) / 2.0) for length in (height, width))
        return Window(top, left, self.side, self.side)


WindowRule = Padded | Fraction | Square | Centre
"""From an image's height and width in pixels to the part of it that is kept."""


@dataclass(frozen=True)
class Decode(Spelled):
    """Decode the whole image, with one of ``DECODERS``."""

    word = "decode"
    decoder: str

    def __call__(self, data: bytes) -> np.ndarray:
        """Encoded image -> (H, W, 3) uint8."""
        return DECODERS[self.decoder](data)


@dataclass(frozen=True)
class DecodeAndCrop(Spelled):
    """Decode a window alone, as ``tf.io.decode_and_crop_jpeg``: its last column may differ."""

    word = "decode-and-crop"
    rule: WindowRule

    def __call__(self, data: bytes) -> np.ndarray:
        """Encoded image -> (height, width, 3) uint8."""
        return decoding.decode_and_crop(data, _window(self.rule, *decoding.image_size(data)))


@dataclass(frozen=True)
class Crop(Spelled):
    """Crop to the window of a rule."""

    word = "crop"
    rule: WindowRule

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """(H, W, 3) -> (height, width, 3)."""
        return _window(self.rule, *image.shape[:2]).cut(image)


@dataclass(frozen=True)
class Resize(Spelled):
    """Resize both sides to ``size`` pixels, with one of ``RESIZERS`` and a kernel."""

    word = "resize"
    resizer: str
    kernel: str
    size: int

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """(H, W, 3) -> (size, size, 3)."""
        return RESIZERS[self.resizer](image, self.kernel, self.size, self.size)


@dataclass(frozen=True)
class ResizeShorter(Spelled):
    """Resize the shorter side to ``size`` pixels, the other in proportion, rounded down.

    Source: ``_compute_resized_output_size`` in torchvision ``transforms/functional.py``.
    """

    word = "resize-shorter"
    resizer: str
    kernel: str
    size: int

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """(H, W, 3) -> the same, its shorter side of ``size``."""
        shorter = min(image.shape[:2])
        height, width = (int(self.size * side / shorter) for side in image.shape[:2])
        if height * width > decoding.MAX_PIXELS // 4:
            raise BadExample(f"{width:,} x {height:,} pixels, too many, would come of {self}")
        return RESIZERS[self.resizer](image, self.kernel, height, width)


@dataclass(frozen=True)
class Round(Spelled):
    """Round to whole values, as a network with a uint8 input gets them."""

    word = "round"

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """(H, W, 3) -> the same, uint8."""
        return to_uint8(image)


@dataclass(frozen=True)
class SwapChannels(Spelled):
    """Swap the channels from RGB to BGR."""

    word = "swap-channels"

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """(H, W, 3) -> the same."""
        return image[..., ::-1]


First = Decode | DecodeAndCrop
"""A step that begins a pipeline: from an encoded image to pixels."""

Further = Crop | Resize | ResizeShorter | Round | SwapChannels
"""A step from pixels to pixels."""

Step = First | Further


def _window(rule: WindowRule, height: int, width: int) -> Window:
    """The window of a rule in an image of that size.

    Raises:
        BadExample: the image is too small for it.
    """
    window = rule(height, width)
    spare = height - window.top - window.height, width - window.left - window.width
    if min(window.top, window.left, window.height - 1, window.width - 1, *spare) < 0:
        raise BadExample(f"{width} x {height} pixels are too few for crop {rule}")
    return window
