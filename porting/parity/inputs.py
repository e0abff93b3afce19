"""Seeded pixels to compare on where no image is given."""

from __future__ import annotations

import numpy as np


def seeded_pixels(count: int, size: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    """Random images (count, size, size, channels), uint8.

    Coarse structure with fine noise over it, so that every receptive field,
    the last stage's included, sees something that varies.
    """
    generator = np.random.default_rng(seed)
    pixels = np.zeros((count, size, size, channels))
    for cells, weight in ((2, 0.3), (7, 0.3), (29, 0.25)):
        coarse = generator.random((count, cells, cells, channels))
        place = np.arange(size) * cells // size
        pixels += weight * coarse[:, place][:, :, place]
    pixels += 0.15 * generator.random(pixels.shape)
    return np.round(255 * pixels).astype(np.uint8)
