"""Pipelines as text: ``decode tf, crop fraction 0.875, resize legacy bilinear 224``."""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Sequence
from difflib import get_close_matches
from typing import cast

from porting.accuracy.preprocessing.pipeline import Pipeline
from porting.accuracy.preprocessing.resizing import KERNELS, RESIZERS
from porting.accuracy.preprocessing.steps import (
    DECODERS,
    Crop,
    Decode,
    DecodeAndCrop,
    First,
    Further,
    Resize,
    ResizeShorter,
    Round,
    Step,
    SwapChannels,
)
from porting.accuracy.preprocessing.windows import Centre, Fraction, Padded, Square, WindowRule
from porting.errors import BadInput
from porting.mapping.families import MNASNET, SLIM

NAMED: dict[str, Callable[[int], str]] = {
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
    """One of ``NAMED``, or, where it is no name, the pipeline that the text describes.

    Raises:
        BadInput: it is neither.
    """
    if name in NAMED:
        return parse_pipeline(NAMED[name](size))
    if " " not in name.strip():
        near = get_close_matches(name, NAMED, 1, 0)
        raise BadInput(
            f"preprocessing {name!r}: known are {', '.join(NAMED)} (nearest: {near[0]}), or steps "
            f"such as {NAMED['slim'](size)!r}"
        )
    return parse_pipeline(name)


def parse_pipeline(text: str) -> Pipeline:
    """The pipeline that a text describes, steps separated by commas.

    Raises:
        BadInput: a step is not known or wants other words, or they stand in an order that means
            nothing.
    """
    steps = [_parse_step(step.split(), text) for step in text.split(",")]
    first, *further = steps
    if not isinstance(first, (Decode, DecodeAndCrop)):
        raise BadInput(f"preprocessing {text!r}: the first step is {first}; expected a decode")
    for step in further:
        if isinstance(step, (Decode, DecodeAndCrop)):
            raise BadInput(f"preprocessing {text!r}: {step} comes after pixels are decoded")
    return Pipeline(cast(First, first), tuple(cast("list[Further]", further)))


def _parse_step(words: Sequence[str], text: str) -> Step:
    name, *rest = words or [""]
    try:
        return _STEPS[name](rest)
    except KeyError:
        raise BadInput(
            f"preprocessing {text!r}: step {name!r} is not known; known are {', '.join(_STEPS)}"
        ) from None
    except (ValueError, IndexError):
        raise BadInput(
            f"preprocessing {text!r}: {' '.join(words)!r} is not understood; expected "
            f"{_FORMS[name]}"
        ) from None


def _decode(words: Sequence[str]) -> Step:
    (decoder,) = words
    return Decode(_one_of(decoder, DECODERS))


def _rule(words: Sequence[str]) -> WindowRule:
    kind, amount = words
    if kind == "padded":
        size, padding = amount.split("+")
        return Padded(_pixels(size), _pixels(padding))
    if kind == "centre":
        return Centre(_pixels(amount))
    fraction = float(amount)
    if not 0 < fraction <= 1:
        raise ValueError
    if _one_of(kind, ("fraction", "square")) == "fraction":
        return Fraction(fraction)
    return Square(fraction)


def _resizing(words: Sequence[str]) -> tuple[str, str, int]:
    resizer, kernel, size = words
    return _one_of(resizer, RESIZERS), _one_of(kernel, KERNELS), _pixels(size)


def _alone(words: Sequence[str], step: Step) -> Step:
    if words:
        raise ValueError
    return step


def _one_of(word: str, known: Container[str]) -> str:
    if word not in known:
        raise ValueError
    return word


def _pixels(word: str) -> int:
    count = int(word)
    if not 0 < count < 1 << 14:
        raise ValueError
    return count


_STEPS: dict[str, Callable[[Sequence[str]], Step]] = {
    "decode": _decode,
    "decode-and-crop": lambda words: DecodeAndCrop(_rule(words)),
    "crop": lambda words: Crop(_rule(words)),
    "resize": lambda words: Resize(*_resizing(words)),
    "resize-shorter": lambda words: ResizeShorter(*_resizing(words)),
    "round": lambda words: _alone(words, Round()),
    "swap-channels": lambda words: _alone(words, SwapChannels()),
}

_WINDOWS = "padded SIZE+PADDING, fraction F, square F or centre PIXELS"
_RESIZE = f"one of {', '.join(RESIZERS)}, one of {', '.join(KERNELS)}, and a number of pixels"
_FORMS = {
    "decode": f"decode and one of {', '.join(DECODERS)}",
    "decode-and-crop": f"decode-and-crop and {_WINDOWS}",
    "crop": f"crop and {_WINDOWS}",
    "resize": f"resize and {_RESIZE}",
    "resize-shorter": f"resize-shorter and {_RESIZE}",
    "round": "round alone",
    "swap-channels": "swap-channels alone",
}
