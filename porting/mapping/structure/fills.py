"""What fills each key of a module, once its layers are paired with a source's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from porting.mapping.layouts import VECTOR, layout_onto
from porting.mapping.plan import Fill
from porting.mapping.structure.match import Pairs
from porting.mapping.structure.node import ModuleLayer, Node, SourceLayer, Structure
from porting.mapping.walk import Norm

if TYPE_CHECKING:
    from torch import nn


class Filler:
    """The fills of every pair of layers, and what has no place."""

    def __init__(self, pairs: Pairs, source: Structure, first_row: int) -> None:
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
