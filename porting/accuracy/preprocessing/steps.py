"""What is done to an image, step by step. Pixels are (H, W, 3), RGB, values 0..255."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from porting.accuracy.preprocessing import decoding
from porting.accuracy.preprocessing.resizing import RESIZERS, to_uint8
from porting.accuracy.preprocessing.windows import Window, WindowRule
from porting.errors import BadExample


class First(Protocol):
    """A step that begins a pipeline: from an encoded image to pixels."""

    def __call__(self, data: bytes) -> np.ndarray:
        """Encoded image -> (H, W, 3) uint8."""
        ...


class Further(Protocol):
    """A step from pixels to pixels."""

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """(H, W, 3) -> (H, W, 3)."""
        ...


DECODERS = {
    "tf": decoding.decode_as_tensorflow,
    "tf-accurate": lambda data: decoding.decode_as_tensorflow(data, fast=False),
    "pillow": decoding.decode_with_pillow,
}
"""TensorFlow's with the DCT that it takes by default; with the accurate one; Pillow's."""


@dataclass(frozen=True)
class Decode:
    """Decode the whole image, with one of ``DECODERS``."""

    decoder: str

    def __call__(self, data: bytes) -> np.ndarray:
        """Encoded image -> (H, W, 3) uint8."""
        return DECODERS[self.decoder](data)

    def __str__(self) -> str:
        return f"decode {self.decoder}"


@dataclass(frozen=True)
class DecodeAndCrop:
    """Decode a window alone, as ``tf.io.decode_and_crop_jpeg``: its last column may differ."""

    rule: WindowRule

    def __call__(self, data: bytes) -> np.ndarray:
        """Encoded image -> (height, width, 3) uint8."""
        return decoding.decode_and_crop(data, _window(self.rule, *decoding.image_size(data)))

    def __str__(self) -> str:
        return f"decode-and-crop {self.rule}"


@dataclass(frozen=True)
class Crop:
    """Keep a window."""

    rule: WindowRule

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """(H, W, 3) -> (height, width, 3)."""
        window = _window(self.rule, *image.shape[:2])
        rows = slice(window.top, window.top + window.height)
        return image[rows, window.left : window.left + window.width]

    def __str__(self) -> str:
        return f"crop {self.rule}"


@dataclass(frozen=True)
class Resize:
    """To ``size`` pixels each side, with one of ``RESIZERS`` and a kernel."""

    resizer: str
    kernel: str
    size: int

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """(H, W, 3) -> (size, size, 3)."""
        return RESIZERS[self.resizer](image, self.kernel, self.size, self.size)

    def __str__(self) -> str:
        return f"resize {self.resizer} {self.kernel} {self.size}"


@dataclass(frozen=True)
class ResizeShorter:
    """The shorter side to ``size`` pixels, the other in proportion, its fraction cut off.

    Source: ``_compute_resized_output_size`` in torchvision ``transforms/functional.py``.
    """

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

    def __str__(self) -> str:
        return f"resize-shorter {self.resizer} {self.kernel} {self.size}"


@dataclass(frozen=True)
class Round:
    """Values to whole ones, as a network with a uint8 input gets them."""

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """(H, W, 3) -> the same, uint8."""
        return to_uint8(image)

    def __str__(self) -> str:
        return "round"


@dataclass(frozen=True)
class SwapChannels:
    """RGB to BGR."""

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """(H, W, 3) -> the same."""
        return image[..., ::-1]

    def __str__(self) -> str:
        return "swap-channels"


Step = First | Further


def _window(rule: WindowRule, height: int, width: int) -> Window:
    """What a rule keeps of an image of that size.

    Raises:
        BadExample: the image is too small for it.
    """
    window = rule(height, width)
    spare = height - window.top - window.height, width - window.left - window.width
    if min(window.top, window.left, window.height - 1, window.width - 1, *spare) < 0:
        raise BadExample(f"{width} x {height} pixels are too few for crop {rule}")
    return window
