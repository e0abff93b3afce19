"""How images become pixels, by the evaluation code of a family's authors: as text alone.

``porting.accuracy.preprocessing`` carries such a text out, and has what its words mean.
"""

from __future__ import annotations

MNASNET = "decode-and-crop padded {size}+32, resize legacy bicubic {size}"
"""tensorflow/tpu ``models/official/mnasnet/preprocessing.py``; bicubic until July 2019."""

SLIM = "decode tf, crop fraction 0.875, resize legacy bilinear {size}"
"""``preprocess_for_eval`` of slim's ``inception_preprocessing.py`` (tensorflow/models)."""

FAMILIES = {"mobilenet": SLIM, "": MNASNET}
"""Start of a network's plain name -> how its family's authors evaluate."""


def preprocessing_of(model: str, size: int) -> str:
    """The text for a network's plain name (without ``tf_``), at a size in pixels."""
    text = next(text for start, text in FAMILIES.items() if model.startswith(start))
    return text.format(size=size)
