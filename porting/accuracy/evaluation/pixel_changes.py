"""What can be changed in how pixels are made, one thing at a time: a table of topics.

Each change is a function from a pipeline to another; it gives None where it means
nothing for that pipeline.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

from porting.accuracy.preprocessing import Pipeline, parse_pipeline
from porting.accuracy.preprocessing.pipeline import CROP_SHARE
from porting.accuracy.preprocessing.steps import (
    Centre,
    Crop,
    Decode,
    DecodeAndCrop,
    Fraction,
    Further,
    Padded,
    Resize,
    ResizeShorter,
    Round,
    Square,
    SwapChannels,
    WindowRule,
)

PixelChange = Callable[[Pipeline], Pipeline | None]

TPU_PADDING = 32
"""``CROP_PADDING`` in tensorflow/tpu ``models/official/mnasnet/preprocessing.py``, in pixels."""

DECODERS = {
    "tf": "TensorFlow's fast DCT",
    "tf-accurate": "TensorFlow's accurate DCT",
    "pillow": "Pillow's decoder",
}
RESIZERS = {
    "legacy": "TensorFlow 1's",
    "tf2": "TensorFlow 2's",
    "tf2-antialiased": "TensorFlow 2's antialiased",
    "pillow": "Pillow's antialiased",
}


@dataclass(frozen=True)
class PixelTopic:
    """One thing about pixels: ``said`` puts a pipeline's way into words, ``changes`` are others.

    ``without`` says why there may be no change of it.
    """

    name: str
    what: str
    said: Callable[[Pipeline], str]
    changes: tuple[PixelChange, ...]
    without: str


def changed_pipelines(topic: PixelTopic, text: str) -> Iterator[tuple[str, PixelChange]]:
    """Every change of a topic that means something for a pipeline's text, and its words.

    What is about anything but rounding leaves whole pixels whole.
    """
    before = parse_pipeline(text)
    seen = {text}
    rounds = topic.name == ROUNDING
    for change in (made if rounds else partial(_kept_whole, made) for made in topic.changes):
        after = change(before)
        if after is not None and str(after) not in seen:
            seen.add(str(after))
            yield f"{topic.said(after)} for {topic.said(before)}", change


def _kept_whole(change: PixelChange, pipeline: Pipeline) -> Pipeline | None:
    after = change(pipeline)
    if after is None or after.whole or not pipeline.whole:
        return after
    return replace(after, steps=(*after.steps, Round()))


def _resizing(pipeline: Pipeline) -> Resize | ResizeShorter | None:
    """The one step that resizes, or None where there is none, or several."""
    found = [step for step in pipeline.steps if isinstance(step, (Resize, ResizeShorter))]
    return found[0] if len(found) == 1 else None


def _decoded(decoder: str, pipeline: Pipeline) -> Pipeline | None:
    """A window that one decoder cuts is, with another, a slice of the whole image."""
    decode = pipeline.decode
    if isinstance(decode, DecodeAndCrop):
        if decoder == "tf":
            return None
        return Pipeline(Decode(decoder), (Crop(decode.rule), *pipeline.steps))
    return replace(pipeline, decode=Decode(decoder))


def _decoder_said(pipeline: Pipeline) -> str:
    return DECODERS[getattr(pipeline.decode, "decoder", "tf")]


def _cropped(rule_of: Callable[[int], WindowRule], pipeline: Pipeline) -> Pipeline | None:
    """Another window, cut where the first was: by the decoder, or after it."""
    resize = _resizing(pipeline)
    if resize is None:
        return None
    size = pipeline.size or resize.size
    rule = rule_of(size)
    rest = _with_resize(_uncropped(pipeline), Resize(resize.resizer, resize.kernel, size))
    if isinstance(pipeline.decode, DecodeAndCrop):
        return Pipeline(DecodeAndCrop(rule), rest)
    return Pipeline(pipeline.decode, (Crop(rule), *rest))


def _cropped_as_torchvision(pipeline: Pipeline) -> Pipeline | None:
    """The shorter side to size / 0.875, then the middle."""
    resize = _resizing(pipeline)
    if resize is None:
        return None
    size = pipeline.size or resize.size
    shorter = ResizeShorter(resize.resizer, resize.kernel, math.floor(size / CROP_SHARE))
    rest = _with_resize(_uncropped(pipeline), shorter, Crop(Centre(size)))
    decode = pipeline.decode
    return Pipeline(Decode("tf") if isinstance(decode, DecodeAndCrop) else decode, rest)


def _cropped_elsewhere(pipeline: Pipeline) -> Pipeline | None:
    """The same window by the decoder in place of a slice, or the other way round."""
    decode, first = pipeline.decode, next(iter(pipeline.steps), None)
    if isinstance(decode, DecodeAndCrop):
        return Pipeline(Decode("tf"), (Crop(decode.rule), *pipeline.steps))
    if decode == Decode("tf") and isinstance(first, Crop) and not isinstance(first.rule, Centre):
        return Pipeline(DecodeAndCrop(first.rule), pipeline.steps[1:])
    return None


def _uncropped(pipeline: Pipeline) -> tuple[Further, ...]:
    return tuple(step for step in pipeline.steps if not isinstance(step, Crop))


def _with_resize(steps: tuple[Further, ...], *instead: Further) -> tuple[Further, ...]:
    """Steps with others in the place of the one that resizes."""
    place = next(n for n, s in enumerate(steps) if isinstance(s, (Resize, ResizeShorter)))
    return (*steps[:place], *instead, *steps[place + 1 :])


def _crop_said(pipeline: Pipeline) -> str:
    if isinstance(pipeline.decode, DecodeAndCrop):
        return f"{pipeline.decode.rule} by the decoder"
    rules = " and ".join(str(step.rule) for step in pipeline.steps if isinstance(step, Crop))
    resize = _resizing(pipeline)
    if isinstance(resize, ResizeShorter):
        return f"torchvision's ({resize.size}, {rules or 'no crop'})"
    return f"{rules} as a slice" if rules else "no crop"


def _resized(
    pipeline: Pipeline, kernel: str | None = None, resizer: str | None = None,
    of: tuple[str, ...] = tuple(RESIZERS),
) -> Pipeline | None:  # fmt: skip
    """Another kernel or another's way, where it is resized by one of ``of``."""
    before = _resizing(pipeline)
    if before is None or before.resizer not in of:
        return None
    after = replace(before, kernel=kernel or before.kernel, resizer=resizer or before.resizer)
    return replace(pipeline, steps=_with_resize(pipeline.steps, after))


def _resize_said(pipeline: Pipeline) -> str:
    resize = _resizing(pipeline)
    return "none" if resize is None else f"{RESIZERS[resize.resizer]} {resize.kernel}"


def _rounded(pipeline: Pipeline) -> Pipeline | None:
    """With the step ``round``; no change where pixels are whole anyhow."""
    return None if pipeline.whole else _with(Round(), pipeline)


def _unrounded(pipeline: Pipeline) -> Pipeline | None:
    """Without that step; no change where pixels are whole without it."""
    after = _without(Round(), pipeline)
    return None if after is None or after.whole else after


def _with(step: Further, pipeline: Pipeline) -> Pipeline | None:
    """With a step at the end; None where it is there already."""
    if step in pipeline.steps:
        return None
    return replace(pipeline, steps=(*pipeline.steps, step))


def _without(step: Further, pipeline: Pipeline) -> Pipeline | None:
    """Without a step; None where it is not there."""
    if step not in pipeline.steps:
        return None
    return replace(pipeline, steps=tuple(other for other in pipeline.steps if other != step))


def _rounding_said(pipeline: Pipeline) -> str:
    return "rounded" if any(isinstance(s, Round) for s in pipeline.steps) else "unrounded"


def _channels_said(pipeline: Pipeline) -> str:
    return "BGR" if any(isinstance(s, SwapChannels) for s in pipeline.steps) else "RGB"


ROUNDING = "rounding"
NO_ONE_RESIZE = "the steps have no resize, or several"

PARTS = (
    PixelTopic(
        "decoder", "how a JPEG's bytes become pixels", _decoder_said,
        tuple(partial(_decoded, name) for name in DECODERS), "",
    ),
    PixelTopic(
        "crop", "which part of the image is kept, and where it is cut", _crop_said,
        (
            partial(_cropped, partial(Padded, padding=TPU_PADDING)),
            partial(_cropped, lambda _: Fraction(CROP_SHARE)),
            partial(_cropped, lambda _: Square(CROP_SHARE)),
            _cropped_as_torchvision,
            _cropped_elsewhere,
        ),
        NO_ONE_RESIZE,
    ),
    PixelTopic(
        "resize", "the kernel", _resize_said,
        (partial(_resized, kernel="bilinear"), partial(_resized, kernel="bicubic")),
        NO_ONE_RESIZE,
    ),
    PixelTopic(
        "coordinates", "which coordinates TensorFlow's own resizing goes by", _resize_said,
        (
            partial(_resized, resizer="tf2", of=("legacy",)),
            partial(_resized, resizer="legacy", of=("tf2",)),
        ),
        "it is not resized by TensorFlow 1's or 2's way at points",
    ),
    PixelTopic(
        "antialiasing", "whether resizing takes all pixels in, or some at points", _resize_said,
        (
            # TensorFlow 1 has no antialiasing; with it come TensorFlow 2's coordinates.
            partial(_resized, resizer="tf2-antialiased", of=("legacy", "tf2")),
            partial(_resized, resizer="tf2", of=("tf2-antialiased", "pillow")),
        ),
        NO_ONE_RESIZE,
    ),
    PixelTopic(
        ROUNDING, "whether pixels are whole numbers", _rounding_said, (_rounded, _unrounded),
        "pixels are whole as they are: a Pillow resize rounds, and so does no resize",
    ),
)  # fmt: skip
"""What makes up the preprocessing as a whole."""

CHANNEL_ORDER = PixelTopic(
    "channel order", "RGB or BGR", _channels_said,
    (partial(_with, SwapChannels()), partial(_without, SwapChannels())), "",
)  # fmt: skip
