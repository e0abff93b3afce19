"""A TFLite file parsed and checked: tensors, operators, and where each buffer lies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from porting.errors import BadInput, BadSource, UnsupportedSource
from porting.sources.memory import MOST_SIDES, MOST_SIDES_READ
from porting.sources.source import DEFAULT_SIGNATURE, Graph, Operator
from porting.sources.tflite.flatbuffer import Flatbuffer, Table
from porting.sources.tflite.schema import (
    CUSTOM,
    IDENTIFIER,
    METADATA,
    MODEL,
    OPERATORS,
    OPTIONS,
    TENSOR_TYPES,
    VECTOR,
    Layout,
)
from porting.sources.tflite.tensors import Level, Quantisation, Sparsity, StoredTensor

_MOST_NAMED = 6
"""Most signatures that a message lists."""

_SPARSE_CSR = 1  # ``DimensionType``: a compressed level
_INDEX_TYPES = {1: "i4", 2: "u2", 3: "u1"}
"""``SparseIndexVector``: the union's type -> its elements."""


@dataclass(frozen=True)
class ParsedModel:
    """Everything that the reader needs of a file; names of tensors are unique.

    ``metadata`` is where the TFLite metadata lie, (start, size), None without any. ``subgraph`` is
    the number of the subgraph that was read of ``subgraph_count``, ``signature`` its name.
    """

    tensors: tuple[StoredTensor, ...]
    graph: Graph
    metadata: tuple[int, int] | None
    subgraph: int
    subgraph_count: int
    signature: str | None


def parse(data: memoryview, path: Path, signature: str | None = None) -> ParsedModel:
    """Parse a file's bytes, checking every offset on the way; of several subgraphs one.

    Raises:
        BadSource: an offset, length or index is out of bounds, a constant's size does not fit its
            shape, or the operators stand in an order in which they cannot be computed.
        BadInput: no signature is called ``signature``, or there are several to choose from.
    """
    if len(data) < 8 or bytes(data[4:8]) != IDENTIFIER:
        raise BadSource(
            f"{path}: not a TFLite file: expected {IDENTIFIER!r} at byte 4, "
            f"found {bytes(data[4:8])!r}"
        )
    buffer = Flatbuffer(data, path)
    model = buffer.root()
    subgraphs = list(model.tables(2, "subgraphs"))
    if not subgraphs:
        raise BadSource(f"{path}: expected a subgraph, found none")
    signature_name, place = _chosen_subgraph(model, len(subgraphs), signature, path)
    subgraph = subgraphs[place]
    spans = [_buffer_span(table, buffer) for table in model.tables(4, "buffers")]
    kinds = []
    for table in model.tables(1, "operator codes"):
        # Files of before 2020 fill the narrow field alone.
        code = max(int(table.scalar(0, "b")), int(table.scalar(3, "i")))
        custom = table.text(1, "custom operator name")
        builtin = OPERATORS[code] if 0 <= code < len(OPERATORS) else f"BUILTIN_{code}"
        kinds.append(f"CUSTOM:{custom}" if code == CUSTOM else builtin)
    tensors = []
    names: set[str] = set()
    for index, table in enumerate(subgraph.tables(0, "tensors")):
        tensor = _tensor(table, spans, path)
        # The schema does not ask for names, nor that they differ.
        name = tensor.name
        if not name or name in names:
            name = f"{name}#{index}"
        while name in names:
            name += "#"
        names.add(name)
        tensors.append(replace(tensor, name=name))
    metadata = None
    for table in model.tables(6, "metadata"):
        name, number = table.text(0, "metadata name"), int(table.scalar(1, "I"))
        if number >= len(spans):
            raise BadSource(
                f"{path}: metadata {name!r} name buffer {number}, the file has {len(spans)}"
            )
        metadata = spans[number] if name == METADATA else metadata
    # With a budget of its own: what is read above is charged to the other.
    _check_ends(Flatbuffer(data, path).root(), MODEL, "model")
    graph = _graph(subgraph, kinds, [tensor.name for tensor in tensors], path)
    for tensor in tensors:
        tensor.check_extent(len(data), path)
    _check_order(graph, [tensor.name for tensor in tensors if tensor.constant], path)
    return ParsedModel(tuple(tensors), graph, metadata, place, len(subgraphs), signature_name)


def _chosen_subgraph(
    model: Table, count: int, name: str | None, path: Path
) -> tuple[str | None, int]:
    """Name and subgraph of a signature; without a name those of the default, else of the only one.

    A file without signatures has its first subgraph chosen.

    Raises:
        BadSource: a signature names a subgraph that the file does not have.
        BadInput: there is none of that name, or there are several to choose from.
    """
    numbers: dict[str, int] = {}
    for table in model.tables(7, "signatures"):
        key, number = table.text(2, "signature name"), int(table.scalar(4, "I"))
        if number >= count:
            raise BadSource(
                f"{path}: signature {key!r} names subgraph {number}, the file has {count}"
            )
        numbers[key] = number
    listing = ", ".join(list(numbers)[:_MOST_NAMED]) + (", ..." * (len(numbers) > _MOST_NAMED))
    if name is not None and name not in numbers:
        raise BadInput(f"{path}: no signature {name!r}; there are {listing or 'none'}")
    if name is None and DEFAULT_SIGNATURE in numbers:
        name = DEFAULT_SIGNATURE
    if name is None and len(set(numbers.values())) > 1:
        raise BadInput(
            f"{path}: has {len(numbers)} signatures: {listing}; choose one with --signature"
        )
    name = name or next(iter(numbers), None)
    return name, 0 if name is None else numbers[name]


def _buffer_span(table: Table, buffer: Flatbuffer) -> tuple[int, int]:
    """Where a buffer's bytes lie: in the table, or behind it in a file over 2 GB."""
    start, size = table.span(0, "buffer")
    outside, length = table.scalar(1, "Q"), table.scalar(2, "Q")
    # 0 and 1 stand for "in the table" (schema.fbs, Buffer.offset).
    if size == 0 and outside > 1 and length:
        if outside + length > buffer.size:
            raise buffer.fail(outside, "buffer", f"claims {length:,} bytes")
        return int(outside), int(length)
    return start, size


def _tensor(table: Table, spans: Sequence[tuple[int, int]], path: Path) -> StoredTensor:
    name = table.text(3, "tensor name")
    sides = table.array(0, "i4", f"shape of {name!r}")
    if len(sides) > MOST_SIDES:
        raise BadSource(
            f"{path}: tensor {name!r} has {len(sides):,} sides, TensorFlow allows {MOST_SIDES}"
        )
    if len(sides) > MOST_SIDES_READ:
        raise UnsupportedSource(
            f"{path}: tensor {name!r} has {len(sides)} sides, at most {MOST_SIDES_READ} are read"
        )
    code, number = int(table.scalar(1, "b")), int(table.scalar(2, "I"))
    if code not in TENSOR_TYPES:
        raise UnsupportedSource(f"{path}: tensor {name!r} has unknown type code {code}")
    if number >= len(spans):
        raise BadSource(f"{path}: tensor {name!r} names buffer {number}, the file has {len(spans)}")
    # Tensors that name no buffer name 0, of which LiteRT takes no values, whatever it holds.
    kind, (start, size) = TENSOR_TYPES[code], spans[number] if number else (0, 0)
    quantisation = None
    # A float tensor may still say what it was quantised from; its values are real as they are.
    if not kind.startswith(("float", "complex")) and (parameters := table.table(4, "quantisation")):
        scale = parameters.array(2, "f4", "scales")
        zero = parameters.array(3, "i8", "zero points")
        if scale.size:
            quantisation = Quantisation(scale, zero, int(parameters.scalar(6, "i")))
    layout = table.table(6, f"sparsity of {name!r}")
    sparsity = None if layout is None else _sparsity(layout)
    return StoredTensor(name, tuple(sides.tolist()), kind, start, size, quantisation, sparsity)


def _sparsity(table: Table) -> Sparsity:
    def index_vector(level: Table, slot: int, what: str) -> np.ndarray:
        # A union: its type lies in the slot before its table.
        kind, vector = int(level.scalar(slot, "B")), level.table(slot + 1, what)
        if kind not in _INDEX_TYPES or vector is None:
            return np.empty(0, np.int64)
        return vector.array(0, _INDEX_TYPES[kind], what).astype(np.int64)

    order = table.array(0, "i4", "traversal order")
    block_map = table.array(1, "i4", "block map")
    levels = []
    for level in table.tables(2, "levels of a sparse tensor"):
        if level.scalar(0, "b") == _SPARSE_CSR:
            segments, indices = (
                index_vector(level, 2, "segments"),
                index_vector(level, 4, "indices"),
            )
            levels.append(Level(0, segments, indices))
        else:
            levels.append(Level(int(level.scalar(1, "i")), None, np.empty(0, np.int64)))
    return Sparsity(tuple(order.tolist()), tuple(block_map.tolist()), tuple(levels))


def _check_ends(table: Table, layout: Layout, what: str) -> None:
    """Follow everything that a file declares to its end, also what no weight or graph needs.

    A file that is cut short loses its end first, and what a writer puts there differs: names,
    debugging aids, tables without fields. What lies behind the last thing declared, alignment or
    a table that nothing points to, can be cut off without notice, and nothing is lost with it.
    """
    for slot, part in layout.items():
        place = f"field {slot} of {what}"
        if isinstance(part, int):
            table.span(slot, place, part)
        elif isinstance(part, str):
            table.span(slot, place, 1, is_text=True)
        elif isinstance(part, list):
            for element in table.tables(slot, place):
                _check_ends(element, part[0], place)
        elif (inner := table.table(slot, place)) is not None:
            _check_ends(inner, part, place)


def _graph(subgraph: Table, kinds: Sequence[str], names: Sequence[str], path: Path) -> Graph:
    def names_of(
        table: Table, slot: int, where: str, what: str = "", optional: bool = False
    ) -> tuple[Any, ...]:
        indices = table.array(slot, "i4", what or where).tolist()
        for index in indices:
            if not 0 <= index < len(names) and not (optional and index == -1):
                raise BadSource(f"{path}: {where} names tensor {index}, the file has {len(names)}")
        return tuple(None if index == -1 else names[index] for index in indices)

    operators = []
    for index, table in enumerate(subgraph.tables(3, "operators")):
        code, where = int(table.scalar(0, "I")), f"operator {index}"
        if code >= len(kinds):
            raise BadSource(f"{path}: {where} has code {code}, the file declares {len(kinds)}")
        inputs = names_of(table, 1, where, f"inputs of {where}", optional=True)
        outputs = names_of(table, 2, where)
        if not inputs or not outputs:
            raise UnsupportedSource(f"{path}: {where} ({kinds[code]}) has no inputs or no outputs")
        fields = table.table(4, f"options of {where}")
        options: dict[str, Any] = {}
        for name, option in OPTIONS.get(kinds[code], {}).items():
            value: Any = () if option.code == VECTOR else option.default
            if fields is not None and option.code == VECTOR:
                value = tuple(fields.array(option.slot, "i4", f"{name} of {where}").tolist())
            elif fields is not None:
                value = fields.scalar(option.slot, option.code, option.default)
            if option.names is not None:
                if value not in option.names:
                    raise BadSource(
                        f"{path}: {where} ({kinds[code]}) has unknown {name} code {value}"
                    )
                value = option.names[value]
            options[name] = value
        operators.append(Operator(index, kinds[code], inputs, outputs, options))
    return Graph(
        tuple(operators),
        names_of(subgraph, 1, "the list of inputs"),
        names_of(subgraph, 2, "the list of outputs"),
    )


def _check_order(graph: Graph, constants: Sequence[str], path: Path) -> None:
    """Check that no tensor is computed twice, and none is read before it is computed.

    A cycle has an operator that reads what is computed only later, or by itself.

    Raises:
        BadSource: naming operator and tensor.
    """

    def label(operator: Operator) -> str:
        return f"operator {operator.index} ({operator.kind})"

    origins = dict.fromkeys(constants, "which the file stores")
    origins |= dict.fromkeys(graph.inputs, "which is an input of the graph")
    makers: dict[str, Operator] = {}
    for operator in graph.operators:
        for name in operator.outputs:
            if name in makers:
                origins[name] = f"which {label(makers[name])} has computed before"
            if name in origins:
                raise BadSource(f"{path}: {label(operator)} computes {name!r}, {origins[name]}")
            makers[name] = operator
    for operator in graph.operators:
        for name in filter(None, operator.inputs):
            maker = makers.get(name)
            if maker is not None and maker.index >= operator.index:
                when = "itself" if maker is operator else f"{label(maker)}, which comes later"
                raise BadSource(
                    f"{path}: {label(operator)} reads {name!r}, which is computed by {when}"
                )
