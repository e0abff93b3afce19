"""A source's graph onto somebody's own PyTorch module."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from porting.errors import BadInput, MappingError
from porting.mapping.by_graph import left_out
from porting.mapping.ends import Ends, ends_of, without_background
from porting.mapping.flows import ENTRY, LayerFlow
from porting.mapping.module_match import ModuleMatch
from porting.mapping.plan import Plan, check_total
from porting.mapping.structure.fills import Filler
from porting.mapping.structure.match import Pairs, StructureMismatch, match_structures
from porting.mapping.structure.node import ModuleLayer, Node, SourceLayer, Structure
from porting.mapping.structure.of_module import structure_of_module
from porting.mapping.structure.of_source import structure_of_source
from porting.mapping.walk import Alignment
from porting.sources.source import Source

if TYPE_CHECKING:
    from torch import nn

LOGITS, SOFTMAX = "classifier", "softmax"
_TOLD = 3  # most places that a note names
SIDE = 224
"""The side of images, in pixels, where a graph does not say it: ImageNet's usual one."""


def match_module(
    source: Source,
    module: nn.Module,
    model: str,
    weight_set: str,
    drop_background: bool = False,
) -> ModuleMatch:
    """Align a source's graph with a module by structure, and plan the port.

    ``model`` is what the module is called. Nothing of the module is changed. A
    graph that leaves the size of its images open is aligned at :data:`SIDE`.

    Raises:
        BadInput: the source has no graph, or the module cannot be traced.
        StructureMismatch: they compute different things; both first places are named.
        AmbiguousAlignment: the structure leaves open which layer is which.
        MappingError: a layer has no place for what the source holds, or a parameter is left.
    """
    if source.graph is None:
        raise BadInput(
            f"{source.path}: holds weights alone, and no graph to align a module with; "
            "--onto needs a TFLite file, a SavedModel or a frozen graph"
        )
    ends = _ends(source, drop_background)
    theirs = structure_of_module(module, (1, ends.channels, ends.side, ends.side))
    ours, pairs, alignment = _aligned(source, theirs, ends, drop_background)
    fills, problems = Filler(pairs, ours, int(drop_background)).fills(module)
    if problems:
        raise MappingError(f"{source.path}: does not fit {model}:\n  " + "\n  ".join(problems))
    left = left_out(source, fills, alignment)
    plan = Plan(model, "structure", weight_set, fills, left, _notes(pairs))
    check_total(plan, source, {key: tuple(v.shape) for key, v in module.state_dict().items()})
    return ModuleMatch(
        model, plan, alignment, ends, theirs.normalises, _epsilons(pairs),
        dict(_tap_factors(pairs, ours.output)), tuple(_flows(pairs, ours.output)),
        dict(_stated_epsilons(pairs)), tuple(layer for _, layer in _layers(pairs)),
    )  # fmt: skip


def _aligned(
    source: Source, theirs: Structure, ends: Ends, drop_background: bool
) -> tuple[Structure, Pairs, Alignment]:
    """The source's structure, its pairs with the module's, and its taps.

    A sixth of a clamp is what it says, or else a hard sigmoid as some converters write it.
    """
    first: StructureMismatch | None = None
    for lifted in (False, True):
        read = structure_of_source(source, ends.channels, lifted)
        ours, taps = _without_softmax(read.structure, theirs)
        if drop_background:
            ours = _without_background(ours)
        try:
            pairs = match_structures(ours, theirs, str(source.path))
        except StructureMismatch as error:
            first = first or error
            continue
        read.alignment.taps += [*_taps(pairs, ours.output), *taps]
        return ours, pairs, read.alignment
    assert first is not None  # the loop ran
    if not drop_background and (ends.classes, theirs.output.facts[-1:]) == (1001, (1000,)):
        raise StructureMismatch(f"{first}\n  --classes drop-background leaves off class 0 of 1001")
    raise first


def _ends(source: Source, drop_background: bool) -> Ends:
    ends = ends_of(source).with_side(SIDE)
    if drop_background:
        ends = replace(ends, classes=without_background(ends.classes, source))
    return ends


def _without_softmax(
    source: Structure, module: Structure
) -> tuple[Structure, list[tuple[str, str]]]:
    """The source up to its logits, where the module ends there, and the tap that is left off."""
    end = source.output
    if end.kind != "softmax" or module.output.kind == "softmax":
        return source, []
    return Structure(end.inputs[0]), [(SOFTMAX, str(end.value))]


def _without_background(source: Structure) -> Structure:
    """The source as if its classifier did not have class 0."""
    end = source.output
    inputs, outputs = end.facts[0], end.facts[-1]
    if end.kind != "dense" or not isinstance(outputs, int):
        raise MappingError(f"{end.place}: expected a dense layer, to leave class 0 off")
    return Structure(replace(end, facts=(inputs, outputs - 1)))


def _tap(ours: Node, theirs: Node, end: Node) -> str:
    """What a tap is called: the ends as everywhere, others by their place in the module."""
    logits = end.inputs[0] if end.kind == "softmax" else end
    names = {logits: LOGITS, end: SOFTMAX if end.kind == "softmax" else LOGITS}
    return names.get(ours, f"{theirs.place} {ours.value}")


def _taps(pairs: Pairs, end: Node) -> Iterator[tuple[str, str]]:
    """Tap and tensor for all that the source shows."""
    for ours, theirs in pairs:
        if ours.value is not None and ours.kind != "input":
            yield _tap(ours, theirs, end), ours.value


def _flows(pairs: Pairs, end: Node) -> Iterator[LayerFlow]:
    """Between which taps each of the module's layers works."""
    taps = {
        ours: _tap(ours, theirs, end)
        for ours, theirs in pairs
        if ours.value is not None and ours.kind != "input"
    }
    behind: dict[Node, list[Node]] = {}
    for ours, _ in pairs:
        for node in ours.inputs:
            behind.setdefault(node, []).append(ours)
    for ours, theirs in pairs:
        if not isinstance(theirs.layer, ModuleLayer):
            continue
        entry, layer = ours.inputs[0], theirs.layer
        clamped = {taps[node] for node in behind.get(ours, ()) if node in taps}
        results = [taps[ours]] if ours in taps else []
        yield LayerFlow(
            layer.weight, layer.bias, ours.kind == "depthwise",
            ENTRY if entry.kind == "input" else taps.get(entry, ""),
            (*results, *sorted(clamped)), frozenset(clamped), layer.norm,
        )  # fmt: skip


def _tap_factors(pairs: Pairs, end: Node) -> Iterator[tuple[str, float]]:
    """Taps of a gate whose sixth is not quite one, and of what it scales."""
    for ours, theirs in pairs:
        gates = [ours] if ours.kind == "hard_sigmoid" else ours.inputs if ours.kind == "mul" else []
        for gate in gates:
            if gate.kind == "hard_sigmoid" and gate.factor != 1:
                yield _tap(ours, theirs, end), gate.factor


def _notes(pairs: Pairs) -> tuple[str, ...]:
    """Where the two differ in what weights do not show; the judge decides what it matters."""
    odd = [
        (ours, theirs)
        for ours, theirs in pairs
        if ours.kind in ("conv", "depthwise") and ours.pads not in (None, theirs.pads)
    ]
    notes = []
    if odd:
        some = "; ".join(
            f"{theirs.place}: source {ours.pads}, module {theirs.pads}"
            for ours, theirs in odd[:_TOLD]
        )
        more = f"; and {len(odd) - _TOLD} more" if len(odd) > _TOLD else ""
        notes.append(f"{len(odd)} of the module's convolutions pad otherwise: {some}{more}")
    for ours, theirs in pairs:
        if (told := _other_epsilon(ours, theirs)) is not None:
            notes.append(told)
            break
    return tuple(notes)


def _other_epsilon(ours: Node, theirs: Node) -> str | None:
    if not isinstance(ours.layer, SourceLayer) or not isinstance(theirs.layer, ModuleLayer):
        return None
    stated, own = _stated_epsilon(ours.layer), theirs.layer.norm
    if stated is None or own is None or abs(stated - own.epsilon) <= 1e-3 * stated:
        return None
    return (
        f"the source's batch norms have epsilon {stated:g}, the module's {own.epsilon:g}, "
        f"{theirs.place} first"
    )


def _layers(pairs: Pairs) -> Iterator[tuple[SourceLayer, ModuleLayer]]:
    for ours, theirs in pairs:
        if isinstance(ours.layer, SourceLayer) and isinstance(theirs.layer, ModuleLayer):
            yield ours.layer, theirs.layer


def _epsilons(pairs: Pairs) -> dict[str, float]:
    norms = (layer.norm for _, layer in _layers(pairs))
    return {norm.variance: norm.epsilon for norm in norms if norm is not None}


def _stated_epsilon(layer: SourceLayer) -> float | None:
    stated = None if layer.norm is None else layer.norm.operator.options.get("epsilon")
    return None if stated is None else float(stated)


def _stated_epsilons(pairs: Pairs) -> Iterator[tuple[str, float]]:
    for source_layer, layer in _layers(pairs):
        stated = _stated_epsilon(source_layer)
        if stated is not None and layer.norm is not None:
            yield layer.norm.variance, stated
