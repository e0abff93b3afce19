"""What sides answer, image by image: the five best classes, and how far apart the best two are."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

BEST = 5
ANSWERED, FAILED = 1, 2
UNANSWERED = -3
"""In the place of a class: no answer, as where the image could not be made into pixels."""


@dataclass
class Answers:
    """Answers of all sides on all images, a few bytes each.

    ``state`` (N,) is one of the two above, 0 before. ``best`` (N, sides, 5) are classes
    of the data set, the best first, -1 for a background, -3 for no answer; ``margin`` (N, sides)
    is the best score less the second. ``reasons`` says by number why an image failed.
    """

    state: np.ndarray
    best: np.ndarray
    margin: np.ndarray
    reasons: dict[int, str] = field(default_factory=dict)

    @classmethod
    def none_of(cls, images: int, sides: int) -> Answers:
        """No answer yet."""
        return cls(
            np.zeros(images, np.uint8),
            np.full((images, sides, BEST), UNANSWERED, np.int16),
            np.zeros((images, sides), np.float32),
        )


def best_of(scores: np.ndarray, background: int) -> tuple[np.ndarray, np.ndarray]:
    """The five best classes (N, 5) and the margin of the first (N,) of scores (N, classes).

    Of equal scores the class with the lower number is first. A network of fewer
    classes has -2 in what is left over.
    """
    order = np.argsort(-scores, axis=1, kind="stable")[:, :BEST]
    best = np.full((len(scores), BEST), -2, np.int16)
    best[:, : order.shape[1]] = order - background
    first, second = np.take_along_axis(scores, order[:, :2], 1).T
    return best, (first - second).astype(np.float32)
