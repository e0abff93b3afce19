"""Images like photos, and their files in every format of data sets."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

MODES = {"grey": "L", "cmyk": "CMYK"}


def photo(height: int, width: int, seed: int = 0) -> np.ndarray:
    """(height, width, 3) uint8: coarse colours with fine noise over them."""
    generator = np.random.default_rng([seed, height, width])
    coarse = generator.integers(0, 256, (height // 8 + 2, width // 8 + 2, 3), np.uint8)
    smooth = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    noise = generator.integers(-25, 26, (height, width, 3))
    return np.clip(np.asarray(smooth).astype(int) + noise, 0, 255).astype(np.uint8)


def jpeg_of(
    height: int, width: int, kind: str = "4:2:0", seed: int = 0, quality: int = 85
) -> bytes:
    """A JPEG: ``kind`` is a subsampling, or grey, cmyk, rgb, rotated, adobe.

    ``progressive`` may stand before it; before a subsampling also ``ycck``, and
    ``stored``, by which its components are said to be colours.
    """
    how: dict[str, object] = {"quality": quality}
    if kind.startswith("progressive "):
        how["progressive"], kind = True, kind.removeprefix("progressive ")
    image = Image.fromarray(photo(height, width, seed))
    if kind in MODES:
        image = image.convert(MODES[kind])
    elif kind == "rgb":
        how["keep_rgb"] = True
    elif kind == "rotated":
        exif = Image.Exif()
        exif[0x0112] = 6  # orientation: rotated by 90 degrees
        how["exif"] = exif
    elif kind in ("4:4:0", "4:1:1"):
        from simplejpeg import encode_jpeg

        return encode_jpeg(np.asarray(image), quality, colorsubsampling=kind.replace(":", ""))
    elif kind.startswith("ycck "):
        from simplejpeg import encode_jpeg

        sampling = kind.removeprefix("ycck ").replace(":", "")
        return encode_jpeg(np.asarray(image.convert("CMYK")), quality, "CMYK", sampling)
    elif kind.startswith("stored "):
        return marked_as_adobe(jpeg_of(height, width, kind.removeprefix("stored "), seed), b"\0")
    elif kind == "adobe":
        return marked_as_adobe(jpeg_of(height, width, seed=seed))
    else:
        how["subsampling"] = kind
    return encoded(image, "JPEG", **how)


def marked_as_adobe(jpeg: bytes, transform: bytes = b"\1") -> bytes:
    """The same image with Adobe's segment as its first; 1 means YCbCr or YCCK, 0 neither."""
    length = int.from_bytes(jpeg[4:6], "big")
    segment = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00" + transform
    return jpeg[:2] + segment + jpeg[4 + length :]


def encoded(image: Image.Image, kind: str, **how: object) -> bytes:
    """The file of a picture."""
    file = io.BytesIO()
    image.save(file, kind, **how)
    return file.getvalue()
