"""Names of classes in a file beside a model, as tools for retraining write them."""

from __future__ import annotations

from pathlib import Path

LABEL_FILES = ("labels.txt", "retrained_labels.txt", "output_labels.txt")
"""Files beside a model: Teachable Machine's and Model Maker's, and those of TensorFlow for Poets
(``retrain.py`` of TF Hub's examples writes the last)."""

_LARGEST = 1 << 20
"""Most bytes of such a file; the 21,843 of ImageNet-21k take less."""


def labels_beside(file: Path) -> tuple[str, ...] | None:
    """The lines of the file of labels in a model's folder; None without a readable one.

    Teachable Machine writes the number of a class before its name: that is left off.
    """
    for name in LABEL_FILES:
        try:
            with file.with_name(name).open("rb") as stream:
                data = stream.read(_LARGEST + 1)
            lines = [line.strip() for line in data.decode("utf-8-sig").split("\n")]
        except (OSError, UnicodeDecodeError):
            continue
        while lines and not lines[-1]:
            lines.pop()
        if not lines or len(data) > _LARGEST:
            continue
        if all(line.startswith(f"{number} ") for number, line in enumerate(lines)):
            lines = [line.partition(" ")[2].strip() for line in lines]
        return tuple(lines)
    return None
