"""Seeded images whose classes differ in their stripes."""

from __future__ import annotations

import numpy as np


def striped_images(count, size, classes, seed=0):
    """Images (count, size, size, 3), uint8, and their classes (count,), in turn 0, 1, ...

    A class has its own direction and colour of stripes; width, phase, contrast
    and noise differ from image to image.
    """
    random = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    rows, columns = np.mgrid[:size, :size] / size
    images = []
    for label in labels:
        angle = np.pi * (label + 0.2 * random.normal()) / classes
        along = rows * np.sin(angle) + columns * np.cos(angle)
        stripes = np.sin(2 * np.pi * (random.uniform(3, 6) * along + random.random()))
        colour = np.cos(2 * np.pi * (label / classes + np.arange(3) / 3))
        image = 128 + 90 * random.uniform(0.3, 1) * stripes[..., None] * (1 + 0.5 * colour)
        image = image + 30 * random.normal(size=3) + 12 * random.normal(size=(size, size, 3))
        images.append(np.clip(np.round(image), 0, 255).astype(np.uint8))
    return np.stack(images), labels
