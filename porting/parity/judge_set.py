"""The judges of a source, and what they call each tap."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from genmobilenet.zoo import get_config
from porting.errors import MissingJudge
from porting.graph.layers import NORMALISES, layers_of
from porting.graph.tap_names import CLASSIFIER, SOFTMAX
from porting.judges.judge import INPUT, Judge, Run
from porting.mapping.match import Match
from porting.mapping.plan import Plan
from porting.mapping.rules import is_named_by_keras
from porting.mapping.rules.keras import keras_taps, last_normalising
from porting.parity.coverage import StoredLayer
from porting.sources import Source
from porting.sources.checkpoint import CheckpointSource
from porting.sources.keras import KerasSource
from porting.sources.tflite import TFLiteSource

if TYPE_CHECKING:
    from porting.judges.keras import Application
    from porting.judges.reference.steps import Steps
    from porting.sources.graphdef import GraphDefSource

Logits = Callable[[np.ndarray], np.ndarray]
"""Real values of a source's own input, (N, H, W, C), to logits of all classes, also those that a
port drops."""


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
        """A judge's taps that have names, with the port's classes alone and in its scale.

        They are in the order of depth.
        """
        values = {tap: taps[tap] for tap in self.names if tap in taps}
        if self.first_class and CLASSIFIER in values:
            values[CLASSIFIER] = values[CLASSIFIER][..., self.first_class :]
        for tap, factor in self.factors.items():
            if tap in values:
                values[tap] = values[tap] / np.float32(factor)
        return values


def judges_of(source: Source, match: Match) -> JudgeSet:
    """The judges of a source, by its format as in :data:`JUDGES`.

    A source with quantised weights has two judges: on its weights in float32,
    which decides, and as it is.

    Raises:
        MissingJudge: the judge's package is not installed.
    """
    return JUDGES[source.format](source, match)


def _litert_judges(source: TFLiteSource, match: Match) -> JudgeSet:
    from porting.judges.litert import LiteRTJudge

    tensors = dict(match.taps)
    # Behind a backbone there may be anything.
    features = match.architecture is not None and match.architecture.pool == "none"
    end = tensors[CLASSIFIER] if features else None
    as_it_is = LiteRTJudge(source, end=end)
    judges = [as_it_is]
    if source.quantised_weights:
        judges.insert(0, LiteRTJudge(source, in_float=True, end=end))
    return _judges_by_graph(
        judges, match, as_it_is.input_type, as_it_is.pixels_to_inputs,
        lambda tap: judges[0].producing_layer(tensors[tap]),
    )  # fmt: skip


def _graph_judges(source: GraphDefSource, match: Match) -> JudgeSet:
    from porting.judges.graph import GraphJudge

    judges = [GraphJudge(source)]
    if source.rounds_activations:
        judges.insert(0, GraphJudge(source, in_float=True))
    input_type = judges[0].input_type
    return _judges_by_graph(judges, match, input_type, _pixels_to_integers(input_type))


def _pixels_to_integers(dtype: str) -> Callable[[np.ndarray], np.ndarray] | None:
    """Pixels as integers, where a graph takes those: int8 holds them minus 128."""
    least = -128 if dtype == "int8" else 0
    if not dtype.startswith(("int", "uint")):
        return None
    return lambda pixels: (np.clip(np.rint(pixels), 0, 255) + least).astype(np.float32)


def _judges_by_graph(
    judges: Sequence[Judge], match: Match, input_type: str,
    pixels_to_inputs: Callable[[np.ndarray], np.ndarray] | None,
    stored_layer: Callable[[str], StoredLayer | None] | None = None,
) -> JudgeSet:  # fmt: skip
    """Judges that run the graph with which the network is aligned, under the alignment's names."""
    assert match.data is not None  # a source with a graph is always matched by it
    first = match.first_class
    other = {t: _SPREAD for t, _ in match.taps if first and t == SOFTMAX}
    names = {t: n for t, n in match.taps if t not in other}
    tensors = {**names, INPUT: match.data}
    return JudgeSet(
        judges=tuple(BoundJudge(judge, tensors) for judge in judges),
        names=names,
        first_class=first,
        factors=match.factors,
        not_comparable={n: other[t] for t, n in match.taps if t in other},
        input_type=input_type,
        pixels_to_inputs=pixels_to_inputs,
        stored_layer=stored_layer,
    )


def _checkpoint_judges(source: CheckpointSource, match: Match) -> JudgeSet:
    if is_named_by_keras(match.plan):
        return _keras_judges(source, match)
    from porting.judges.reference.graphs import detect_scheme
    from porting.judges.tensorflow import TensorFlowJudge

    scheme, root = detect_scheme(source.tensors)
    first = match.first_class
    # The checkpoint's graph also has the classes that the port drops.
    config = replace(match.config, num_classes=match.config.num_classes + first)
    path = source.archive.display(source.prefix) if source.archive else None
    judge = TensorFlowJudge(source.prefix, config, scheme, root, match.plan.weight_set, path)
    names = judge.tap_names
    return JudgeSet((BoundJudge(judge, names),), names, first, match.factors, steps=judge.steps)


def _keras_judges(source: CheckpointSource | KerasSource, match: Match) -> JudgeSet:
    from porting.judges.keras import KerasJudge

    if source.graph is not None:
        judge = KerasJudge(source)
        return _judges_by_graph(
            [judge], match, judge.input_type, _pixels_to_integers(judge.input_type)
        )
    judge = KerasJudge(source, application_of(match))
    names = keras_taps(judge.flow, layers_of(match.config))
    layers = dict(names)
    if (last := last_normalising(judge.flow)) is not None:
        layers[INPUT] = last
        names = {NORMALISES: last, **names} if match.normalises else names
    layers |= names
    return JudgeSet(
        judges=(BoundJudge(judge, layers),),
        names=names,
        first_class=match.first_class,
        factors=match.factors,
    )


JUDGES: dict[str, Callable[[Any, Match], JudgeSet]] = {
    "tflite": _litert_judges,
    "frozen graph": _graph_judges,
    "saved model": _graph_judges,
    "tfjs graph": _graph_judges,
    "checkpoint with its graph": _graph_judges,
    "checkpoint": _checkpoint_judges,
    "keras": _keras_judges,
    "tfjs layers": _keras_judges,
}
"""Format of a source -> what makes its judges."""


def application_of(match: Match) -> Application:
    """Which network of keras.applications a match is."""
    from porting.judges.keras import Application

    config, zoo_config = match.config, get_config(match.model)
    if match.model.startswith("tf_efficientnet_b"):
        family = f"EfficientNet{match.model[-2:].upper()}"
        return Application(family, classes=config.num_classes, size=config.input_size)
    return Application(
        _APPLICATIONS[zoo_config.head, zoo_config.head_channels], config.width or 1.0,
        zoo_config.head == "after_pool" and zoo_config.activation == "relu",
        config.num_classes, config.input_size,
    )  # fmt: skip


_APPLICATIONS = {
    ("none", 1280): "MobileNet",
    ("conv", 1280): "MobileNetV2",
    ("after_pool", 1280): "MobileNetV3Large",
    ("after_pool", 1024): "MobileNetV3Small",
}
"""Place and channels of a network's head in the zoo -> what keras.applications calls the family."""


def logits_judge(source: Source, match: Match, in_float: bool = False) -> Logits:
    """The judge of :func:`judges_of` that runs the source as it is, as fast as possible.

    With ``in_float`` it runs a TFLite file with everything in float32. No taps before the logits
    are kept.

    Raises:
        MissingJudge: the judge's package is not installed.
        UnsupportedSource: with ``in_float``, the file has no counterpart in float32.
    """
    if not isinstance(source, TFLiteSource):
        judge = judges_of(source, match).with_one_tap(CLASSIFIER)
        return lambda inputs: judge.run(inputs).taps[CLASSIFIER]
    from porting.judges.litert import LiteRTJudge

    tensors = {CLASSIFIER: dict(match.taps)[CLASSIFIER]}
    runner = LiteRTJudge(source, in_float, only=tensors[CLASSIFIER])
    return lambda inputs: runner.run(inputs, tensors).taps[CLASSIFIER]


def judge_label(source: Source, plan: Plan) -> str:
    """Name and version of the judge of a port by this plan, without starting it.

    Raises:
        MissingJudge: the judge's package is not installed.
    """
    if isinstance(source, TFLiteSource):
        from porting.judges.litert import installed_runtime

        return installed_runtime()
    by_keras = isinstance(source, KerasSource) or is_named_by_keras(plan)
    name = "Keras" if by_keras else "TensorFlow"
    try:
        version = importlib.metadata.version(name.lower())
    except importlib.metadata.PackageNotFoundError:
        raise MissingJudge(
            f"the judge of {source.path} is {name}, which is not installed: "
            "pip install tensorflow, or leave --source out"
        ) from None
    in_float32 = isinstance(source, KerasSource) and source.dtype_policies
    return f"{name} {version}{' in float32' if in_float32 else ''}"
