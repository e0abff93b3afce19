"""A preprocessing pipeline: a list of steps from an encoded image to pixels, parsed from text.

``decode tf, crop fraction 0.875, resize legacy bilinear 224``
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import numpy as np

from porting.accuracy.preprocessing.decoding import DECODERS
from porting.accuracy.preprocessing.resizing import KERNELS, RESIZERS
from porting.accuracy.preprocessing.steps import (
    Centre,
    Crop,
    Decode,
    DecodeAndCrop,
    First,
    Fraction,
    Further,
    Padded,
    Resize,
    ResizeShorter,
    Round,
    Square,
    Step,
    SwapChannels,
    WindowRule,
)
from porting.errors import BadInput
from porting.mapping.families import MNASNET, SLIM

StepCache = dict[tuple[Step, ...], np.ndarray]
"""Intermediate images of one encoded image, by the steps that made them."""


@dataclass(frozen=True)
class Pipeline:
    """Decoding and the steps after it; ``str`` gives the text that it is parsed from.

    Normalisation is not part of it: that belongs to each network's input convention.
    """

    decode: First
    steps: tuple[Further, ...]

    def __call__(self, data: bytes, cache: StepCache | None = None) -> np.ndarray:
        """Encoded image -> pixels (size, size, 3), RGB, 0..255, float32.

        ``cache`` is shared by pipelines that begin with the same steps; it must be of
        this very image, and is added to.

        Raises:
            BadExample: it cannot be decoded, or is too small.
        """
        cache = {} if cache is None else cache
        steps: tuple[Step, ...] = (self.decode,)
        if steps not in cache:
            cache[steps] = self.decode(data)
        image = cache[steps]
        for step in self.steps:
            steps = (*steps, step)
            if steps not in cache:
                cache[steps] = step(image)
            image = cache[steps]
        return np.ascontiguousarray(image, np.float32)

    @property
    def size(self) -> int | None:
        """The side in pixels of its output; None where that depends on the image."""
        size: int | None = None
        for step in (self.decode, *self.steps):
            if isinstance(step, (Crop, DecodeAndCrop)) and isinstance(step.rule, Centre):
                size = step.rule.side
            elif isinstance(step, (Resize, ResizeShorter)):
                size = step.size if isinstance(step, Resize) else None
            elif isinstance(step, Crop) and size is not None:
                size = step.rule(size, size).height
        return size

    @property
    def whole(self) -> bool:
        """Whether its pixels are whole numbers: as decoded, rounded, or resized by Pillow."""
        for step in reversed(self.steps):
            if isinstance(step, Round):
                return True
            if isinstance(step, (Resize, ResizeShorter)):
                return step.resizer == "pillow"
        return True

    def __str__(self) -> str:
        return ", ".join(map(str, (self.decode, *self.steps)))


PIPELINES: dict[str, Callable[[int], str]] = {
    "mnasnet": lambda n: MNASNET.format(size=n),
    # As from July 2019 on, and as EfficientNet has it.
    "mnasnet-bilinear": lambda n: f"decode-and-crop padded {n}+32, resize legacy bilinear {n}",
    "slim": lambda n: SLIM.format(size=n),
    # tensorflow lite/tools/evaluation/stages/image_classification_stage.cc.
    "tflite": lambda n: f"decode tf-accurate, crop square 0.875, resize legacy bilinear {n}",
    # torchvision's and timm's: the shorter side to size / 0.875, then the middle.
    "pillow": lambda n: _as_pytorch(n, "bicubic"),
    "pillow-bilinear": lambda n: _as_pytorch(n, "bilinear"),
}
"""Well-known pipelines, by the size of their output in pixels."""

CROP_SHARE = 0.875


def _as_pytorch(size: int, kernel: str) -> str:
    shorter = math.floor(size / CROP_SHARE)
    return f"decode pillow, resize-shorter pillow {kernel} {shorter}, crop centre {size}"


def named_pipeline(name: str, size: int) -> Pipeline:
    """Return the pipeline of ``PIPELINES``, or else the one that the text describes.

    Raises:
        BadInput: it is neither.
    """
    if name in PIPELINES:
        return parse_pipeline(PIPELINES[name](size))
    if " " not in name.strip():
        near = get_close_matches(name, PIPELINES, 1, 0)
        raise BadInput(
            f"preprocessing {name!r}: known are {', '.join(PIPELINES)} (nearest: {near[0]}), or "
            f"steps such as {PIPELINES['slim'](size)!r}"
        )
    return parse_pipeline(name)


def parse_pipeline(text: str) -> Pipeline:
    """Parse a pipeline from its steps, separated by commas.

    Raises:
        BadInput: a step is not known or has wrong arguments, or decoding is not the first step
            alone.
    """
    steps: list[Step] = []
    for words in (step.split() for step in text.split(",")):
        name, *rest = words or [""]
        if name not in _STEPS:
            raise BadInput(
                f"preprocessing {text!r}: step {name!r} is not known; known are {', '.join(_STEPS)}"
            )
        make, arguments_of, form = _STEPS[name]
        try:
            steps.append(make(*arguments_of(rest)))
        except (ValueError, IndexError):
            raise BadInput(
                f"preprocessing {text!r}: {' '.join(words)!r} is not understood; expected {name} "
                f"{form}"
            ) from None
    first, further = steps[0], []
    if not isinstance(first, (Decode, DecodeAndCrop)):
        raise BadInput(f"preprocessing {text!r}: the first step is {first}; expected a decode")
    for step in steps[1:]:
        if isinstance(step, (Decode, DecodeAndCrop)):
            raise BadInput(f"preprocessing {text!r}: {step} comes after pixels are decoded")
        further.append(step)
    return Pipeline(first, tuple(further))


def _rule(words: Sequence[str]) -> tuple[WindowRule]:
    kind, amount = words
    if kind == "padded":
        size, padding = amount.split("+")
        return (Padded(_pixels(size), _pixels(padding)),)
    if kind == "centre":
        return (Centre(_pixels(amount)),)
    fraction = float(amount)
    if not 0 < fraction <= 1:
        raise ValueError
    _one_of_each([kind], ("fraction", "square"))
    return (Fraction(fraction) if kind == "fraction" else Square(fraction),)


def _resizing(words: Sequence[str]) -> tuple[str, str, int]:
    resizer, kernel = _one_of_each(words[:2], RESIZERS, KERNELS)
    (size,) = words[2:]
    return resizer, kernel, _pixels(size)


def _one_of_each(words: Sequence[str], *choices: Container[str]) -> Sequence[str]:
    if not all(word in choice for word, choice in zip(words, choices, strict=True)):
        raise ValueError
    return words


def _pixels(word: str) -> int:
    count = int(word)
    if not 0 < count < 1 << 14:
        raise ValueError
    return count


_WINDOWS = "and padded SIZE+PADDING, fraction F, square F or centre PIXELS"
_RESIZE = f"and one of {', '.join(RESIZERS)}, one of {', '.join(KERNELS)}, and a number of pixels"

_STEPS: dict[str, tuple[Callable[..., Step], Callable[[Sequence[str]], Sequence[Any]], str]] = {
    "decode": (
        Decode, lambda words: _one_of_each(words, DECODERS), f"and one of {', '.join(DECODERS)}"
    ),
    "decode-and-crop": (DecodeAndCrop, _rule, _WINDOWS),
    "crop": (Crop, _rule, _WINDOWS),
    "resize": (Resize, _resizing, _RESIZE),
    "resize-shorter": (ResizeShorter, _resizing, _RESIZE),
    "round": (Round, _one_of_each, "alone"),
    "swap-channels": (SwapChannels, _one_of_each, "alone"),
}  # fmt: skip
"""For each word: its step, what reads the step's arguments, and their form for messages."""
