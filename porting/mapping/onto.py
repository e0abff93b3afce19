"""A source's graph onto somebody's own PyTorch module."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from porting.errors import BadInput, MappingError
from porting.mapping.ends import Ends, ends_of
from porting.mapping.layouts import VECTOR, layout_onto
from porting.mapping.module_match import ModuleMatch
from porting.mapping.plan import Fill, LeftOut, Plan, check_total
from porting.mapping.structure.match import match_structures
from porting.mapping.structure.node import ModuleLayer, Node, SourceLayer, Structure
from porting.mapping.structure.of_module import structure_of_module
from porting.mapping.structure.of_source import structure_of_source
from porting.mapping.walk import Norm
from porting.sources.source import Source

if TYPE_CHECKING:
    from torch import nn

LOGITS, SOFTMAX = "classifier", "softmax"
_TOLD = 3  # most places that a note names
_LEAST_SIDE = 32


def match_module(
    source: Source,
    module: nn.Module,
    model: str,
    weight_set: str,
    drop_background: bool = False,
    side: int | None = None,
) -> ModuleMatch:
    """Align a source's graph with a module by structure, and plan the port.

    ``model`` is what the module is called; ``side`` the image's in pixels where
    the graph leaves it open. Nothing of the module is changed.

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
    ends = _ends(source, drop_background, side)
    theirs = structure_of_module(module, (1, ends.channels, ends.side, ends.side))
    read = structure_of_source(source, ends.channels)
    ours, taps = _without_softmax(read.structure, theirs)
    if drop_background:
        ours = _without_background(ours)
    pairs = match_structures(ours, theirs, str(source.path))
    read.alignment.taps += [*_taps(pairs, ours.output), *taps]
    fills, problems = _Filler(pairs, ours, int(drop_background)).fills(module)
    if problems:
        raise MappingError(f"{source.path}: does not fit {model}:\n  " + "\n  ".join(problems))
    used = {fill.source for fill in fills}
    left = tuple(
        LeftOut(name, f"parameter of {read.alignment.parameters[name]}")
        if name in read.alignment.parameters
        else LeftOut(name, "not used by the graph")
        for name in source.tensors
        if name not in used
    )
    plan = Plan(model, "structure", weight_set, fills, left, _notes(pairs))
    check_total(plan, source, {key: tuple(v.shape) for key, v in module.state_dict().items()})
    return ModuleMatch(
        model, plan, read.alignment, ends, theirs.normalises, _epsilons(pairs),
        dict(_tap_factors(pairs, ours.output)),
    )  # fmt: skip


def _ends(source: Source, drop_background: bool, side: int | None) -> Ends:
    ends = ends_of(source)
    if drop_background:
        if ends.classes != 1001:
            raise BadInput(
                f"{source.path}: has {ends.classes} classes; only of 1001 is the first known to "
                "be the background"
            )
        ends = replace(ends, classes=1000)
    return ends if ends.side >= _LEAST_SIDE or side is None else replace(ends, side=side)


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


def _taps(pairs: list[tuple[Node, Node]], end: Node) -> Iterator[tuple[str, str]]:
    """Tap and tensor for all that the source shows."""
    for ours, theirs in pairs:
        if ours.value is not None and ours.kind != "input":
            yield _tap(ours, theirs, end), ours.value


def _tap_factors(pairs: list[tuple[Node, Node]], end: Node) -> Iterator[tuple[str, float]]:
    """Taps of a gate whose sixth is not quite one, and of what it scales."""
    for ours, theirs in pairs:
        gates = [ours] if ours.kind == "hard_sigmoid" else ours.inputs if ours.kind == "mul" else []
        for gate in gates:
            if gate.kind == "hard_sigmoid" and gate.factor != 1:
                yield _tap(ours, theirs, end), gate.factor


def _notes(pairs: list[tuple[Node, Node]]) -> tuple[str, ...]:
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
    norm, own = ours.layer.norm, theirs.layer.norm
    stated = None if norm is None else norm.operator.options.get("epsilon")
    if stated is None or own is None or abs(stated - own.epsilon) <= 1e-3 * stated:
        return None
    return (
        f"the source's batch norms have epsilon {stated:g}, the module's {own.epsilon:g}, "
        f"{theirs.place} first"
    )


def _epsilons(pairs: list[tuple[Node, Node]]) -> dict[str, float]:
    layers = (theirs.layer for _, theirs in pairs if isinstance(theirs.layer, ModuleLayer))
    return {layer.norm.variance: layer.norm.epsilon for layer in layers if layer.norm is not None}


class _Filler:
    """The fills of every pair of layers, and what has no place."""

    def __init__(self, pairs: list[tuple[Node, Node]], source: Structure, first_row: int) -> None:
        self._pairs, self._end, self._first_row = pairs, source.output, first_row
        self._factors = dict(_gate_factors(source))
        self._problems: list[str] = []

    def fills(self, module: nn.Module) -> tuple[tuple[Fill, ...], list[str]]:
        """All fills, a module's own buffers among them, and the problems."""
        fills: list[Fill] = []
        for ours, theirs in self._pairs:
            if isinstance(ours.layer, SourceLayer) and isinstance(theirs.layer, ModuleLayer):
                fills += self._of_pair(ours, theirs, ours.layer, theirs.layer)
        filled = {fill.target for fill in fills}
        trained = dict(module.named_parameters(remove_duplicate=False))
        for key in module.state_dict():
            if key not in filled and key not in trained:
                constant = "zeros" if key.endswith("num_batches_tracked") else "as built"
                fills.append(Fill(key, constant=constant))
        return tuple(fills), self._problems

    def _of_pair(
        self, ours: Node, theirs: Node, given: SourceLayer, layer: ModuleLayer
    ) -> Iterator[Fill]:
        rows = self._first_row if ours is self._end else 0
        axes = given.axes.split()
        kind = "depthwise" if "c" in axes else "conv" if layer.axes == 4 else "dense"
        factor = self._factors.get(ours, 1.0)
        layout = layout_onto(given.axes, kind)
        yield Fill(layer.weight, given.weight, layout, first_row=rows, factor=factor)
        if given.norm is not None:
            yield from self._kept_norm(ours, theirs, given.norm, layer)
            yield from self._bias(ours, theirs, given, layer.bias, rows)
        elif layer.norm is None:
            yield from self._bias(ours, theirs, given, layer.bias, rows)
        else:
            yield from self._identity(ours, theirs, given, layer, rows)

    def _bias(
        self, ours: Node, theirs: Node, given: SourceLayer, key: str | None, rows: int
    ) -> Iterator[Fill]:
        if key is not None and given.bias is None:
            yield Fill(key, constant="zeros")
        elif key is not None:
            yield Fill(key, given.bias, VECTOR, first_row=rows, offset=-given.offset)
        elif given.bias is not None:
            self._no_place(ours, theirs, "a bias")

    def _identity(
        self, ours: Node, theirs: Node, given: SourceLayer, layer: ModuleLayer, rows: int
    ) -> Iterator[Fill]:
        """A batch norm that the source has folded: it adds the bias, and changes nothing else."""
        norm = layer.norm
        assert norm is not None  # the caller looked
        if layer.bias is not None:
            yield Fill(layer.bias, constant="zeros")
        if norm.weight is not None:
            yield Fill(norm.weight, constant="ones")
        yield Fill(norm.mean, constant="zeros")
        yield Fill(norm.variance, constant="unit variance")
        yield from self._bias(ours, theirs, given, norm.bias, rows)

    def _kept_norm(
        self, ours: Node, theirs: Node, norm: Norm, layer: ModuleLayer
    ) -> Iterator[Fill]:
        """A batch norm that the source keeps apart, as the module does."""
        own = layer.norm
        if own is None:
            self._no_place(ours, theirs, "a batch norm")
            return
        for name, key, constant, what in (
            (norm.gamma, own.weight, "ones", "a batch norm's gamma"),
            (norm.beta, own.bias, "zeros", "a batch norm's beta"),
            (norm.mean, own.mean, "zeros", ""),
            (norm.variance, own.variance, "unit variance", ""),
        ):
            if key is not None:
                yield Fill(key, constant=constant) if name is None else Fill(key, name, VECTOR)
            elif name is not None:
                self._no_place(ours, theirs, what)

    def _no_place(self, ours: Node, theirs: Node, what: str) -> None:
        self._problems.append(f"{ours.place} has {what}, {theirs.place} has no place for it")


def _gate_factors(source: Structure) -> Iterator[tuple[Node, float]]:
    """Layers behind a gate whose sixth is not quite one, as slim's 0.16667: they take it in."""
    gates = {n: n.inputs for n in source.nodes() if n.kind == "mul"}
    for node in source.nodes():
        if node.weighted and node.inputs[0] in gates:
            factors = [g.factor for g in gates[node.inputs[0]] if g.kind == "hard_sigmoid"]
            if factors and factors[0] != 1:
                yield node, factors[0]
