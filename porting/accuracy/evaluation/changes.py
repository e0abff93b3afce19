"""The changes that ``--explain`` tries, by topic, and which of them can be combined.

Each topic lists its changes for an evaluation, or says why it has none. A change of pixels is a
function from a pipeline to another, or to None where it does not apply.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from porting.accuracy.evaluation.predictors import Side
from porting.accuracy.evaluation.preparing import Setup
from porting.accuracy.preprocessing import PIPELINES, Pipeline, named_pipeline, parse_pipeline
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
from porting.mapping.families import FAMILIES, ROUNDED, Affine
from porting.mapping.input_spec import InputConvention

PREPROCESSING = "preprocessing"

Edit = Callable[[Side], Side | None]
"""A side with one thing changed; None where the change does not apply to it."""

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
class Change:
    """One thing changed: ``side`` is the port with it, and ``shift`` is added to every label.

    ``words`` say what stands for what.
    """

    topic: str
    words: str
    edit: Edit
    side: Side
    shift: int = 0


@dataclass(frozen=True)
class LeftOut:
    """A topic without a change in this evaluation, and why."""

    topic: str
    why: str


@dataclass(frozen=True)
class Trial:
    """Several changes at once: the port with them, and what is added to every label."""

    changes: tuple[Change, ...]
    side: Side
    shift: int


@dataclass(frozen=True)
class Changes:
    """Every change of the port ``base``, in the table's order, and the topics without one."""

    base: Side
    changes: tuple[Change, ...]
    left_out: tuple[LeftOut, ...]

    @property
    def variants(self) -> tuple[Side, ...]:
        """The different sides that have to answer beside the port."""
        sides = dict.fromkeys(change.side for change in self.changes)
        return tuple(side for side in sides if side != self.base)

    def together(self, changes: Iterable[Change]) -> Trial | None:
        """Apply several changes to the port, in the table's order.

        None where one of them does not apply beside the others.
        """
        in_order = sorted(changes, key=lambda change: list(TOPICS).index(change.topic))
        side: Side | None = self.base
        for change in in_order:
            side = None if side is None else change.edit(side)
        if side is None:
            return None
        name = " and ".join(f"{change.topic}: {change.words}" for change in in_order)
        shift = sum(change.shift for change in in_order)
        return Trial(tuple(changes), replace(side, name=name), shift)

    def on_top(self, several: Sequence[Change], candidates: Iterable[Change]) -> list[Trial]:
        """Several changes with one candidate more, for each of another topic that has an effect.

        The preprocessing as a whole and its parts are one topic.
        """
        topics = {change.topic for change in several}
        if PREPROCESSING in topics:
            topics |= PARTS.keys()
        elif topics & PARTS.keys():
            topics.add(PREPROCESSING)
        before, trials = self.together(several), []
        for change in candidates:
            trial = None if change.topic in topics else self.together((*several, change))
            if trial and before and (trial.side, trial.shift) != (before.side, before.shift):
                trials.append(trial)
        return trials


@dataclass(frozen=True)
class Run:
    """The port that is changed, and what its changes depend on.

    ``anew`` has, by weight set, the network ported anew from the source;
    ``no_other`` says why there may be no other weights.
    """

    base: Side
    convention: InputConvention
    weight_set: str | None
    anew: Mapping[str, Side]
    no_other: str


Edits = Iterable[tuple[str, Edit, int]] | str
"""Words, edit and shift of labels of each change, or why there is none."""


def run_of(setup: Setup) -> Run:
    """What is explained: the port, or, of a source alone, the network ported anew from it."""
    base = next((side for side in setup.sides if side.name == "port"), None)
    inputs, weight_set = setup.inputs, setup.weight_set
    if base is None:
        assert weight_set is not None  # without a checkpoint, that of the source's match
        base = setup.anew[weight_set]
    no_other = "the source holds one set of weights"
    if inputs.source is None:
        no_other = "other weights would come from the source: give it with --source"
    elif inputs.onto is not None:
        no_other = "the port is a module of its own, and other weights would be in another network"
    return Run(base, setup.convention, weight_set, setup.anew, no_other)


def changes_of(run: Run) -> Changes:
    """List the changes of every topic for a run."""
    changes: list[Change] = []
    left_out = []
    for topic, edits_of in TOPICS.items():
        edits = edits_of(run)
        if isinstance(edits, str):
            left_out.append(LeftOut(topic, edits))
            continue
        for words, edit, shift in edits:
            side = edit(run.base)
            assert side is not None  # those that mean nothing for the run are not listed
            if not shift:
                side = replace(side, name=f"{topic}: {words}")
            changes.append(Change(topic, words, edit, side, shift))
    return Changes(run.base, tuple(changes), tuple(left_out))


def _weights(run: Run) -> Edits:
    """Every weight set but the port's own, where that is known."""
    others = [name for name in run.anew if name != run.weight_set]
    if len(run.anew) < 2:
        return run.no_other
    now = run.weight_set or "the file's"

    def port_anew(name: str, side: Side) -> Side:
        return replace(run.anew[name], name=side.name, pipeline=side.pipeline)

    return [(f"{name} for {now}", partial(port_anew, name), 0) for name in others]


def _preprocessing(run: Run) -> Edits:
    """The authors' preprocessing; Pillow's where the evaluation uses theirs."""
    convention = run.convention
    size = parse_pipeline(run.base.pipeline).size or convention.size
    # The pipeline of the network's authors, at the size of the run's pixels.
    text = convention.preprocessing.removesuffix(ROUNDED)
    matches = (make for make in PIPELINES.values() if make(convention.size) == text)
    steps = str(named_pipeline(next((make(size) for make in matches), text), size))
    authors = steps + (ROUNDED if convention.takes_bytes else "")
    pillow = PIPELINES["pillow"](size)
    names = {authors: "the authors'", pillow: "Pillow's"}
    other = pillow if run.base.pipeline == authors else authors
    now = names.get(run.base.pipeline, "the given steps")
    return [(f"{names[other]} for {now}", lambda side: replace(side, pipeline=other), 0)]


def _of_pixels(
    words_for: Callable[[Pipeline], str], *changes: PixelChange, without: str = "",
    keeps_whole: bool = True,
) -> Callable[[Run], Edits]:  # fmt: skip
    """Changes of pipelines, each named by ``words_for``, as changes of sides.

    ``without`` says why there may be none for a pipeline. With ``keeps_whole`` a change leaves
    whole pixels whole.
    """

    def apply(change: PixelChange, before: Pipeline) -> Pipeline | None:
        after = change(before)
        if after is None or after.whole or not before.whole or not keeps_whole:
            return after
        return replace(after, steps=(*after.steps, Round()))

    def edit(change: PixelChange, side: Side) -> Side | None:
        pipeline = apply(change, parse_pipeline(side.pipeline))
        return None if pipeline is None else replace(side, pipeline=str(pipeline))

    def edits_of(run: Run) -> Edits:
        before = parse_pipeline(run.base.pipeline)
        by_text: dict[str, tuple[str, Edit, int]] = {str(before): ("", lambda side: side, 0)}
        for change in changes:
            after = apply(change, before)
            if after is not None:
                words = f"{words_for(after)} for {words_for(before)}"
                by_text.setdefault(str(after), (words, partial(edit, change), 0))
        return list(by_text.values())[1:] or without

    return edits_of


def _normalisation(run: Run) -> Edits:
    """The mean and deviation of each family that normalises differently."""
    base = run.base
    if not any(base.mean) and set(base.std) == {1.0}:
        return "the network normalises by itself"
    others: list[Affine] = []
    for family in FAMILIES.values():
        # 127 over 128 is nearly 127.5 over 127.5, and no change of its own.
        normalisations = (*others, (base.mean, base.std))
        if not any(np.allclose(family.affine, affine, rtol=1e-2) for affine in normalisations):
            others.append(family.affine)

    def words_for(affine: Affine) -> str:
        mean, std = (" ".join(f"{v:.4g}" for v in dict.fromkeys(values)) for values in affine)
        return f"mean {mean} std {std}"

    def normalise(affine: Affine, side: Side) -> Side:
        return replace(side, mean=affine[0], std=affine[1])

    now = words_for((base.mean, base.std))
    return [(f"{words_for(a)} for {now}", partial(normalise, a), 0) for a in others]


def _resizing(pipeline: Pipeline) -> Resize | ResizeShorter | None:
    """The one step that resizes, or None where there is none, or several."""
    steps = [step for step in pipeline.steps if isinstance(step, (Resize, ResizeShorter))]
    return steps[0] if len(steps) == 1 else None


def _decoded(decoder: str, pipeline: Pipeline) -> Pipeline | None:
    """Another decoder; instead of a window that the decoder cuts, a slice of the whole image."""
    decode = pipeline.decode
    if isinstance(decode, DecodeAndCrop):
        if decoder == "tf":
            return None
        return Pipeline(Decode(decoder), (Crop(decode.rule), *pipeline.steps))
    return replace(pipeline, decode=Decode(decoder))


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
    """Replace the step that resizes."""
    place = next(n for n, s in enumerate(steps) if isinstance(s, (Resize, ResizeShorter)))
    return (*steps[:place], *instead, *steps[place + 1 :])


def _crop_words(pipeline: Pipeline) -> str:
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
    """Another kernel or resizer, where the resizer is one of ``of``."""
    before = _resizing(pipeline)
    if before is None or before.resizer not in of:
        return None
    after = replace(before, kernel=kernel or before.kernel, resizer=resizer or before.resizer)
    return replace(pipeline, steps=_with_resize(pipeline.steps, after))


def _resize_words(pipeline: Pipeline) -> str:
    resize = _resizing(pipeline)
    return "none" if resize is None else f"{RESIZERS[resize.resizer]} {resize.kernel}"


def _with(step: Further, pipeline: Pipeline) -> Pipeline | None:
    """Append a step; None where it is there already."""
    if step in pipeline.steps:
        return None
    return replace(pipeline, steps=(*pipeline.steps, step))


def _without(step: Further, pipeline: Pipeline) -> Pipeline | None:
    """Remove a step; None where it is not there."""
    if step not in pipeline.steps:
        return None
    return replace(pipeline, steps=tuple(other for other in pipeline.steps if other != step))


NO_ONE_RESIZE = "the steps have no resize, or several"

PARTS: dict[str, Callable[[Run], Edits]] = {
    "decoder": _of_pixels(
        lambda pipeline: DECODERS[getattr(pipeline.decode, "decoder", "tf")],
        *(partial(_decoded, name) for name in DECODERS),
    ),
    # Which part of the image is kept, and where it is cut.
    "crop": _of_pixels(
        _crop_words,
        partial(_cropped, partial(Padded, padding=TPU_PADDING)),
        partial(_cropped, lambda _: Fraction(CROP_SHARE)),
        partial(_cropped, lambda _: Square(CROP_SHARE)),
        _cropped_as_torchvision,
        _cropped_elsewhere,
        without=NO_ONE_RESIZE,
    ),
    # The kernel.
    "resize": _of_pixels(
        _resize_words,
        partial(_resized, kernel="bilinear"),
        partial(_resized, kernel="bicubic"),
        without=NO_ONE_RESIZE,
    ),
    # The coordinates of TensorFlow's own resizing.
    "coordinates": _of_pixels(
        _resize_words,
        partial(_resized, resizer="tf2", of=("legacy",)),
        partial(_resized, resizer="legacy", of=("tf2",)),
        without="it is not resized by TensorFlow 1's or 2's way at points",
    ),
    # TensorFlow 1 has no antialiasing; with it come TensorFlow 2's coordinates.
    "antialiasing": _of_pixels(
        _resize_words,
        partial(_resized, resizer="tf2-antialiased", of=("legacy", "tf2")),
        partial(_resized, resizer="tf2", of=("tf2-antialiased", "pillow")),
        without=NO_ONE_RESIZE,
    ),
    "rounding": _of_pixels(
        lambda pipeline: "rounded" if Round() in pipeline.steps else "unrounded",
        lambda pipeline: None if pipeline.whole else _with(Round(), pipeline),
        lambda pipeline: None if (after := _without(Round(), pipeline)) and after.whole else after,
        without="pixels are whole as they are: a Pillow resize rounds, and so does no resize",
        keeps_whole=False,
    ),
}
"""What makes up the preprocessing as a whole."""

TOPICS: dict[str, Callable[[Run], Edits]] = {
    "weights": _weights,
    PREPROCESSING: _preprocessing,
    **PARTS,
    "normalisation": _normalisation,
    "channel order": _of_pixels(
        lambda pipeline: "BGR" if SwapChannels() in pipeline.steps else "RGB",
        partial(_with, SwapChannels()),
        partial(_without, SwapChannels()),
    ),
    "label offset": lambda run: [
        ("labels one up", lambda side: side, 1), ("labels one down", lambda side: side, -1),
    ],
}  # fmt: skip
"""The edits of each topic for a run, in the order in which several at once are applied."""
