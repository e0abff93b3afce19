"""How the authors of each family preprocess images: from file to pixels to network input.

The steps to pixels are text alone here; ``porting.accuracy.preprocessing`` carries
such a text out, and has what its words mean.
"""

from __future__ import annotations

from dataclasses import dataclass

from genmobilenet.config import SEPARATOR

Affine = tuple[tuple[float, ...], tuple[float, ...]]
"""Mean and standard deviation of pixels 0..255, a channel each."""

IMAGENET: Affine = (
    (0.485 * 255, 0.456 * 255, 0.406 * 255),
    (0.229 * 255, 0.224 * 255, 0.225 * 255),
)
"""``MEAN_RGB`` and ``STDDEV_RGB`` in tensorflow/tpu ``mnasnet_main.py``."""

INCEPTION: Affine = ((127.5,) * 3, (127.5,) * 3)
"""Pixels to [-1, 1]: ``inception_preprocessing.py`` in tensorflow/models research/slim."""

LITE: Affine = ((127.0,) * 3, (128.0,) * 3)
"""``MEAN_RGB`` and ``STDDEV_RGB`` in tensorflow/tpu ``efficientnet_lite_builder.py`` and
``efficientnet_edgetpu_builder.py``."""

MNASNET = "decode-and-crop padded {size}+32, resize legacy bicubic {size}"
"""tensorflow/tpu ``models/official/mnasnet/preprocessing.py``; bicubic until July 2019.

That of ``models/official/efficientnet`` was its copy, and has stayed bicubic."""

SLIM = "decode tf, crop fraction 0.875, resize legacy bilinear {size}"
"""``preprocess_for_eval`` of slim's ``inception_preprocessing.py`` (tensorflow/models)."""

ROUNDED = ", round"
"""Appended to the steps of a network whose input is bytes."""


@dataclass(frozen=True)
class Family:
    """``steps`` make pixels of an image, ``affine`` normalises those."""

    steps: str
    affine: Affine

    def preprocessing(self, size: int) -> str:
        """The text of the steps for a size in pixels."""
        return self.steps.format(size=size)


FAMILIES = {
    "mobilenet": Family(SLIM, INCEPTION),
    "efficientnet_lite": Family(MNASNET, LITE),
    "efficientnet_e": Family(MNASNET, LITE),
    "": Family(MNASNET, IMAGENET),
}
"""By the start of a network's plain name."""

ASSUMED = FAMILIES["mobilenet"]
"""The family assumed for an unknown network, whose input is [-1, 1]."""


def family_of(model: str) -> Family | None:
    """The family of a network by its name (``tf_`` in front or not); None for its own strings."""
    if SEPARATOR in model:
        return None
    plain = model.removeprefix("tf_")
    return next(family for start, family in FAMILIES.items() if plain.startswith(start))
