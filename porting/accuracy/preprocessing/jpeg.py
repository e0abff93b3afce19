"""JPEG as TensorFlow decodes it: the fast integer DCT and smoothed ("fancy") chroma.

libjpeg-turbo does the work, as it does in TensorFlow, and gives the same bytes.
Cropping while decoding is not offered to Python by it; what differs from a slice
of the whole image is made good here. Sources: ``tensorflow/core/lib/jpeg/jpeg_mem.cc``;
``jpeg_crop_scanline`` in libjpeg-turbo ``src/jdapistd.c``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from porting.accuracy.preprocessing.windows import Window
from porting.errors import BadExample

_START, _END = b"\xff\xd8", b"\xff\xd9"
_SUBSAMPLED = {"420": True, "422": False}
"""Chroma of half the columns -> whether it has half the rows as well."""

_OF_INKS, _OF_CHROMA = ("CMYK", "YCCK"), ("YCbCr", "YCCK")
"""Components that are inks, and those of which the second and third are chroma."""

_NEVER_SMOOTHED = 4
"""Up to this width in pixels libjpeg repeats chroma, and a window's edge shows nowhere."""

_NO_TRANSFORM = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00"
"""An APP14 segment of Adobe's that says: the components are no YCbCr. See :func:`_as_stored`."""

_JFIF, _ADOBE, _COMMENT, _SCAN = 0xE0, 0xEE, 0xFE, b"\xda"

_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""What begins a frame: of it the ninth byte behind the marker is the number of components."""

_BEFORE_PIXELS = 1 << 17
"""Bytes among which Adobe's segment is looked for; behind it a scan has begun, or profiles lie."""

_TOLERATED = re.compile(
    r"extraneous bytes|data segment|RST|Huffman|JFIF|Adobe|SOS param|progression|component ID"
)
"""What libjpeg only warns of; TensorFlow takes the image all the same."""


def is_jpeg(data: bytes) -> bool:
    """Whether it begins as a JPEG does."""
    return data[:2] == _START


def jpeg_size(data: bytes) -> tuple[int, int]:
    """Height and width.

    Raises:
        BadExample: the header is damaged, or of a kind that is not read.
    """
    height, width, _, _ = _header(_with_known_transform(data))
    return height, width


def decode(data: bytes, fast: bool = True) -> np.ndarray:
    """The whole image, (H, W, 3) uint8, as ``tf.io.decode_jpeg(data, channels=3)``.

    Without ``fast`` it is as with ``dct_method="INTEGER_ACCURATE"``.

    Raises:
        BadExample: it is cut short, damaged, or of a kind that is not read.
    """
    data = _with_known_transform(data)
    _, _, colours, _ = _header(data)
    if colours in _OF_INKS:
        return _rgb_of_inks(_decoded(data, "CMYK", fast), _adobe_segment(data) is not None)
    return _decoded(data, "RGB", fast)


def decode_and_crop(data: bytes, window: Window) -> np.ndarray:
    """A window, (height, width, 3) uint8, as ``tf.io.decode_and_crop_jpeg`` gives it.

    The decoder takes the window's right edge, and the place from which it
    decodes, for the image's, where it smooths chroma. That shows in a last
    column that is the first of two over one sample, and in a first column that
    the decoder begins with; elsewhere a slice is the same.
    """
    data = _with_known_transform(data)
    _, width, colours, sampling = _header(data)
    end, halves_rows = window.left + window.width, _SUBSAMPLED.get(sampling)
    start = window.left // 16 * 16  # where a block of luma and chroma begins
    differs = (end % 2 == 0 and end < width) or (window.left == start > 0) or end - start <= 2
    if halves_rows is None or not differs or width <= _NEVER_SMOOTHED:
        image = decode(data)
        return image[window.top : window.top + window.height, window.left : end]
    return _smoothed_within(data, window, colours, start, halves_rows)


def _smoothed_within(
    data: bytes, window: Window, colours: str, start: int, halves_rows: bool
) -> np.ndarray:
    """A window's colours, no chroma of it smoothed beyond the window's edge."""
    from porting.accuracy.preprocessing.kernels import colours_of_window

    inks = colours in _OF_INKS
    planes = _decoded(_as_stored(data), "CMYK" if inks else "RGB", smooth=False)
    found = colours_of_window(
        planes, window.top, window.left, window.height, window.width, start, halves_rows,
        colours in _OF_CHROMA,
    )  # fmt: skip
    if not inks:
        return found
    if colours in _OF_CHROMA:
        found = 255 - found  # libjpeg's ycck_cmyk_convert: the inks of the colours
    rows = slice(window.top, window.top + window.height)
    black = planes[rows, window.left : window.left + window.width, 3:]
    return _rgb_of_inks(np.concatenate([found, black], axis=2), _adobe_segment(data) is not None)


def _header(data: bytes) -> tuple[int, int, str, str]:
    """Height, width, colours and how they are sampled."""
    from simplejpeg import decode_jpeg_header

    try:
        height, width, colours, sampling = decode_jpeg_header(data, strict=False)
    except KeyError:  # of the library's table of samplings, or of colours
        raise BadExample("a JPEG of components that are not sampled as usual") from None
    except ValueError as error:
        raise BadExample(f"no JPEG that can be read ({_said(error)})") from error
    return int(height), int(width), str(colours), str(sampling)


def _decoded(data: bytes, colours: str, fast: bool = True, smooth: bool = True) -> np.ndarray:
    from simplejpeg import decode_jpeg

    how = {"colorspace": colours, "fastdct": fast, "fastupsample": not smooth}
    if _END not in data[-65536:] and _END not in data:
        raise BadExample("the JPEG is cut short: it has no end marker")
    try:
        image: np.ndarray = decode_jpeg(data, **how)
    except ValueError as error:
        if not _TOLERATED.search(str(error)):
            raise BadExample(f"the JPEG is damaged ({_said(error)})") from error
        return _in_spite_of_a_warning(data, how, error)
    return image


def _in_spite_of_a_warning(data: bytes, how: dict[str, Any], warning: ValueError) -> np.ndarray:
    """Decode what libjpeg warns of.

    The library may be silent then also where the decoder gives up; that shows
    in rows that are left as they were before.
    """
    from simplejpeg import decode_jpeg

    height, width, _, _ = _header(data)
    channels = 4 if how["colorspace"] == "CMYK" else 3
    image, other = (np.full((height, width, channels), mark, np.uint8) for mark in (0x55, 0xAA))
    try:
        for buffer in (image, other):
            decode_jpeg(data, **how, buffer=buffer, strict=False)
    except ValueError as error:
        raise BadExample(f"the JPEG is damaged ({_said(error)})") from error
    if not np.array_equal(image, other):
        raise BadExample(f"the JPEG is damaged ({_said(warning)})")
    return image


def _said(error: Exception) -> str:
    return re.sub(r"^tj\w+\(\): ", "", " ".join(str(error).split()))


def _as_stored(data: bytes) -> bytes:
    """The same JPEG, saying that its components are no YCbCr.

    So libjpeg hands luma and chroma on as they are, without turning them into colours.
    """
    changed = bytearray(data)
    for place in _segments(data):
        if data[place] in (_JFIF, _ADOBE):
            changed[place] = _COMMENT
    return bytes(changed[:2] + _NO_TRANSFORM + changed[2:])


def _segments(data: bytes) -> Iterator[int]:
    """Where the markers of the segments before the scan stand, as libjpeg finds them.

    Any number of bytes FF may stand before a marker, and what is no FF is passed over.
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
    """Where Adobe's marker stands, if there is one."""
    if data.find(b"Adobe", 0, _BEFORE_PIXELS) < 0:
        return None
    of_adobe = (
        place for place in _segments(data)
        if data[place] == _ADOBE and data[place + 3 : place + 8] == b"Adobe"
    )  # fmt: skip
    return next(of_adobe, None)


def _with_known_transform(data: bytes) -> bytes:
    """The same JPEG, where Adobe's segment has a code that nobody knows with the one libjpeg takes.

    Source: ``default_decompress_parms`` in libjpeg-turbo ``src/jdapimin.c``.
    """
    place = _adobe_segment(data)
    if place is None or data[place + 14] == 0:
        return data
    frame = next((at for at in _segments(data) if data[at] in _FRAMES), None)
    code = 2 if frame is not None and data[frame + 8] == 4 else 1
    return (
        data
        if data[place + 14] == code
        else data[: place + 14] + bytes([code]) + data[place + 15 :]
    )


def _rgb_of_inks(inks: np.ndarray, inverted: bool) -> np.ndarray:
    """(H, W, 4) CMYK to (H, W, 3); Adobe's files hold inks the other way round."""
    inks = inks.astype(np.int32)
    if not inverted:
        inks = 255 - inks
    colours: np.ndarray = inks[..., :3] * inks[..., 3:] // 255
    return colours.astype(np.uint8)
