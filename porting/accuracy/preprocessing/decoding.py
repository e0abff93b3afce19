"""Decode images as TensorFlow does, and as Pillow does, by their content and not by their name.

JPEGs are decoded by libjpeg-turbo, as in TensorFlow, with the fast integer DCT and smoothed
("fancy") chroma, which gives the same bytes. Its Python binding does not offer cropping while
decoding; where that differs from a slice of the whole image, the difference is corrected here.
Sources: ``tensorflow/core/lib/jpeg/jpeg_mem.cc``; ``jpeg_crop_scanline`` in libjpeg-turbo
``src/jdapistd.c``.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from porting.errors import BadExample

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_PIXELS = 1 << 25
"""An image of more is not decoded. ImageNet's largest has 31 million pixels; 33 million take up to
400 MB while they are decoded."""

FORMATS = ("JPEG", "PNG", "WEBP", "BMP")
"""The formats that are read, by Pillow's names."""

_START, _END = b"\xff\xd8", b"\xff\xd9"
_HALVES_ROWS = {"420": True, "422": False}
"""Chroma of half the columns -> whether it has half the rows as well."""

_OF_INKS, _OF_CHROMA = ("CMYK", "YCCK"), ("YCbCr", "YCCK")
"""Components that are inks, and those of which the second and third are chroma."""

_NEVER_SMOOTHED = 4
"""Up to this width in pixels libjpeg repeats chroma, and a window's edge shows nowhere."""

_NO_TRANSFORM = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00"
"""An APP14 segment of Adobe's that says: the components are not YCbCr. See :func:`_as_stored`."""

_JFIF, _ADOBE, _COMMENT, _SCAN = 0xE0, 0xEE, 0xFE, b"\xda"

_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""What begins a frame: of it the ninth byte behind the marker is the number of components."""

_BEFORE_PIXELS = 1 << 17
"""Bytes among which Adobe's segment is looked for; behind it a scan has begun, or profiles lie."""

_WARNINGS = re.compile(
    r"extraneous bytes|data segment|RST|Huffman|JFIF|Adobe|SOS param|progression|component ID"
)
"""Damage of which libjpeg only warns; TensorFlow takes the image all the same."""


@dataclass(frozen=True)
class Window:
    """A part of an image, in pixels."""

    top: int
    left: int
    height: int
    width: int

    def cut(self, image: np.ndarray) -> np.ndarray:
        """The window of an image (H, W, channels)."""
        rows = slice(self.top, self.top + self.height)
        return image[rows, self.left : self.left + self.width]


def image_size(data: bytes) -> tuple[int, int]:
    """Read height and width from the header of an encoded image.

    Raises:
        BadExample: it is not an image of a supported format, or it is too large.
    """
    if not data.startswith(_START):
        with _open_with_pillow(data) as image:
            return image.height, image.width
    height, width, _, _ = _jpeg_header(_with_known_transform(data))
    _check_size(height, width)
    return height, width


def decode_as_tensorflow(data: bytes, fast: bool = True) -> np.ndarray:
    """(H, W, 3) uint8, as ``tf.io.decode_image(data, channels=3)`` gives it.

    Without ``fast``, a JPEG is decoded as with ``dct_method="INTEGER_ACCURATE"``. Its EXIF
    orientation is left alone; transparency is left off.

    Raises:
        BadExample: it is damaged, or not an image of a supported format.
    """
    image_size(data)
    if not data.startswith(_START):
        return decode_with_pillow(data)
    data = _with_known_transform(data)
    _, _, colours, _ = _jpeg_header(data)
    if colours in _OF_INKS:
        return _rgb_of_inks(_decode_jpeg(data, "CMYK", fast), _adobe_segment(data) is not None)
    return _decode_jpeg(data, "RGB", fast)


def decode_and_crop(data: bytes, window: Window) -> np.ndarray:
    """A window (height, width, 3) uint8, as ``tf.io.decode_and_crop_jpeg`` gives it.

    An image of another format than JPEG is decoded whole and then cut.

    The JPEG decoder takes the window's right edge, and the place from which it
    decodes, for the image's, where it smooths chroma. That shows in a last
    column that is the first of two over one sample, and in a first column that
    the decoder begins with; elsewhere a slice is the same.

    Raises:
        BadExample: it is damaged, or not an image of a supported format.
    """
    if not data.startswith(_START):
        return window.cut(decode_with_pillow(data))
    data = _with_known_transform(data)
    _, width, colours, sampling = _jpeg_header(data)
    end, halves_rows = window.left + window.width, _HALVES_ROWS.get(sampling)
    start = window.left // 16 * 16  # where a block of luma and chroma begins
    differs = (end % 2 == 0 and end < width) or (window.left == start > 0) or end - start <= 2
    if halves_rows is None or not differs or width <= _NEVER_SMOOTHED:
        return window.cut(decode_as_tensorflow(data))
    from porting.accuracy.preprocessing.kernels import colours_of_window

    inks = colours in _OF_INKS
    planes = _decode_jpeg(_as_stored(data), "CMYK" if inks else "RGB", smooth=False)
    image = colours_of_window(
        planes, window.top, window.left, window.height, window.width, start, halves_rows,
        colours in _OF_CHROMA,
    )  # fmt: skip
    if not inks:
        return image
    if colours in _OF_CHROMA:
        image = 255 - image  # libjpeg's ycck_cmyk_convert: the inks of the colours
    black = window.cut(planes)[..., 3:]
    return _rgb_of_inks(np.concatenate([image, black], axis=2), _adobe_segment(data) is not None)


def decode_with_pillow(data: bytes) -> np.ndarray:
    """(H, W, 3) uint8, as ``PIL.Image.open(...).convert("RGB")`` gives it.

    Raises:
        BadExample: it is damaged, or not an image of a supported format.
    """
    with _open_with_pillow(data) as image:
        try:
            if image.mode.startswith("I;16"):
                # Pillow would cut values at 255; TensorFlow keeps the upper byte.
                grey = (np.asarray(image) >> 8).astype(np.uint8)
                return np.repeat(grey[..., None], 3, axis=2)
            return np.asarray(image.convert("RGB"))
        except (OSError, ValueError, SyntaxError) as error:
            raise BadExample(f"the {image.format} image is damaged ({_reason(error)})") from error


DECODERS = {
    "tf": decode_as_tensorflow,
    "tf-accurate": lambda data: decode_as_tensorflow(data, fast=False),
    "pillow": decode_with_pillow,
}
"""TensorFlow's with the DCT that it takes by default; with the accurate one; Pillow's."""


def _open_with_pillow(data: bytes) -> Image:
    from PIL import Image, UnidentifiedImageError

    try:
        # Pillow warns of large images, and refuses larger ones, by a limit of its own.
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError:
        beginning = f"it begins with {data[:12]!r}; expected {', '.join(FORMATS)}"
        raise BadExample(f"not an image: {beginning if data else 'the file is empty'}") from None
    except Image.DecompressionBombError as error:
        raise BadExample(_reason(error)) from error
    except (OSError, ValueError, SyntaxError) as error:
        raise BadExample(f"an image that cannot be read ({_reason(error)})") from error
    _check_size(image.height, image.width)
    return image


def _check_size(height: int, width: int) -> None:
    if height * width > MAX_PIXELS:
        raise BadExample(
            f"{width:,} x {height:,} pixels; at most {MAX_PIXELS:,} in all are decoded"
        )


def _reason(error: Exception) -> str:
    """A decoder's error message on one line, without the name of libjpeg-turbo's function."""
    words = " ".join(str(error).split()) or type(error).__name__
    return re.sub(r"^tj\w+\(\): ", "", words)


def _jpeg_header(data: bytes) -> tuple[int, int, str, str]:
    """Height, width, colour space and chroma subsampling of a JPEG."""
    from simplejpeg import decode_jpeg_header

    try:
        height, width, colours, sampling = decode_jpeg_header(data, strict=False)
    except KeyError:  # of the library's table of samplings, or of colours
        raise BadExample("a JPEG of components that are not sampled as usual") from None
    except ValueError as error:
        raise BadExample(f"a JPEG that cannot be read ({_reason(error)})") from error
    return int(height), int(width), str(colours), str(sampling)


def _decode_jpeg(data: bytes, colours: str, fast: bool = True, smooth: bool = True) -> np.ndarray:
    """(H, W, 3 or 4) uint8 in the given colour space.

    Of what libjpeg only warns of, TensorFlow takes the image. But the library may be silent
    where the decoder gives up; that shows in rows that are left as they were before.
    """
    from simplejpeg import decode_jpeg

    options: dict[str, Any] = {"colorspace": colours, "fastdct": fast, "fastupsample": not smooth}
    if _END not in data[-65536:] and _END not in data:
        raise BadExample("the JPEG is cut short: it has no end marker")
    try:
        image: np.ndarray = decode_jpeg(data, **options)
        return image
    except ValueError as error:
        warning = error
    damage = BadExample(f"the JPEG is damaged ({_reason(warning)})")
    if not _WARNINGS.search(str(warning)):
        raise damage from warning
    height, width, _, _ = _jpeg_header(data)
    channels = 4 if colours == "CMYK" else 3
    image, other = (np.full((height, width, channels), mark, np.uint8) for mark in (0x55, 0xAA))
    try:
        for buffer in (image, other):
            decode_jpeg(data, **options, buffer=buffer, strict=False)
    except ValueError as error:
        raise BadExample(f"the JPEG is damaged ({_reason(error)})") from error
    if not np.array_equal(image, other):
        raise damage
    return image


def _as_stored(data: bytes) -> bytes:
    """The same JPEG, marked as one whose components are not YCbCr.

    So libjpeg hands luma and chroma on as they are, without turning them into colours.
    """
    copy = bytearray(data)
    for place in _segments(data):
        if data[place] in (_JFIF, _ADOBE):
            copy[place] = _COMMENT
    return bytes(copy[:2] + _NO_TRANSFORM + copy[2:])


def _segments(data: bytes) -> Iterator[int]:
    """The positions of the markers of segments before the scan, as libjpeg finds them.

    Any number of bytes FF may stand before a marker; other bytes between segments are skipped.
    """
    place = 2
    while (place := data.find(0xFF, place)) >= 0:
        while data[place : place + 1] == b"\xff":
            place += 1
        if data[place : place + 1] in (b"", _SCAN):
            return
        yield place
        place += 1 + int.from_bytes(data[place + 1 : place + 3], "big")


def _adobe_segment(data: bytes) -> int | None:
    """The position of Adobe's marker, if there is one."""
    if data.find(b"Adobe", 0, _BEFORE_PIXELS) < 0:
        return None
    of_adobe = (
        place for place in _segments(data)
        if data[place] == _ADOBE and data[place + 3 : place + 8] == b"Adobe"
    )  # fmt: skip
    return next(of_adobe, None)


def _with_known_transform(data: bytes) -> bytes:
    """Replace an unknown transform code in Adobe's segment with the code that libjpeg assumes.

    Source: ``default_decompress_parms`` in libjpeg-turbo ``src/jdapimin.c``.
    """
    place = _adobe_segment(data)
    if place is None or data[place + 14] == 0:
        return data
    frame = next((at for at in _segments(data) if data[at] in _FRAMES), None)
    code = 2 if frame is not None and data[frame + 8] == 4 else 1
    return data[: place + 14] + bytes([code]) + data[place + 15 :]


def _rgb_of_inks(inks: np.ndarray, by_adobe: bool) -> np.ndarray:
    """(H, W, 4) CMYK to (H, W, 3); Adobe's files hold inks the other way round."""
    inks = inks.astype(np.int32)
    if not by_adobe:
        inks = 255 - inks
    colours: np.ndarray = inks[..., :3] * inks[..., 3:] // 255
    return colours.astype(np.uint8)
