"""The judges of a source, and what they call each tap."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from porting.errors import BadInput
from porting.judges.run import Run
from porting.mapping.convention import InputConvention
from porting.mapping.keras_taps import keras_taps
from porting.mapping.layers import NORMALISES, layers_of
from porting.mapping.module_match import ModuleMatch
from porting.mapping.recognise import Match
from porting.parity.names import CLASSIFIER, SOFTMAX
from porting.sources import Source
from porting.sources.checkpoint import CheckpointSource
from porting.sources.keras import KerasSource
from porting.sources.tflite import TFLiteSource

if TYPE_CHECKING:
    from porting.judges.keras import Application
    from porting.judges.reference.steps import Steps
    from porting.sources.graphdef.reader import GraphDefSource

INPUT = "input"
"""The judge's tap for what the network proper gets, behind any normalisation in its graph."""

Judge = partial[Run]
"""Inputs (N, H, W, C) to a run of every tap; the taps are its keyword."""

_SPREAD = "the background class is dropped: without it a softmax spreads over other classes"


@dataclass(frozen=True)
class Panel:
    """The judges of one source, the deciding one first, and their names for the taps.

    ``normalises`` says that they take plain pixels. ``kept_from`` is the first
    class that the port keeps. ``factors`` gives, by tap, how many times the
    port's values the judges' are by construction. ``not_comparable`` gives, by
    the judges' name, why a tap means something else in the port. ``steps`` reads
    the graph of a judge that this package builds; None where the source brings its own.
    """

    judges: tuple[Judge, ...]
    names: Mapping[str, str]
    normalises: bool = False
    kept_from: int = 0
    factors: Mapping[str, float] = field(default_factory=dict)
    not_comparable: Mapping[str, str] = field(default_factory=dict)
    steps: Callable[[], Steps] | None = None

    def inputs(self, convention: InputConvention, pixels: np.ndarray) -> np.ndarray:
        """What the judges are given for pixels (N, H, W, C), 0..255."""
        return pixels.astype(np.float32) if self.normalises else convention.normalise(pixels)

    def alone(self, tap: str) -> Callable[[np.ndarray], np.ndarray]:
        """The judge that runs the source as it is, asked for one tap: inputs to its values.

        All classes are in it, those that the port drops too.
        """
        judge = self.judges[-1]
        asked = {tap: judge.keywords["taps"][tap]}
        return lambda inputs: judge.func(inputs, taps=asked).taps[tap]

    def kept(self, taps: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        """A judge's taps as the port has them: without classes dropped, in its units."""
        kept = dict(taps)
        if self.kept_from:
            kept[CLASSIFIER] = kept[CLASSIFIER][..., self.kept_from :]
        for tap, factor in self.factors.items():
            kept[tap] = kept[tap] / np.float32(factor)
        return kept


def panel_of(source: Source, match: Match | ModuleMatch) -> Panel:
    """LiteRT for a TFLite file, TensorFlow for a checkpoint or graph, Keras for its own files.

    A source with quantised weights has two judges: on its weights in float32,
    which decides, and as it is.

    Raises:
        MissingJudge: the judge's package is not installed.
    """
    if isinstance(source, TFLiteSource):
        return _litert_panel(source, match)
    from porting.sources.graphdef.reader import GraphDefSource

    if isinstance(source, GraphDefSource):
        return _graph_panel(source, match)
    assert isinstance(match, Match)  # what has no graph is matched by names
    if isinstance(source, CheckpointSource):
        return _tensorflow_panel(source, match)
    if isinstance(source, KerasSource):
        return _keras_panel(source, match)
    raise TypeError(f"no judge for a {source.format} source")


def _litert_panel(source: TFLiteSource, match: Match | ModuleMatch) -> Panel:
    from porting.judges.litert import LiteRTJudge

    judges = [LiteRTJudge(source)]
    if source.quantised_weights:
        judges.insert(0, LiteRTJudge(source, in_float=True))
    return _panel_by_graph([judge.run for judge in judges], match)


def _graph_panel(source: GraphDefSource, match: Match | ModuleMatch) -> Panel:
    from porting.judges.graph import GraphJudge

    return _panel_by_graph([GraphJudge(source).run], match)


def _panel_by_graph(judges: Sequence[Callable[..., Run]], match: Match | ModuleMatch) -> Panel:
    """Judges that run the graph with which the network is aligned."""
    assert match.alignment is not None  # what has a graph is always matched by it
    first = first_class(match)
    other = {t: _SPREAD for t, _ in match.alignment.taps if first and t == SOFTMAX}
    names = {t: n for t, n in match.alignment.taps if t not in other}
    asked, normalises = dict(names), bool(match.alignment.normalisation)
    if normalises:
        asked[INPUT] = match.alignment.data
    runs = tuple(partial(judge, taps=asked) for judge in judges)
    not_comparable = {n: other[t] for t, n in match.alignment.taps if t in other}
    return Panel(runs, names, normalises, first, _gate_factors(match), not_comparable)


def _tensorflow_panel(source: CheckpointSource, match: Match) -> Panel:
    from porting.judges.reference.naming import detect_scheme
    from porting.judges.tensorflow import TensorFlowJudge

    scheme, root = detect_scheme(source.tensors)
    first = first_class(match)
    # The checkpoint's graph has the classes too that the port drops.
    config = replace(match.config, num_classes=match.config.num_classes + first)
    judge = TensorFlowJudge(source.prefix, config, scheme, root, match.plan.weight_set)
    names = judge.tap_names
    runs = (partial(judge.run, taps=names),)
    return Panel(runs, names, False, first, _gate_factors(match), steps=judge.steps)


def _keras_panel(source: KerasSource, match: Match) -> Panel:
    from porting.judges.keras import KerasJudge

    application = application_of(match)
    try:
        judge = KerasJudge(source, None if source.layers else application)
    except BadInput:
        # Keras does not load every whole model that it wrote; the weights it does.
        judge = KerasJudge(source, application)
    names = keras_taps(judge.flow, layers_of(match.config))
    asked = dict(names)
    for step in judge.flow:
        if step.kind == "Rescaling":
            asked[INPUT] = step.name
            names = {NORMALISES: step.name, **names} if match.normalises else names
    asked |= names
    run = partial(judge.run, taps=asked)
    return Panel((run,), names, INPUT in asked, first_class(match), _gate_factors(match))


def application_of(match: Match) -> Application:
    """Which network of keras.applications a match is."""
    from porting.judges.keras import Application

    family, config = match.model.removeprefix("tf_"), match.config
    name = next(keras for start, keras in _APPLICATIONS.items() if family.startswith(start))
    return Application(
        name, config.width or 1.0, "minimal" in family, config.num_classes, config.input_size
    )


_APPLICATIONS = {
    "mobilenetv1": "MobileNet",
    "mobilenetv2": "MobileNetV2",
    "mobilenetv3_large": "MobileNetV3Large",
    "mobilenetv3_small": "MobileNetV3Small",
}
"""Start of a network's name -> what keras.applications calls the family."""


def first_class(match: Match | ModuleMatch) -> int:
    """The first class of the source that a port keeps."""
    return max(fill.first_row for fill in match.plan.fills)


def _gate_factors(match: Match | ModuleMatch) -> Mapping[str, float]:
    """Taps before a projection that has taken a gate's constant in."""
    if isinstance(match, ModuleMatch):
        return match.factors
    factors: dict[str, float] = {}
    for fill in match.plan.fills:
        if fill.factor != 1:
            block = fill.target.rsplit(".", 2)[0]
            factors |= {f"{block}.se.gate": fill.factor, f"{block}.se": fill.factor}
    return factors
