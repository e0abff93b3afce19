"""The judges of a source, and what they call each tap."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from porting.errors import BadInput
from porting.judges.run import INPUT, Run
from porting.mapping.keras_taps import keras_taps, last_normalising
from porting.mapping.layers import NORMALISES, layers_of
from porting.mapping.module_match import ModuleMatch
from porting.mapping.recognise import Match
from porting.parity.coverage import StoredLayer
from porting.parity.tap_names import CLASSIFIER, SOFTMAX
from porting.sources import Source
from porting.sources.checkpoint import CheckpointSource
from porting.sources.keras import KerasSource
from porting.sources.tflite import TFLiteSource

if TYPE_CHECKING:
    from porting.judges.keras import Application
    from porting.judges.reference.steps import Steps
    from porting.sources.graphdef.reader import GraphDefSource


class Judge(Protocol):
    """What runs the TensorFlow side; ``taps`` gives, by tap, what the judge itself calls it."""

    def run(self, inputs: np.ndarray, taps: Mapping[str, str]) -> Run:
        """Run the network on inputs (N, H, W, C); taps are NHWC or (N, C)."""

    def run_pieces(
        self, inputs: np.ndarray, values: Mapping[str, np.ndarray], taps: Mapping[str, str]
    ) -> Run:
        """Compute each tap from ``values``, fed at taps before it; see :mod:`judges.pieces`."""


@dataclass(frozen=True)
class SeatedJudge:
    """A judge with the taps that it is asked for, by what it calls them."""

    judge: Judge
    taps: Mapping[str, str]

    def run(self, inputs: np.ndarray) -> Run:
        """Run on inputs (N, H, W, C)."""
        return self.judge.run(inputs, self.taps)

    def run_pieces(
        self, inputs: np.ndarray, values: Mapping[str, np.ndarray], taps: Collection[str]
    ) -> Run:
        """Compute each of ``taps`` from those of ``values`` that stand before it.

        Raises:
            NoPieces: this judge cannot.
        """
        asked = {tap: name for tap, name in self.taps.items() if tap in taps}
        return self.judge.run_pieces(inputs, values, asked)


_SPREAD = "the background class is dropped: without it a softmax spreads over other classes"


@dataclass(frozen=True)
class Panel:
    """The judges of one source, the deciding one first, and their names for the taps.

    ``kept_from`` is the first class that the port keeps. ``factors`` gives, by
    tap, how many times the port's values the judges' are by construction.
    ``not_comparable`` gives, by the judges' name, why a tap means something
    else in the port.

    ``takes`` is the type of the source's own input, None where the judges are fed what the
    network proper takes: then there is no road from pixels to run. ``of_bytes`` makes the
    judges' inputs of pixels (N, H, W, C) by the judge's own reading of the file, where that
    takes integers. ``stored`` reads the layer that a tap comes from, apart from the source's
    reader and the plan; None where nothing does. ``steps`` reads the graph of a judge that this
    package builds; None where the source brings its own.
    """

    judges: tuple[SeatedJudge, ...]
    names: Mapping[str, str]
    kept_from: int = 0
    factors: Mapping[str, float] = field(default_factory=dict)
    not_comparable: Mapping[str, str] = field(default_factory=dict)
    takes: str | None = None
    of_bytes: Callable[[np.ndarray], np.ndarray] | None = None
    stored: Callable[[str], StoredLayer | None] | None = None
    steps: Callable[[], Steps] | None = None

    def alone(self, tap: str) -> SeatedJudge:
        """The judge that runs the source as it is, asked for one tap.

        All classes are in it, those that the port drops too.
        """
        judge = self.judges[-1]
        return replace(judge, taps={tap: judge.taps[tap]})

    def kept(self, taps: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        """A judge's taps as the port has them: without classes dropped, in its units."""
        kept = dict(taps)
        if self.kept_from and CLASSIFIER in kept:
            kept[CLASSIFIER] = kept[CLASSIFIER][..., self.kept_from :]
        for tap, factor in self.factors.items():
            if tap in kept:
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

    as_it_is = LiteRTJudge(source)
    judges = [as_it_is]
    if source.quantised_weights:
        judges.insert(0, LiteRTJudge(source, in_float=True))
    panel = _panel_by_graph(judges, match, as_it_is.takes, as_it_is.of_bytes)
    deciding = judges[0]
    return replace(panel, stored=lambda tap: deciding.layer_behind(panel.names[tap]))


def _graph_panel(source: GraphDefSource, match: Match | ModuleMatch) -> Panel:
    from porting.judges.graph import GraphJudge

    judge = GraphJudge(source)
    return _panel_by_graph([judge], match, judge.takes, _whole_pixels(judge.takes))


def _whole_pixels(dtype: str) -> Callable[[np.ndarray], np.ndarray] | None:
    """What makes a graph's input of pixels where its type is integers: int8 has them less 128."""
    least = -128 if dtype == "int8" else 0
    if not dtype.startswith(("int", "uint")):
        return None
    return lambda pixels: (np.clip(np.rint(pixels), 0, 255) + least).astype(np.float32)


def _panel_by_graph(
    judges: Sequence[Judge], match: Match | ModuleMatch, takes: str,
    of_bytes: Callable[[np.ndarray], np.ndarray] | None,
) -> Panel:  # fmt: skip
    """Judges that run the graph with which the network is aligned."""
    assert match.alignment is not None  # what has a graph is always matched by it
    first = first_class(match)
    other = {t: _SPREAD for t, _ in match.alignment.taps if first and t == SOFTMAX}
    names = {t: n for t, n in match.alignment.taps if t not in other}
    asked = {**names, INPUT: match.alignment.data}
    runs = tuple(SeatedJudge(judge, asked) for judge in judges)
    not_comparable = {n: other[t] for t, n in match.alignment.taps if t in other}
    return Panel(runs, names, first, _gate_factors(match), not_comparable, takes, of_bytes)


def _tensorflow_panel(source: CheckpointSource, match: Match) -> Panel:
    from porting.judges.reference.naming import detect_scheme
    from porting.judges.tensorflow import TensorFlowJudge

    scheme, root = detect_scheme(source.tensors)
    first = first_class(match)
    # The checkpoint's graph has the classes too that the port drops.
    config = replace(match.config, num_classes=match.config.num_classes + first)
    judge = TensorFlowJudge(source.prefix, config, scheme, root, match.plan.weight_set)
    names = judge.tap_names
    runs = (SeatedJudge(judge, names),)
    return Panel(runs, names, first, _gate_factors(match), steps=judge.steps)


def _keras_panel(source: KerasSource, match: Match) -> Panel:
    from porting.judges.keras import KerasJudge

    application, whole = application_of(match), bool(source.layers)
    try:
        judge = KerasJudge(source, None if whole else application)
    except BadInput:
        # Keras does not load every whole model that it wrote; the weights it does.
        judge, whole = KerasJudge(source, application), False
    names = keras_taps(judge.flow, layers_of(match.config))
    asked = dict(names)
    if (last := last_normalising(judge.flow)) is not None:
        asked[INPUT] = last
        names = {NORMALISES: last, **names} if match.normalises else names
    asked |= names
    runs = (SeatedJudge(judge, asked),)
    panel = Panel(runs, names, first_class(match), _gate_factors(match))
    if not whole:
        return panel
    return replace(panel, takes=judge.takes, of_bytes=_whole_pixels(judge.takes))


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
