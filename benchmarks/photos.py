"""JPEGs to measure on: real photos if ``PORTING_ARTIFACTS`` has some, else synthetic ones."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np

SIZES = ((375, 500), (500, 375), (333, 500), (375, 500), (500, 500), (480, 640))
"""Typical heights and widths of ImageNet's photos, in pixels."""


def photos(count: int) -> list[bytes]:
    """``count`` encoded photos; real ones are repeated if there are fewer."""
    folder = Path(os.environ.get("PORTING_ARTIFACTS", "nowhere"), "images")
    photos = [file.read_bytes() for file in sorted(folder.glob("*.JPEG"))]
    photos = photos or [_synthetic(number) for number in range(48)]
    return [photos[number % len(photos)] for number in range(count)]


def write_photos(folder: Path, count: int) -> None:
    """Write ``count`` photos into folders by synset, as in a data set."""
    from porting.accuracy.datasets.classes import imagenet

    names = imagenet().names
    assert names is not None  # ImageNet's are known
    for number, data in enumerate(photos(count)):
        place = folder / names[number % len(names)]
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number:06}.JPEG").write_bytes(data)


def _synthetic(number: int) -> bytes:
    """A synthetic picture with as much detail as a photo: about 110 KB."""
    from PIL import Image

    height, width = SIZES[number % len(SIZES)]
    generator = np.random.default_rng(number)
    coarse = generator.integers(0, 256, (height // 8, width // 8, 3), np.uint8)
    smooth = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    values = np.asarray(smooth) + generator.normal(0, 12, (height, width, 3))
    file = io.BytesIO()
    picture = Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))
    picture.save(file, "JPEG", quality=88, subsampling="4:2:0")
    return file.getvalue()
