"""Images to compare on: a folder's, arrays, or built-in ones, read one by one."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Iterable, Iterator
from importlib import resources
from itertools import chain, islice
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from porting.errors import BadInput

Images = np.ndarray | Iterable[np.ndarray] | str | PathLike[str]
"""A folder, an array (N, H, W, C), or arrays (H, W, C) one after another; values 0..255."""

SUFFIXES = (
    ".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".ppm", ".tif", ".tiff", ".avif", ".heic",
    ".heif", ".jp2",
)  # fmt: skip
"""What the name of an image ends with; those that Pillow cannot read are skipped and named."""
SEED = 0
"""Of random images, where no other is given."""

INPUTS = 10
"""Built-in images of a comparison: the photographs, and random images for the rest."""

PHOTOGRAPHS = (
    "cameraman.jpg", "astronaut.jpg", "shore.jpg", "cat.jpg",
    "rocket.jpg", "dandelion.jpg", "coffee.jpg", "blossom.jpg",
)  # fmt: skip
"""Files of ``photos/``, in the order of use; ``photos/LICENSES.md`` names their authors."""

THUMBNAILS, THUMBNAIL_SIDE = 12, 96
_CROP = 0.875  # of the shorter side, as is usual for 224 pixels


class ImageStream:
    """A sequence of images, each (H, W, C), uint8.

    ``total`` is how many there are, None if unknown; ``what`` says
    where they come from. While they pass, ``thumbnails`` (JPEG as data URIs)
    and ``skipped`` (name, reason) fill.
    """

    def __init__(self, images: Iterable[np.ndarray], total: int | None, what: str) -> None:
        self._images, self.total, self.what = images, total, what
        self.thumbnails: list[str] = []
        self.skipped: list[tuple[str, str]] = []

    def __iter__(self) -> Iterator[np.ndarray]:
        for image in self._images:
            if len(self.thumbnails) < THUMBNAILS:
                self.thumbnails.append(thumbnail(image))
            yield image

    def plain(self) -> Iterator[np.ndarray]:
        """The images alone, without thumbnails."""
        yield from self._images


def image_stream(
    images: Images | None, count: int, size: int, channels: int, any_size: bool = False,
    random_only: bool = False,
) -> ImageStream:  # fmt: skip
    """The stream that a user's images stand for; without any, ``count`` built-in ones.

    Built-in are the photographs of the package first, then random images, or with
    ``random_only`` random images alone. Photographs and the images of a folder are
    scaled and cropped to ``size``; arrays are taken as they are, and must have
    that size, unless the network takes ``any_size``.

    Raises:
        BadInput: there are none, or an array is of another shape or kind; of
            arrays given one by one, when the wrong one's turn comes.
    """
    if images is None:
        photographs = 0 if random_only else min(count, len(PHOTOGRAPHS))
        return _built_in_stream(photographs, count - photographs, size, channels)
    if isinstance(images, (str, PathLike)):
        return _folder_stream(Path(images), size, channels)
    if isinstance(images, np.ndarray):
        if images.ndim != 4 or images.shape[3] != channels or not len(images):
            raise BadInput(
                f"images are an array of shape {images.shape}; expected (N, H, W, {channels}) "
                "with N at least 1"
            )
        total, what = len(images), f"{len(images)} images given as an array"
    else:
        total, what = None, "images given one by one"
        if not isinstance(images, Iterable):
            raise BadInput(f"images are a {type(images).__name__}; expected a folder or arrays")
    side = None if any_size else size
    return ImageStream(_check_arrays(images, side, channels), total, what)


def _built_in_stream(
    photograph_count: int, random_count: int, size: int, channels: int
) -> ImageStream:
    parts = []
    if photograph_count:
        parts.append(f"{_count_text(photograph_count, 'photograph')} (set {photographs_version()})")
    if random_count or not photograph_count:
        parts.append(f"{_count_text(random_count, 'random image')} (seed {SEED})")
    images = chain(
        islice(photograph_images(size, channels), photograph_count),
        seeded_images(random_count, size, channels),
    )
    return ImageStream(images, photograph_count + random_count, " and ".join(parts))


def _count_text(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def photograph_files() -> tuple[bytes, ...]:
    """The files in the order of use, each a JPEG."""
    folder = resources.files("porting.parity").joinpath("photos")
    return tuple(folder.joinpath(name).read_bytes() for name in PHOTOGRAPHS)


def photographs_version() -> str:
    """The first eight hexadecimal digits of the SHA-256 of all files in a row."""
    return hashlib.sha256(b"".join(photograph_files())).hexdigest()[:8]


def photograph_images(size: int, channels: int = 3) -> Iterator[np.ndarray]:
    """The photographs of the package (size, size, channels), uint8, decoded one by one.

    One channel is grey; other numbers than 1 and 3 take red, green and blue in turn.
    """
    colours = np.arange(channels) % 3
    for file in photograph_files():
        pixels = _decode_image(io.BytesIO(file), size, 1 if channels == 1 else 3)
        yield pixels if channels in (1, 3) else pixels[..., colours]


def _check_arrays(images: Iterable[Any], side: int | None, channels: int) -> Iterator[np.ndarray]:
    shape = f"({side or 'H'}, {side or 'W'}, {channels})"
    for number, image in enumerate(images):
        if not isinstance(image, np.ndarray):
            problem = type(image).__name__
        elif (
            image.ndim != 3
            or image.shape[2] != channels
            or image.size == 0
            or (side is not None and image.shape[:2] != (side, side))
        ):
            problem = f"an array of shape {image.shape}"
        elif image.dtype.kind not in "uif" or not np.isfinite(image).all():
            problem = f"an array of {image.dtype} that are not all finite numbers"
        else:
            yield image
            continue
        raise BadInput(f"image {number} is {problem}; expected an array {shape}, values 0..255")


def seeded_pixels(count: int, size: int, channels: int = 3, seed: int = SEED) -> np.ndarray:
    """The images of :func:`seeded_images` in one array (count, size, size, channels)."""
    return np.stack(list(seeded_images(count, size, channels, seed)))


def seeded_images(
    count: int, size: int, channels: int = 3, seed: int = SEED
) -> Iterator[np.ndarray]:
    """Random images (size, size, channels), uint8, generated one by one.

    Coarse structure with fine noise over it, so that every receptive field,
    the last stage's included, sees something that varies.
    """
    generator = np.random.default_rng(seed)
    for _ in range(count):
        values = np.zeros((size, size, channels))
        for cells, weight in ((2, 0.3), (7, 0.3), (29, 0.25)):
            coarse = generator.random((cells, cells, channels))
            place = np.arange(size) * cells // size
            values += weight * coarse[place][:, place]
        values += 0.15 * generator.random(values.shape)
        yield np.round(255 * values).astype(np.uint8)


def _folder_stream(folder: Path, size: int, channels: int) -> ImageStream:
    try:
        if not folder.is_dir():
            raise BadInput(f"{folder}: not a folder of images")
        files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)
    except OSError as error:
        raise BadInput(f"{folder}: cannot be read: {error.strerror or error}") from error
    if not files:
        raise BadInput(f"{folder}: no image in it; known are {', '.join(SUFFIXES)}")
    stream = ImageStream((), len(files), f"{len(files)} images of {folder.name or folder}")

    def decoded() -> Iterator[np.ndarray]:
        from PIL.Image import DecompressionBombError

        for file in files:
            try:
                yield _decode_image(file, size, channels)
            except (OSError, ValueError, SyntaxError, DecompressionBombError) as error:
                # Pillow raises SyntaxError for some broken PNG files.
                reason = str(error).replace(f"'{file}'", "").strip()
                stream.skipped.append((str(file.relative_to(folder)), reason))
        if len(stream.skipped) == len(files):
            name, reason = stream.skipped[0]
            raise BadInput(f"{folder}: none of its images can be read; {name}: {reason}")

    stream._images = decoded()
    return stream


def _decode_image(file: Path | BinaryIO, size: int, channels: int) -> np.ndarray:
    """One file as (size, size, channels): shorter side scaled, middle cropped."""
    from PIL import Image

    with Image.open(file) as file_image:
        image = file_image.convert("L" if channels == 1 else "RGB")
    side = min(image.size) * _CROP
    left, top = ((length - side) / 2 for length in image.size)
    box = (left, top, left + side, top + side)
    image = image.resize((size, size), Image.Resampling.BILINEAR, box)
    return np.asarray(image).reshape(size, size, channels)


def thumbnail(image: np.ndarray, side: int = THUMBNAIL_SIDE) -> str:
    """An image (H, W, 1 or 3), values 0..255, as a JPEG of at most ``side`` pixels: a data URI."""
    from PIL import Image

    pixels = np.clip(image, 0, 255).astype(np.uint8)
    picture = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels[..., :3])
    picture.thumbnail((side, side))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
