"""What a verdict rests on: who says that the judge computes the right network.

A TFLite file, a graph and a file of Keras bring their own structure, and the judge runs that. A
checkpoint holds weights alone. Its judge is a graph that this package builds, from the description
that the PyTorch network is built from too: what is wrong in it is wrong on both sides, and no tap
shows it. So both are compared with a description from outside this package
(:mod:`porting.judges.reference.published_tables`), step by step, and their weights and
multiplications are counted and compared with the figures that the authors state.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from porting.judges.reference.descriptions import Description, described_as
from porting.judges.reference.published_tables import NEAR
from porting.judges.reference.steps import (
    SIXTH,
    Steps,
    first_difference,
    multiply_adds,
    parameters,
)
from porting.mapping.ends import Ends
from porting.mapping.module_match import ModuleMatch
from porting.mapping.recognise import Match
from porting.parity.companion_graph import GraphBeside, Judge, graph_beside
from porting.sources import Source
from porting.sources.checkpoint import CheckpointSource
from porting.sources.keras import KerasSource

if TYPE_CHECKING:
    from torch import nn

    from porting.parity.judge_set import Panel

_IMAGE_CHANNELS = 3  # of the networks whose figures are stated


@dataclass(frozen=True)
class Basis:
    """What the structure that a verdict compares rests on.

    ``structure`` is a clause that says it. ``described`` says whether it was held to a description
    from outside this package, or is the source's own; ``refusals`` are the differences: with one,
    taps that agree prove nothing. ``graph`` is one that lies beside a checkpoint.
    """

    structure: str
    described: bool = True
    refusals: tuple[str, ...] = ()
    graph: GraphBeside | None = None

    @property
    def agrees(self) -> bool:
        """Whether nothing that was held against it differs."""
        return not self.refusals

    def summary(self) -> str:
        """It in one line, for the card and the terminal."""
        beside = () if self.graph is None or self.graph.refusal else (self.graph.summary(),)
        return "; ".join((self.structure, *self.refusals, *beside))

    def with_graph(self, graph: GraphBeside | None) -> Basis:
        """The same with what a graph beside the source shows."""
        against = () if graph is None or graph.refusal is None else (graph.refusal,)
        return replace(self, graph=graph, refusals=(*self.refusals, *against))

    def to_json(self) -> dict[str, Any]:
        """Plain data for reports."""
        return {
            "agrees": self.agrees,
            "described": self.described,
            "summary": self.summary(),
            "refusals": list(self.refusals),
            "graph": None if self.graph is None else self.graph.to_json(),
        }


def basis_of(
    source: Source, match: Match | ModuleMatch, network: nn.Module, panel: Panel, judge: Judge
) -> Basis:
    """What a verdict of a panel's judge on a network rests on.

    ``judge`` compares the network with a graph that lies beside a checkpoint. A module that is
    not of this package is held to the judge by its taps alone.
    """
    if source.graph is not None:
        return Basis("the graph in the file itself")
    if isinstance(source, KerasSource):
        return Basis("Keras's own model: the one in the file, or else that of keras.applications")
    assert isinstance(match, Match)  # what has no graph is matched by names
    assert panel.steps is not None  # the judge of a checkpoint reads its graph
    steps = _steps_of(network, match.config.in_chans)
    basis = described_basis(match.model, match.ends, panel.steps(), steps, panel.kept_from)
    if steps is None or not isinstance(source, CheckpointSource):
        return basis
    return basis.with_graph(graph_beside(source, match, judge))


def described_basis(
    model: str, ends: Ends, judge: Steps, network: Steps | None, dropped: int = 0
) -> Basis:
    """Both sides of a checkpoint's comparison, held to what is described outside.

    ``ends`` are the network's, and ``dropped`` is how many classes more the judge has.
    ``network`` is None for a module that is not of this package.
    """
    forms = described_as(model)
    if not forms:
        return Basis(
            f"this package's own description of {model}, from which judge and network are both "
            "built: nothing outside is known here to hold it to",
            described=False,
        )
    form = _like(forms, judge)
    refusals = tuple(_refusals(form, ends, judge, network, dropped))
    if refusals:
        return Basis(f"nothing: this is not {form.name} as in {form.cited}", refusals=refusals)
    sides = "the judge's graph has" if network is None else "the judge's graph and the network have"
    return Basis(
        f"{form.name} as in {form.cited}, transcribed apart from the network's own description: "
        f"{sides} each of its {len(judge)} steps{_counts(form, network or judge)}"
    )


def _steps_of(network: nn.Module, channels: int) -> Steps | None:
    from genmobilenet.network import GenMobileNet
    from porting.parity.network_steps import steps_of_network
    from porting.parity.port_runner import prepared

    if not isinstance(network, GenMobileNet):
        return None
    return steps_of_network(prepared(network).float(), channels)


def _like(forms: tuple[Description, ...], judge: Steps) -> Description:
    """Of a network published with several heads the form with the judge's; the usual one else."""
    classifier = next((step for step in reversed(judge) if step.kind == "conv"), None)
    head = None if classifier is None else judge[classifier.inputs[0]].channels
    return next((form for form in forms if form.head == head), forms[0])


def _refusals(
    form: Description, ends: Ends, judge: Steps, network: Steps | None, dropped: int
) -> Iterator[str]:
    # The network's gates divide by 6; what slim multiplies by is in the weights behind them.
    sides = [("the judge's graph", judge, ends.classes + dropped, form.gate_number)]
    if network is not None:
        sides.append(("the network", network, ends.classes, SIXTH))
    differences = [
        f"{whose} is not {form.name} as in {form.cited}: {difference}"
        for whose, steps, classes, number in sides
        if (difference := first_difference(form.steps(ends.channels, classes, number), steps))
    ]
    yield from differences or _far_from_stated(form, sides[-1][1])


def _far_from_stated(form: Description, steps: Steps) -> Iterator[str]:
    """Counts that lie further from the authors' figures than their rounding accounts for."""
    for what, count, stated, cited in _figures(form, steps):
        if abs(count - stated) > NEAR * stated:
            yield f"{count:.4g} M {what} are counted, where {cited} states {stated:g} M"


def _counts(form: Description, steps: Steps) -> str:
    figures = _figures(form, steps)
    if not figures:
        return (
            "; no multiply-adds or parameters of a network of these widths are stated, so that the "
            "widths rest on the rule of that code alone"
        )
    counts = (f"{count:.4g} M {what} ({stated:g} M stated)" for what, count, stated, _ in figures)
    return f", with {' and '.join(counts)}"


def _figures(form: Description, steps: Steps) -> list[tuple[str, float, float, str]]:
    """What is counted, how much there is of it, how much is stated (in millions), and where."""
    if form.figures is None:
        return []
    published = form.figures
    plain = _with_ends(steps, _IMAGE_CHANNELS, form.stated_classes)
    figures = (
        ("multiply-adds", multiply_adds(plain, form.stated_at), published.multiply_adds),
        ("parameters", parameters(plain), published.parameters),
    )
    return [
        (what, count / 1e6, stated, published.cited)
        for what, count, stated in figures
        if stated is not None
    ]


def _with_ends(steps: Steps, channels: int, classes: int) -> Steps:
    """The steps for images and classes of the published network."""
    *body, classifier, bias = steps
    ends = (replace(classifier, channels=classes), replace(bias, channels=classes))
    return (replace(body[0], channels=channels), *body[1:], *ends)
