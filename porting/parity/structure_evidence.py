"""Evidence that the judge computes the right network, beyond its agreement with the port.

A TFLite file, a graph and a Keras file bring their own structure, and the judge runs that. A
checkpoint holds weights alone. Its judge is a graph that this package builds, from the description
that the PyTorch network is built from too: a mistake there is on both sides, and no tap shows it.
So both are compared with a description from outside this package
(:mod:`porting.judges.reference.descriptions`), step by step, and their weights and
multiplications are counted and compared with the figures that the authors state.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from genmobilenet.config import NetworkConfig
from porting.errors import BadInput, MappingError, MissingJudge, WeightSetError
from porting.graph.layers import layers_of
from porting.graph.operators import facts_of
from porting.judges.reference.descriptions import NEAR, Description, descriptions_of
from porting.judges.reference.steps import (
    SIXTH,
    Steps,
    first_difference,
    multiply_adds,
    parameters,
)
from porting.mapping.image_classifier import Ends
from porting.mapping.match import Match
from porting.mapping.recognise import match_model
from porting.mapping.rules import is_named_by_keras
from porting.parity.compare import Comparison
from porting.parity.inputs import seeded_pixels
from porting.sources import Source
from porting.sources.checkpoint import CheckpointSource
from porting.sources.graphdef import FrozenGraphSource
from porting.sources.keras import KerasSource
from porting.sources.opening import graphs_beside
from porting.sources.source import WEIGHT_AXES
from porting.sources.tflite import TFLiteSource

if TYPE_CHECKING:
    from torch import nn

    from porting.parity.judge_set import JudgeSet

_IMAGE_CHANNELS = 3  # of the networks whose figures are stated


COMPANION_INPUTS = 2
"""Images on which the judge of a companion graph and the port are compared."""

CompareWithGraph = Callable[[Source, Match, np.ndarray], Comparison]
"""Compares the judge of a source with the port on pixels (N, H, W, C), 0..255."""

_SAME = 1e-6  # of the largest weight: what a converter's float32 may change


@dataclass(frozen=True)
class CompanionGraph:
    """The result of comparing a graph in a checkpoint's folder with the port.

    ``file`` is its name. ``weight_set`` is the checkpoint's set that it holds, None where it holds
    neither. ``comparison`` is that of its judge with the port, None where the judge was not run;
    ``why_not`` then says why. ``refusal`` says what contradicts the port, None where nothing does.
    """

    file: str
    weight_set: str | None = None
    comparison: Comparison | None = None
    why_not: str = ""
    refusal: str | None = None

    def summary(self) -> str:
        """The finding in a clause."""
        if self.refusal is not None:
            return self.refusal
        start = f"{self.file} beside it is a graph of the same network, operator by operator"
        if self.comparison is None:
            return f"{start}, and was not run: {self.why_not}"
        judge = f"{self.comparison.judge} ({self.comparison.judge_version})"
        return (
            f"{start}, with the same weights, and {judge} running it agrees with the port at "
            f"{len(self.comparison.taps)} taps on {self.comparison.inputs} inputs"
        )

    def to_json(self) -> dict[str, Any]:
        """Plain data for reports."""
        return {
            "file": self.file,
            "weight_set": self.weight_set,
            "judge": None if self.comparison is None else self.comparison.judge,
            "agrees": self.refusal is None,
            "summary": self.summary(),
        }


@dataclass(frozen=True)
class StructureEvidence:
    """Where the structure that judge and network share comes from, and what confirms it.

    ``structure`` says it in a clause. ``described`` says whether the structure is the source's own
    or was compared with a description from outside this package; ``refusals`` are the differences:
    with one, taps that agree prove nothing. ``graph`` is a graph found beside a checkpoint.
    """

    structure: str
    described: bool = True
    refusals: tuple[str, ...] = ()
    graph: CompanionGraph | None = None

    @property
    def agrees(self) -> bool:
        """Whether nothing that it was compared with differs."""
        return not self.refusals

    def summary(self) -> str:
        """The evidence in one line, for the card and the terminal."""
        graph = () if self.graph is None or self.graph.refusal else (self.graph.summary(),)
        return "; ".join((self.structure, *self.refusals, *graph))

    def with_graph(self, graph: CompanionGraph | None) -> StructureEvidence:
        """The same evidence, and what a graph beside the source shows."""
        refusals = () if graph is None or graph.refusal is None else (graph.refusal,)
        return replace(self, graph=graph, refusals=(*self.refusals, *refusals))

    def to_json(self) -> dict[str, Any]:
        """Plain data for reports."""
        return {
            "agrees": self.agrees,
            "described": self.described,
            "summary": self.summary(),
            "refusals": list(self.refusals),
            "graph": None if self.graph is None else self.graph.to_json(),
        }


def structure_evidence(
    source: Source,
    match: Match,
    network: nn.Module,
    judge_set: JudgeSet,
    compare: CompareWithGraph,
) -> StructureEvidence:
    """What confirms the structure behind a verdict on a network.

    ``judge_set`` gave the verdict; ``compare`` compares the network with a graph that lies beside
    a checkpoint. A user-defined module is compared with the judge by its taps alone.
    """
    if source.graph is not None:
        return StructureEvidence("the graph in the file itself")
    if isinstance(source, KerasSource) or is_named_by_keras(match.plan):
        # A judge of weights alone does not take pixels as the file's own model would.
        model = "that of keras.applications" if judge_set.input_type is None else "the file's"
        return StructureEvidence(f"Keras's own model, {model}")
    assert judge_set.steps is not None  # the judge of a checkpoint reads its graph
    steps = _steps_of(network, match.config.in_chans)
    evidence = evidence_from_tables(
        match.model, match.ends, judge_set.steps(), steps, judge_set.first_class
    )
    if steps is None or not isinstance(source, CheckpointSource):
        return evidence
    return evidence.with_graph(companion_graph(source, match, compare))


def evidence_from_tables(
    model: str, ends: Ends, judge: Steps, network: Steps | None, extra_classes: int = 0
) -> StructureEvidence:
    """Compare both sides of a checkpoint's comparison with the authors' published tables.

    ``ends`` are the network's, and ``extra_classes`` is how many classes more the judge has.
    ``network`` is None for a user-defined module.
    """
    descriptions = descriptions_of(model)
    if not descriptions:
        return StructureEvidence(
            f"this package's own description of {model}, from which judge and network are both "
            "built: nothing outside is known here to hold it to",
            described=False,
        )
    # Of a network published with several heads, the description with the judge's head.
    classifier = next((step for step in reversed(judge) if step.kind == "conv"), None)
    head = None if classifier is None else judge[classifier.inputs[0]].channels
    form = next((form for form in descriptions if form.head == head), descriptions[0])
    refusals = tuple(_refusals(form, ends, judge, network, extra_classes))
    if refusals:
        return StructureEvidence(
            f"nothing: this is not {form.name} as in {form.citation}", refusals=refusals
        )
    sides = "the judge's graph has" if network is None else "the judge's graph and the network have"
    return StructureEvidence(
        f"{form.name} as in {form.citation}, transcribed apart from the network's own description: "
        f"{sides} each of its {len(judge)} steps{_counts(form, network or judge)}"
    )


def _steps_of(network: nn.Module, channels: int) -> Steps | None:
    from genmobilenet.network import GenMobileNet
    from porting.parity.network_steps import steps_of_network
    from porting.parity.port_runner import inference_copy

    if not isinstance(network, GenMobileNet):
        return None
    return steps_of_network(inference_copy(network).float(), channels)


def _refusals(
    form: Description, ends: Ends, judge: Steps, network: Steps | None, extra_classes: int
) -> Iterator[str]:
    """Where judge and network differ from a description, a clause each."""
    # The network's gates divide by 6; what slim multiplies by is in the weights behind them.
    sides = [("the judge's graph", judge, ends.classes + extra_classes, form.gate_number)]
    if network is not None:
        sides.append(("the network", network, ends.classes, SIXTH))
    differences = [
        f"{whose} is not {form.name} as in {form.citation}: {difference}"
        for whose, steps, classes, number in sides
        if (difference := first_difference(form.steps(ends.channels, classes, number), steps))
    ]
    yield from differences
    for what, count, target, citation in () if differences else _figures(form, sides[-1][1]):
        # Further away than the rounding of the authors' figures accounts for.
        if abs(count - target) > NEAR * target:
            yield f"{count:.4g} M {what} are counted, where {citation} states {target:g} M"


def _counts(form: Description, steps: Steps) -> str:
    figures = _figures(form, steps)
    if not figures:
        return (
            "; no multiply-adds or parameters of a network of these widths are stated, so that the "
            "widths rest on the rule of that code alone"
        )
    counts = (f"{count:.4g} M {what} ({target:g} M stated)" for what, count, target, _ in figures)
    return f", with {' and '.join(counts)}"


def _figures(form: Description, steps: Steps) -> list[tuple[str, float, float, str]]:
    """Name, count, published count (both in millions) and citation of each published figure."""
    if form.figures is None:
        return []
    # For images and classes of the published network.
    image, *body, classifier, bias = steps
    classes = form.stated_classes
    plain = (
        replace(image, channels=_IMAGE_CHANNELS),
        *body,
        replace(classifier, channels=classes),
        replace(bias, channels=classes),
    )
    figures = (
        ("multiply-adds", multiply_adds(plain, form.stated_at), form.figures.multiply_adds),
        ("parameters", parameters(plain), form.figures.parameters),
    )
    return [
        (what, count / 1e6, target, form.figures.citation)
        for what, count, target in figures
        if target is not None
    ]


# --- a graph in a checkpoint's folder ---
#
# Google ships a checkpoint with a TFLite file and a frozen graph of its network. Such a graph says
# by itself what the network computes: it is aligned with the network, operator by operator, and
# where it holds the checkpoint's own weights, its judge runs it and the port is compared with that.


def companion_graph(
    source: CheckpointSource, match: Match, compare: CompareWithGraph
) -> CompanionGraph | None:
    """The result for the graphs beside a checkpoint; None without one of its network.

    Of several that agree, the one whose judge ran is returned.
    """
    graphs = list(_graphs(source, match, compare))
    refusing = (graph for graph in graphs if graph.refusal is not None)
    runs = (graph for graph in graphs if graph.comparison is not None)
    return next(refusing, None) or next(runs, None) or next(iter(graphs), None)


def _graphs(
    source: CheckpointSource, match: Match, compare: CompareWithGraph
) -> Iterator[CompanionGraph]:
    drops = match.first_class > 0
    for path in graphs_beside(source):
        try:
            reader = TFLiteSource if path.suffix == ".tflite" else FrozenGraphSource
            graph: Source = reader(path, source.archive)
            if not _has_layers_of(graph, match.config):
                continue
            weight_set = _weight_set_in(graph, source, match)
        except BadInput:
            continue  # damaged, or of a kind that is not read
        # Escape characters that would move a terminal's cursor.
        name = "".join(
            c if c.isprintable() else c.encode("unicode_escape").decode() for c in path.name
        )
        try:
            alignment = match_model(graph, match.model, graph.weight_sets[0], drops)
        except MappingError as error:
            # A file in a folder may be another network of the same shapes; one that was shipped
            # with the checkpoint, or has its weights, may not.
            if source.archive is not None or weight_set is not None:
                difference = " ".join(str(error).split())
                refusal = (
                    f"{name} beside the checkpoint has the network's layers and computes another: "
                    f"{difference}"
                )
                yield CompanionGraph(name, weight_set, refusal=refusal)
            continue
        yield _comparison_with(name, graph, alignment, weight_set, match, compare)


def _comparison_with(
    name: str, graph: Source, alignment: Match, weight_set: str | None, match: Match,
    compare: CompareWithGraph,
) -> CompanionGraph:  # fmt: skip
    """A graph that is aligned with the network, compared with the port if it has its weights."""
    if weight_set != match.plan.weight_set:
        whose = f"the {weight_set} ones" if weight_set else "others"
        return CompanionGraph(name, weight_set, why_not=f"its weights are {whose}")
    side, channels = alignment.ends.side, alignment.ends.channels
    try:
        comparison = compare(graph, alignment, seeded_pixels(COMPANION_INPUTS, side, channels))
    except MissingJudge as error:
        return CompanionGraph(name, weight_set, why_not=str(error))
    except BadInput as error:
        return CompanionGraph(name, weight_set, why_not=f"its judge does not run it ({error})")
    refusal = None
    if not comparison:
        refusal = f"{name} beside the checkpoint has its weights, and is {comparison.summary()}"
    return CompanionGraph(name, weight_set, comparison, refusal=refusal)


def _has_layers_of(graph: Source, config: NetworkConfig) -> bool:
    """Whether a graph has as many layers of each kernel and width as a network."""
    network_layers = Counter(
        (layer.kind == "depthwise", layer.kernel, layer.in_channels, layer.out_channels)
        for layer in layers_of(config)
    )
    return network_layers == Counter(
        (kind == "DEPTHWISE_CONV_2D", facts.kernel[0], facts.in_channels, facts.out_channels)
        for kind, facts in _layers(graph)
    )


def _layers(graph: Source) -> Iterator[tuple[str, Any]]:
    """Kind and facts of every layer with weights, in the order of execution."""
    operators = () if graph.graph is None else graph.graph.operators
    for operator in operators:
        if operator.kind in WEIGHT_AXES and (facts := facts_of(operator, graph)).weight:
            yield operator.kind, facts


def _weight_set_in(graph: Source, source: CheckpointSource, match: Match) -> str | None:
    """The checkpoint's weight set that a graph holds, by the classifier, which is never folded."""
    *_, (_, classifier) = _layers(graph)
    values = np.sort(graph.read(classifier.weight), axis=None)
    plans = {match.plan.weight_set: match.plan}
    for weight_set in source.weight_sets:
        if weight_set not in plans:
            # Averages may be incomplete; then they are not compared.
            with suppress(MappingError, WeightSetError):
                plans[weight_set] = match_model(
                    source, match.model, weight_set, match.first_class > 0
                ).plan
    for weight_set, plan in plans.items():
        name = next(fill.source for fill in plan.fills if fill.target == "classifier.weight")
        assert name is not None  # a classifier is read, and not a constant
        others = np.sort(source.read(name), axis=None)
        if values.shape == others.shape and bool(
            np.abs(values - others).max() <= _SAME * np.abs(others).max()
        ):
            return weight_set
    return None
