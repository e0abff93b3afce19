"""The plan of a source whose graph is aligned with a network."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from porting.mapping.layouts import VECTOR
from porting.mapping.plan import Fill, LeftOut, Plan
from porting.mapping.walk import Alignment, Norm, Pair
from porting.sources.source import Source


def plan_by_graph(
    source: Source, model: str, alignment: Alignment, weight_set: str, first_row: int = 0
) -> Plan:
    """Plan a port from an alignment. A batch norm folded in the source becomes an identity."""
    pairs = alignment.pairs
    fills = tuple(fill for pair in pairs for fill in _fills(pair, first_row, alignment))
    return Plan(model, "graph", weight_set, fills, left_out(source, fills, alignment))


def left_out(source: Source, fills: Iterable[Fill], alignment: Alignment) -> tuple[LeftOut, ...]:
    """The source's tensors that fill nothing: parameters of its operators, or not used at all."""
    used, parameters = {fill.source for fill in fills}, alignment.parameters
    return tuple(
        LeftOut(name, f"parameter of {parameters[name]}")
        if name in parameters
        else LeftOut(name, "not used by the graph")
        for name in source.tensors
        if name not in used
    )


def _fills(pair: Pair, first_row: int, alignment: Alignment) -> Iterator[Fill]:
    layer = pair.layer
    factor = alignment.factors.get(layer.path, 1.0)
    rows = first_row if layer.kind == "dense" else 0
    yield Fill(f"{layer.path}.weight", pair.weight, pair.layout, first_row=rows, factor=factor)
    if pair.norm is not None:
        yield from _norm_fills(f"{layer.norm}", pair.norm)
        return
    key = f"{layer.norm or layer.path}.bias"
    if pair.bias is None:
        yield Fill(key, constant="zeros")
    else:
        offset = -alignment.offsets.get(layer.path, 0.0)
        yield Fill(key, pair.bias, VECTOR, first_row=rows, offset=offset)
    if layer.norm is not None:
        yield Fill(f"{layer.norm}.weight", constant="ones")
        yield Fill(f"{layer.norm}.running_mean", constant="zeros")
        yield Fill(f"{layer.norm}.running_var", constant="unit variance")
        yield Fill(f"{layer.norm}.num_batches_tracked", constant="zeros")


def _norm_fills(path: str, norm: Norm) -> Iterator[Fill]:
    """A batch norm as the graph has it; one without statistics scales and adds alone."""
    yield _filled(f"{path}.weight", norm.gamma, "ones")
    yield _filled(f"{path}.bias", norm.beta, "zeros")
    yield _filled(f"{path}.running_mean", norm.mean, "zeros")
    yield _filled(f"{path}.running_var", norm.variance, "unit variance")
    yield Fill(f"{path}.num_batches_tracked", constant="zeros")


def _filled(key: str, name: str | None, constant: str) -> Fill:
    return Fill(key, constant=constant) if name is None else Fill(key, name, VECTOR)
