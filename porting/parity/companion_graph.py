"""A graph in a checkpoint's folder: the same network, as its authors exported it.

Google ships a checkpoint with a TFLite file and a frozen graph of its network. Such a graph says by
itself what the network computes: it is aligned with the network, operator by operator, and where it
holds the checkpoint's own weights, its judge runs it and the port is compared with that run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from genmobilenet.config import NetworkConfig
from porting.errors import BadInput, MappingError, MissingJudge, WeightSetError
from porting.graph.layers import layers_of
from porting.graph.operators import facts_of
from porting.mapping.match import Match
from porting.mapping.recognise import match as match_network
from porting.parity.compare import Comparison
from porting.parity.inputs import seeded_pixels
from porting.sources import Source
from porting.sources.checkpoint import CheckpointSource
from porting.sources.opening import graphs_beside
from porting.sources.source import WEIGHT_AXES

INPUTS = 2
"""Images on which the judge of such a graph and the port are compared."""

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
    from porting.sources.graphdef import FrozenGraphSource
    from porting.sources.tflite import TFLiteSource

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
            alignment = match_network(graph, match.model, graph.weight_sets[0], drops)
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
        comparison = compare(graph, alignment, seeded_pixels(INPUTS, side, channels))
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
                plans[weight_set] = match_network(
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
