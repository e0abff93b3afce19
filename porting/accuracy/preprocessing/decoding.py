"""Encoded images to pixels. The kind of file is told by its content, not by its name."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

from porting.accuracy.preprocessing import jpeg
from porting.accuracy.preprocessing.windows import Window
from porting.errors import BadExample

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_PIXELS = 1 << 27
"""An image of more is not decoded: 134 million pixels take 400 MB; ImageNet's largest has 31."""

FORMATS = ("JPEG", "PNG", "WEBP", "BMP")
"""What Pillow is let try."""


def image_size(data: bytes) -> tuple[int, int]:
    """Height and width of an encoded image, from its header.

    Raises:
        BadExample: it is no image of a kind that is read, or too large.
    """
    if jpeg.is_jpeg(data):
        height, width = jpeg.jpeg_size(data)
        _check_size(height, width)
        return height, width
    with _opened(data) as image:
        return image.height, image.width


def decode_as_tensorflow(data: bytes, fast: bool = True) -> np.ndarray:
    """(H, W, 3) uint8, as ``tf.io.decode_image(data, channels=3)`` gives it.

    ``fast`` is the DCT that TensorFlow takes by default. A JPEG's EXIF
    orientation is left alone, transparency is left off.

    Raises:
        BadExample: it is damaged, or no image of a kind that is read.
    """
    image_size(data)
    return jpeg.decode(data, fast) if jpeg.is_jpeg(data) else decode_with_pillow(data)


def decode_and_crop(data: bytes, window: Window) -> np.ndarray:
    """A window (height, width, 3) uint8, as ``tf.io.decode_and_crop_jpeg`` gives it.

    An image of another kind than JPEG is decoded whole and then cut.

    Raises:
        BadExample: it is damaged, or no image of a kind that is read.
    """
    if jpeg.is_jpeg(data):
        return jpeg.decode_and_crop(data, window)
    image = decode_with_pillow(data)
    rows = slice(window.top, window.top + window.height)
    return image[rows, window.left : window.left + window.width]


def decode_with_pillow(data: bytes) -> np.ndarray:
    """(H, W, 3) uint8, as ``PIL.Image.open(...).convert("RGB")`` gives it.

    Raises:
        BadExample: it is damaged, or no image of a kind that is read.
    """
    with _opened(data) as image:
        try:
            if image.mode.startswith("I;16"):
                # Pillow would cut values at 255; TensorFlow keeps the upper byte.
                grey = (np.asarray(image) >> 8).astype(np.uint8)
                return np.repeat(grey[..., None], 3, axis=2)
            return np.asarray(image.convert("RGB"))
        except (OSError, ValueError, SyntaxError) as error:
            raise BadExample(f"the {image.format} image is damaged ({_said(error)})") from error


def _opened(data: bytes) -> Image:
    from PIL import Image, UnidentifiedImageError

    try:
        # Pillow warns of large images, and refuses larger ones, by a limit of its own.
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError:
        raise BadExample(f"no image: {_beginning(data)}") from None
    except Image.DecompressionBombError as error:
        raise BadExample(_said(error)) from error
    except (OSError, ValueError, SyntaxError) as error:
        raise BadExample(f"no image that can be read ({_said(error)})") from error
    _check_size(image.height, image.width)
    return image


def _check_size(height: int, width: int) -> None:
    if height * width > MAX_PIXELS:
        raise BadExample(
            f"{width:,} x {height:,} pixels; at most {MAX_PIXELS:,} in all are decoded"
        )


def _beginning(data: bytes) -> str:
    if not data:
        return "the file is empty"
    return f"it begins with {data[:12]!r}; expected {', '.join(FORMATS)}"


def _said(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
