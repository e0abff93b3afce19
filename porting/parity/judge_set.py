"""The judges of a source, and what they call each tap."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from porting.errors import BadInput
from porting.graph.layers import NORMALISES, layers_of
from porting.judges.judge import INPUT, Run
from porting.mapping.keras_taps import keras_taps, last_normalising
from porting.mapping.match import Match
from porting.mapping.rules import is_named_by_keras
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
    """Runs the TensorFlow side; ``taps`` gives, by tap, the judge's own name of the tensor."""

    def run(self, inputs: np.ndarray, taps: Mapping[str, str]) -> Run:
        """Run the network on inputs (N, H, W, C); taps are NHWC or (N, C)."""

    def run_pieces(
        self, inputs: np.ndarray, values: Mapping[str, np.ndarray], taps: Mapping[str, str]
    ) -> Run:
        """Compute each tap from ``values``, fed at taps before it; see
        :mod:`porting.judges.judge`."""


@dataclass(frozen=True)
class BoundJudge:
    """A judge with the taps that it is to give, and its own names of their tensors."""

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
        tensors = {tap: name for tap, name in self.taps.items() if tap in taps}
        return self.judge.run_pieces(inputs, values, tensors)


_SPREAD = "the background class is dropped: without it a softmax spreads over other classes"


@dataclass(frozen=True)
class JudgeSet:
    """The judges of one source, the deciding one first, and their names for the taps.

    ``first_class`` is the first class that the port keeps. ``factors`` gives, by
    tap, how many times the port's values the judges' are by construction.
    ``not_comparable`` gives, by the judges' name, why a tap means something
    else in the port.

    ``input_type`` is the type of the source's own input, None where the judges are fed what the
    network proper takes: then there is no check from pixels. ``pixels_to_inputs`` converts pixels
    (N, H, W, C) to the judges' inputs by the judge's own reading of the file, where that
    takes integers. ``stored_layer`` reads the layer that a tap comes from without the source's
    reader and the plan; None where nothing does. ``steps`` reads the graph of a judge that this
    package builds; None where the source brings its own.
    """

    judges: tuple[BoundJudge, ...]
    names: Mapping[str, str]
    first_class: int = 0
    factors: Mapping[str, float] = field(default_factory=dict)
    not_comparable: Mapping[str, str] = field(default_factory=dict)
    input_type: str | None = None
    pixels_to_inputs: Callable[[np.ndarray], np.ndarray] | None = None
    stored_layer: Callable[[str], StoredLayer | None] | None = None
    steps: Callable[[], Steps] | None = None

    def with_one_tap(self, tap: str) -> BoundJudge:
        """The judge that runs the source as it is, giving one tap.

        It gives all classes, also those that the port drops.
        """
        judge = self.judges[-1]
        return replace(judge, taps={tap: judge.taps[tap]})

    def in_port_terms(self, taps: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        """A judge's taps with the port's classes alone, and scaled as the port has them."""
        values = dict(taps)
        if self.first_class and CLASSIFIER in values:
            values[CLASSIFIER] = values[CLASSIFIER][..., self.first_class :]
        for tap, factor in self.factors.items():
            if tap in values:
                values[tap] = values[tap] / np.float32(factor)
        return values


def judges_of(source: Source, match: Match) -> JudgeSet:
    """LiteRT for a TFLite file, TensorFlow for a checkpoint or graph, Keras for its own files.

    A source with quantised weights has two judges: on its weights in float32,
    which decides, and as it is.

    Raises:
        MissingJudge: the judge's package is not installed.
    """
    if isinstance(source, TFLiteSource):
        return _litert_judges(source, match)
    from porting.sources.graphdef.reader import GraphDefSource

    if isinstance(source, GraphDefSource):
        return _graph_judges(source, match)
    if isinstance(source, CheckpointSource) and not is_named_by_keras(match.plan):
        return _tensorflow_judges(source, match)
    if isinstance(source, (CheckpointSource, KerasSource)):
        return _keras_judges(source, match)
    raise TypeError(f"no judge for a {source.format} source")


def _litert_judges(source: TFLiteSource, match: Match) -> JudgeSet:
    from porting.judges.litert import LiteRTJudge

    as_it_is = LiteRTJudge(source)
    judges = [as_it_is]
    if source.quantised_weights:
        judges.insert(0, LiteRTJudge(source, in_float=True))
    judge_set = _judges_by_graph(judges, match, as_it_is.input_type, as_it_is.pixels_to_inputs)
    deciding = judges[0]
    return replace(judge_set, stored_layer=lambda tap: deciding.layer_behind(judge_set.names[tap]))


def _graph_judges(source: GraphDefSource, match: Match) -> JudgeSet:
    from porting.judges.graph import GraphJudge

    judges = [GraphJudge(source)]
    if source.rounds_activations:
        judges.insert(0, GraphJudge(source, in_float=True))
    input_type = judges[0].input_type
    return _judges_by_graph(judges, match, input_type, _pixels_to_integers(input_type))


def _pixels_to_integers(dtype: str) -> Callable[[np.ndarray], np.ndarray] | None:
    """Pixels as integers, where a graph takes those: int8 has them less 128."""
    least = -128 if dtype == "int8" else 0
    if not dtype.startswith(("int", "uint")):
        return None
    return lambda pixels: (np.clip(np.rint(pixels), 0, 255) + least).astype(np.float32)


def _judges_by_graph(
    judges: Sequence[Judge], match: Match, input_type: str,
    pixels_to_inputs: Callable[[np.ndarray], np.ndarray] | None,
) -> JudgeSet:  # fmt: skip
    """Judges that run the graph with which the network is aligned, under the alignment's names."""
    assert match.data is not None  # what has a graph is always matched by it
    first = match.first_class
    other = {t: _SPREAD for t, _ in match.taps if first and t == SOFTMAX}
    names = {t: n for t, n in match.taps if t not in other}
    tensors = {**names, INPUT: match.data}
    not_comparable = {n: other[t] for t, n in match.taps if t in other}
    return JudgeSet(
        tuple(BoundJudge(judge, tensors) for judge in judges), names, first, match.factors,
        not_comparable, input_type, pixels_to_inputs,
    )  # fmt: skip


def _tensorflow_judges(source: CheckpointSource, match: Match) -> JudgeSet:
    from porting.judges.reference.graphs import detect_scheme
    from porting.judges.tensorflow import TensorFlowJudge

    scheme, root = detect_scheme(source.tensors)
    first = match.first_class
    # The checkpoint's graph has the classes too that the port drops.
    config = replace(match.config, num_classes=match.config.num_classes + first)
    judge = TensorFlowJudge(source.prefix, config, scheme, root, match.plan.weight_set)
    names = judge.tap_names
    runs = (BoundJudge(judge, names),)
    return JudgeSet(runs, names, first, match.factors, steps=judge.steps)


def _keras_judges(source: CheckpointSource | KerasSource, match: Match) -> JudgeSet:
    from porting.judges.keras import KerasJudge

    application = application_of(match)
    whole = isinstance(source, KerasSource) and bool(source.layers)
    try:
        judge = KerasJudge(source, None if whole else application)
    except BadInput:
        # Keras does not load every whole model that it wrote; the weights it does.
        judge, whole = KerasJudge(source, application), False
    names = keras_taps(judge.flow, layers_of(match.config))
    layers = dict(names)
    if (last := last_normalising(judge.flow)) is not None:
        layers[INPUT] = last
        names = {NORMALISES: last, **names} if match.normalises else names
    layers |= names
    judge_set = JudgeSet((BoundJudge(judge, layers),), names, match.first_class, match.factors)
    if not whole:
        return judge_set
    return replace(
        judge_set, input_type=judge.input_type,
        pixels_to_inputs=_pixels_to_integers(judge.input_type),
    )  # fmt: skip


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
