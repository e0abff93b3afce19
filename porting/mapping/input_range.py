"""What a source's own input stands for: the first step of the road from pixels to its network.

A file's input is not always what its network's first layer takes. Bytes may stand for real
numbers by a scale and a zero point, and the graph may add to and multiply what comes in. This
module settles the first part, :class:`InputRange`: how RGB pixels 0..255 become what the file's
input stands for. The graph's own steps are :mod:`porting.mapping.normalisation`'s, and
:mod:`porting.mapping.convention` puts the two together.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from porting.errors import BadSource
from porting.mapping.families import Affine
from porting.sources.keras import KerasSource
from porting.sources.source import Graph, Source, TensorInfo

BYTES = ("uint8", "int8")
"""Types in which an image's bytes are the input: as they are, or less 128."""

_WHOLE = (*BYTES, "uint16", "int16", "uint32", "int32", "uint64", "int64")

RANGES = ((0.0, 255.0), (0.0, 1.0), (-1.0, 1.0))
"""What float inputs take images in."""

GREY_LEVEL = 1.0
"""How far, in pixels 0..255, two statements of one convention may lie apart: by as much do 127.5
over 127.5 and the 128 over 128 of its quantised form."""

_QUANTISED_RANGES = (*RANGES, (-128.0, 127.0))

NOTHING_SAYS_SO = "nothing in the file says so"


@dataclass(frozen=True)
class InputRange:
    """RGB pixels 0..255 become a source's input by ``(x - mean) / std``, a number a channel.

    ``how`` says of the input what it is and by what that is known; ``proved`` whether the file
    itself says it; ``unknown`` whether it says so little that several ranges are as likely.
    ``from_metadata`` marks what stands beside the graph, and may be left from another model.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    how: str
    proved: bool
    unknown: bool = False
    from_metadata: bool = False

    @property
    def ends(self) -> tuple[np.ndarray, np.ndarray]:
        """What pixels 0 and 255 become, (C,) each, in float64."""
        mean, std = np.asarray(self.mean), np.asarray(self.std)
        return -mean / std, (255.0 - mean) / std


@np.errstate(all="ignore")
def range_by_file(
    source: Source, channels: int, scale: np.ndarray, offset: np.ndarray
) -> InputRange | None:
    """What the file itself says of its input; None where it says nothing.

    Its input's type and quantisation, the metadata of a TFLite file, the integers that a float
    input becomes at once, and that a graph decodes the images itself are such statements. Where
    two contradict each other, or metadata the ``x * scale + offset`` that the graph computes of
    its input, both are shown, and the range is not ``proved``.
    """
    ranges = [*_statements(source, channels)]
    if not ranges:
        return None
    chosen = ranges[0]
    for other in ranges[1:]:
        if not same(chosen, other):
            how = f"{chosen.how}, and {other.how}: the two contradict each other"
            return replace(chosen, how=how, proved=False)
    ends = np.stack(composed(chosen, scale, offset).ends)
    low, high = ends.min(axis=0), ends.max(axis=0)
    if chosen.from_metadata and not _is_plausible(low, high):
        how = f"{chosen.how}: of that it makes {_ends_text(low, high)}, which contradicts them"
        return replace(chosen, how=how, proved=False)
    return chosen


@np.errstate(all="ignore")
def likely_range(
    scale: np.ndarray, offset: np.ndarray, channels: int, expected: Affine
) -> InputRange:
    """The range of images for which a graph's ``x * scale + offset`` makes sense.

    What comes of it is to be about what networks take: a few units about 0 or 0 to 255, and
    most of that. ``expected`` is the convention of the network's family, which decides between
    several; none of it is proved.
    """
    scale, offset = (np.broadcast_to(values, (channels,)) for values in (scale, offset))
    familiar = InputRange(*expected, "", False)
    likely = [bounds for bounds in RANGES if _is_plausible(*_result(bounds, scale, offset))]
    usual = [b for b in likely if same(composed(_of(b, channels, ""), scale, offset), familiar)]
    if len(likely) != 1 and len(usual) != 1:
        bounds = min(likely, key=lambda b: _lopsided(*_result(b, scale, offset)), default=RANGES[0])
        how = f"whose range nothing in the file says; {_range_text(bounds)} is taken"
        return replace(_of(bounds, channels, how), unknown=True)
    bounds = (usual or likely)[0]
    low, high = _result(bounds, scale, offset)
    how = f"assumed to be {_range_text(bounds)}, of which it makes {_ends_text(low, high)}; "
    return _of(bounds, channels, how + NOTHING_SAYS_SO)


@np.errstate(all="ignore")
def composed(entry: InputRange, scale: np.ndarray, offset: np.ndarray) -> InputRange:
    """The same for what a graph's ``x * scale + offset`` makes of its input.

    Both are float64, one number or one a channel.
    """
    mean, std = np.asarray(entry.mean), np.asarray(entry.std)
    std = std / scale
    mean = mean - offset * std
    return replace(entry, mean=_numbers(mean), std=_numbers(std))


@np.errstate(all="ignore")
def before(entry: InputRange, scale: np.ndarray, offset: np.ndarray) -> InputRange:
    """The inverse: what a graph's input is if ``x * scale + offset`` makes ``entry`` of it."""
    mean, std = np.asarray(entry.mean), np.asarray(entry.std)
    mean = mean + offset * std
    return replace(entry, mean=_numbers(mean), std=_numbers(std * scale))


@np.errstate(all="ignore")
def same(one: InputRange, other: InputRange) -> bool:
    """Whether two make the same of pixels, but for a grey level."""
    finest = np.minimum(np.abs(one.std), np.abs(other.std))
    apart = [np.abs(a - b) * finest for a, b in zip(one.ends, other.ends, strict=True)]
    return bool(np.max(apart) <= GREY_LEVEL * (1 + 1e-3))


def affine_text(mean: tuple[float, ...], std: tuple[float, ...]) -> str:
    """``minus (127.5), over (127.5)``: one number where all channels have the same."""
    return f"minus ({_list(mean)}), over ({_list(std)})"


def _statements(source: Source, channels: int) -> Iterator[InputRange]:
    """All statements of a file, those that say the most first."""
    info = input_info(source)
    if info is not None:
        yield from _by_type(info, channels)
        yield from _by_metadata(source, channels)
        if source.graph is not None and info.stored_as not in _WHOLE:
            yield from _by_first_integers(source, source.graph, channels)
    if source.decodes_images:
        yield _of(RANGES[0], channels, "which is images that it has decoded itself", proved=True)


def input_info(source: Source) -> TensorInfo | None:
    """What is known of a source's input, where it has a graph or the layers of one."""
    if isinstance(source, KerasSource):
        return _input_layer(source)
    entry = source.graph.inputs[0] if source.graph and source.graph.inputs else ""
    return source.activations.get(entry)


def _input_layer(source: KerasSource) -> TensorInfo | None:
    """A whole model's input layer. Keras writes a type by its name, or as a policy."""
    for layer in (inner for outer in source.layers for inner in outer):
        dtype = layer.settings.get("dtype")
        if layer.kind == "InputLayer" and isinstance(dtype, str):
            return TensorInfo(layer.name, (), dtype, dtype)
    return None


def _by_type(info: TensorInfo, channels: int) -> Iterator[InputRange]:
    """An image's bytes, as they are or less 128, are the input of a file that takes integers."""
    stored = info.stored_as
    if stored in BYTES and info.range is not None:
        how = f"which stands for {_range_text(info.range)} by its quantisation"
        yield _of(info.range, channels, how, proved=True)
    elif stored in _WHOLE and info.range is None:
        mean = 128.0 if stored == "int8" else 0.0
        how = f"which is {'0..255 less 128' if mean else 'pixels 0..255'} in {stored}"
        yield InputRange((mean,) * channels, (1.0,) * channels, how, True)


def _by_metadata(source: Source, channels: int) -> Iterator[InputRange]:
    try:
        normalisation = source.metadata_normalisation
    except BadSource:
        # Nothing of the network is in them; who asks for its labels is told of the damage.
        return
    if normalisation is None:
        return
    mean, std = (np.asarray(values, np.float64) for values in normalisation)
    fits = all(values.size in (1, channels) for values in (mean, std))
    if not fits or not np.isfinite([*mean, *std]).all() or not std.all():
        return
    means, deviations = (_numbers(np.broadcast_to(v, (channels,))) for v in (mean, std))
    how = f"which is RGB 0..255 {affine_text(means, deviations)} by its metadata"
    yield InputRange(means, deviations, how, True, from_metadata=True)


def _by_first_integers(source: Source, graph: Graph, channels: int) -> Iterator[InputRange]:
    """A float input that becomes integers at once holds what those can hold, where that is usual.

    Their range was measured on images when the file was made.
    """
    takers = graph.consumers.get(graph.inputs[0], ())
    if len(takers) != 1 or takers[0].kind not in ("QUANTIZE", "CAST"):
        return
    info = source.activations.get(takers[0].outputs[0])
    if info is None or info.stored_as not in BYTES:
        return
    if info.range is None:
        yield _of(RANGES[0], channels, f"which becomes {info.stored_as} at once", proved=True)
        return
    step = (info.range[1] - info.range[0]) / 255
    for bounds in _QUANTISED_RANGES:
        if np.abs(np.subtract(bounds, info.range)).max() <= GREY_LEVEL * step:
            how = f"which becomes {info.stored_as} of {_range_text(info.range)} at once"
            yield _of(bounds, channels, how, proved=True)
            return


def _of(bounds: tuple[float, float], channels: int, how: str, proved: bool = False) -> InputRange:
    """Pixels 0 and 255 at the ends of a range."""
    low, high = bounds
    std = 255 / (high - low)
    return InputRange(_numbers(np.full(channels, -low * std)), (std,) * channels, how, proved)


def _result(
    bounds: tuple[float, float], scale: np.ndarray, offset: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The least and the largest value, (C,), that a graph makes of a range."""
    ends = np.stack([bound * scale + offset for bound in bounds])
    return ends.min(axis=0), ends.max(axis=0)


def _is_plausible(low: np.ndarray, high: np.ndarray) -> bool:
    """Whether a network's first layer may take values from ``low`` to ``high``, (C,) each.

    Either normalised, as [-1, 1], [0, 1] or by ImageNet's mean and deviation (to 2.64), or as
    wide as bytes, with or without their mean.
    """
    width, middle = high - low, (high + low) / 2
    normalised = (width >= 0.99) & (np.maximum(-low, high) <= 3) & (np.abs(middle) < 0.95)
    as_bytes = (width > 200) & (width < 300) & (low > -160) & (high < 300)
    return bool(normalised.all() or as_bytes.all())


def _lopsided(low: np.ndarray, high: np.ndarray) -> float:
    """How far a range lies from the middle, over its width."""
    return float(np.max(np.abs(high + low) / (high - low)))


def _numbers(values: np.ndarray) -> tuple[float, ...]:
    return tuple(float(v) + 0.0 for v in values)  # 0 for a -0


def _range_text(bounds: tuple[float, float]) -> str:
    low, high = bounds
    return f"{low:.4g} to {high:.4g}"


def _ends_text(low: np.ndarray, high: np.ndarray) -> str:
    return _range_text((float(low.min()), float(high.max())))


def _list(values: tuple[float, ...]) -> str:
    shown = values[:1] if len(set(values)) == 1 else values
    return ", ".join(f"{v:.6g}" for v in shown)
