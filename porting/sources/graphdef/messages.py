"""The messages of graphs and SavedModels, as far as a reader of networks needs them.

Format: ``graph.proto``, ``node_def.proto``, ``attr_value.proto`` and
``function.proto`` in tensorflow/core/framework; ``saved_model.proto`` and
``meta_graph.proto`` in tensorflow/core/protobuf.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from porting.sources.checkpoint.wire import Bytes, Malformed, fields, message, text
from porting.sources.graphdef.attributes import Attributes

MOST_NODES = 1 << 18
"""Most nodes of a graph and its functions together; a network's graph has some thousands."""


@dataclass(frozen=True, slots=True)
class Node:
    """``NodeDef``: ``inputs`` as written, ``name:1`` and ``^name`` included."""

    name: str
    op: str
    inputs: tuple[str, ...]
    attributes: Attributes


@dataclass(frozen=True)
class Function:
    """``FunctionDef``: ``returns`` gives, by output, the tensor of the body that it is."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: tuple[Node, ...]
    returns: Mapping[str, str]


@dataclass(frozen=True)
class GraphMessage:
    """``GraphDef`` with its library."""

    nodes: tuple[Node, ...]
    functions: Mapping[str, Function]


@dataclass(frozen=True)
class Signature:
    """``SignatureDef``: what its inputs and outputs are called in the graph, by their keys."""

    inputs: Mapping[str, str]
    outputs: Mapping[str, str]


@dataclass(frozen=True)
class MetaGraph:
    """``MetaGraphDef``; ``restore`` restores the variables of a file named in ``restores_from``."""

    tags: frozenset[str]
    graph: GraphMessage
    signatures: Mapping[str, Signature]
    restore: str = ""
    restores_from: str = ""


@dataclass
class _Count:
    """Nodes so far; a message of many empty ones takes far more memory than its file."""

    nodes: int = field(default=0)

    def one_more(self) -> None:
        self.nodes += 1
        if self.nodes > MOST_NODES:
            raise Malformed(f"over {MOST_NODES:,} nodes")


def parse_saved_model(data: Bytes) -> list[MetaGraph]:
    """Decode a ``SavedModel``: its graphs, in order.

    Raises:
        Malformed: it is no such message.
    """
    count = _Count()
    return [_meta_graph(message(value), count) for number, value in fields(data) if number == 2]


def parse_graph(data: Bytes) -> GraphMessage:
    """Decode a ``GraphDef``.

    Raises:
        Malformed: it is no such message.
    """
    return _graph(data, _Count())


def _meta_graph(data: Bytes, count: _Count) -> MetaGraph:
    tags: set[str] = set()
    graph, saver = GraphMessage((), {}), ("", "")
    signatures: dict[str, Signature] = {}
    for number, value in fields(data):
        if number == 1:
            tags |= {text(v) for n, v in fields(message(value)) if n == 4}
        elif number == 2:
            graph = _graph(message(value), count)
        elif number == 3:
            found = dict(fields(message(value)))
            saver = text(found.get(3, b"")), text(found.get(1, b""))
        elif number == 5:
            name, signature = _entry(value)
            signatures[name] = _signature(signature)
    return MetaGraph(frozenset(tags), graph, signatures, *saver)


def _signature(data: Bytes) -> Signature:
    ends: tuple[dict[str, str], dict[str, str]] = ({}, {})
    for number, value in fields(data):
        if number in (1, 2):
            name, info = _entry(value)
            ends[number - 1][name] = text(dict(fields(info)).get(1, b""))
    return Signature(*ends)


def _graph(data: Bytes, count: _Count) -> GraphMessage:
    nodes, functions = [], {}
    for number, value in fields(data):
        if number == 1:
            nodes.append(_node(message(value), count))
        elif number == 2:
            for function in _library(message(value), count):
                functions[function.name] = function
    return GraphMessage(tuple(nodes), functions)


def _library(data: Bytes, count: _Count) -> Iterator[Function]:
    for number, value in fields(data):
        if number == 1:
            yield _function(message(value), count)


def _function(data: Bytes, count: _Count) -> Function:
    name, nodes, returns = "", [], {}
    ends: dict[int, list[str]] = {2: [], 3: []}
    for number, value in fields(data):
        if number == 1:
            for part, held in fields(message(value)):
                if part == 1:
                    name = text(held)
                elif part in ends:
                    ends[part].append(text(dict(fields(message(held))).get(1, b"")))
        elif number == 3:
            nodes.append(_node(message(value), count))
        elif number == 4:
            key, tensor = _entry(value)
            returns[key] = text(tensor)
    return Function(name, tuple(ends[2]), tuple(ends[3]), tuple(nodes), returns)


def _node(data: Bytes, count: _Count) -> Node:
    count.one_more()
    name = op = ""
    inputs: list[str] = []
    attributes: dict[str, Bytes] = {}
    for number, value in fields(data):
        if number == 1:
            name = text(value)
        elif number == 2:
            op = text(value)
        elif number == 3:
            inputs.append(text(value))
        elif number == 5:
            key, held = _entry(value)
            attributes[key] = held
    return Node(name, op, tuple(inputs), Attributes(attributes))


def _entry(value: int | Bytes) -> tuple[str, Bytes]:
    """Key and value of a map's entry."""
    found = dict(fields(message(value)))
    return text(found.get(1, b"")), message(found.get(2, b""))
