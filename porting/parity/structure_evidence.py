"""Evidence that the judge computes the right network, beyond its agreement with the port.

A TFLite file, a graph and a Keras file bring their own structure, and the judge runs that. A
checkpoint holds weights alone. Its judge is a graph that this package builds, from the description
that the PyTorch network is built from too: a mistake there is on both sides, and no tap shows it.
So both are compared with a description from outside this package
(:mod:`porting.judges.reference.descriptions`), step by step, and their weights and
multiplications are counted and compared with the figures that the authors state.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

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
from porting.mapping.rules import is_named_by_keras
from porting.parity.companion_graph import CompanionGraph, CompareWithGraph, companion_graph
from porting.sources import Source
from porting.sources.checkpoint import CheckpointSource
from porting.sources.keras import KerasSource

if TYPE_CHECKING:
    from torch import nn

    from porting.parity.judge_set import JudgeSet

_IMAGE_CHANNELS = 3  # of the networks whose figures are stated


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
    form = _with_judges_head(descriptions, judge)
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


def _with_judges_head(descriptions: tuple[Description, ...], judge: Steps) -> Description:
    """Of a network published with several heads, the description with the judge's head."""
    classifier = next((step for step in reversed(judge) if step.kind == "conv"), None)
    head = None if classifier is None else judge[classifier.inputs[0]].channels
    return next((form for form in descriptions if form.head == head), descriptions[0])


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
