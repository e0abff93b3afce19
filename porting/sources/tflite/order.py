"""Whether a graph's operators stand in an order in which they can be computed."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from porting.errors import BadSource
from porting.sources.source import Graph, Operator


def check_order(graph: Graph, stored: Iterable[str], path: Path) -> None:
    """Nothing is made twice, and nothing is read before it is made.

    A cycle has an operator that reads what is made only later, or by itself.
    ``stored`` are the constants' names.

    Raises:
        BadSource: naming operator and tensor.
    """
    makers = _makers(graph, stored, path)
    for operator in graph.operators:
        for given in operator.inputs:
            maker = None if given is None else makers.get(given)
            if maker is not None and maker.index >= operator.index:
                when = "by itself" if maker is operator else f"only later, by {_place(maker)}"
                raise BadSource(f"{path}: {_place(operator)} reads {given!r}, made {when}")


def _makers(graph: Graph, stored: Iterable[str], path: Path) -> dict[str, Operator]:
    """Each result's operator."""
    taken = dict.fromkeys(stored, "which the file stores")
    taken |= dict.fromkeys(graph.inputs, "which is an input of the graph")
    makers: dict[str, Operator] = {}
    for operator in graph.operators:
        for name in operator.outputs:
            if name in makers:
                taken[name] = f"which {_place(makers[name])} has made before"
            if name in taken:
                raise BadSource(f"{path}: {_place(operator)} makes {name!r}, {taken[name]}")
            makers[name] = operator
    return makers


def _place(operator: Operator) -> str:
    return f"operator {operator.index} ({operator.kind})"
