"""A TFLite file parsed: tensors, operators, and where each buffer lies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from porting.errors import BadSource, UnsupportedSource
from porting.sources.extent import MOST_SIDES, MOST_SIDES_READ
from porting.sources.source import Graph, Operator
from porting.sources.tflite.flatbuffer import Flatbuffer, Table
from porting.sources.tflite.schema import (
    CUSTOM,
    IDENTIFIER,
    METADATA,
    OPERATORS,
    OPTIONS,
    TENSOR_TYPES,
    VECTOR,
    Option,
)
from porting.sources.tflite.sparsity import Sparsity, parse_sparsity
from porting.sources.tflite.whole import check_whole


@dataclass(frozen=True)
class Quantisation:
    """Affine quantisation: ``real = scale * (stored - zero_point)``.

    One scale, or one for each index along ``axis``.
    """

    scale: np.ndarray
    zero_point: np.ndarray
    axis: int


@dataclass(frozen=True)
class StoredTensor:
    """One tensor as the file has it; ``start`` and ``size`` locate a constant's bytes."""

    name: str
    shape: tuple[int, ...]
    type: str
    start: int
    size: int
    quantisation: Quantisation | None
    sparsity: Sparsity | None

    @property
    def constant(self) -> bool:
        """Whether the file holds its values."""
        return self.size > 0


@dataclass(frozen=True)
class ParsedModel:
    """Everything that the reader needs of a file; names are unique.

    ``metadata`` is where the TFLite metadata lie, (start, size), None without any.
    """

    tensors: tuple[StoredTensor, ...]
    graph: Graph
    metadata: tuple[int, int] | None


def parse(data: memoryview, path: Path) -> ParsedModel:
    """Parse a file's bytes, checking every offset on the way.

    Raises:
        BadSource: an offset, length or index is out of bounds.
        UnsupportedSource: the file is sound but holds several subgraphs.
    """
    if len(data) < 8 or bytes(data[4:8]) != IDENTIFIER:
        raise BadSource(
            f"{path}: not a TFLite file: expected {IDENTIFIER!r} at byte 4, "
            f"found {bytes(data[4:8])!r}"
        )
    buffer = Flatbuffer(data, path)
    model = buffer.root()
    subgraphs = list(model.tables(2, "subgraphs"))
    if len(subgraphs) != 1:
        raise UnsupportedSource(f"{path}: expected one subgraph, found {len(subgraphs)}")
    spans = [_span(table, buffer) for table in model.tables(4, "buffers")]
    kinds = [_kind(table) for table in model.tables(1, "operator codes")]
    tensors = _named([_tensor(table, spans, path) for table in subgraphs[0].tables(0, "tensors")])
    metadata = _metadata(model, spans, path)
    check_whole(data, path)
    return ParsedModel(tensors, _graph(subgraphs[0], kinds, tensors, path), metadata)


def _metadata(model: Table, spans: Sequence[tuple[int, int]], path: Path) -> tuple[int, int] | None:
    found = None
    for entry in model.tables(6, "metadata"):
        name, number = entry.text(0, "metadata name"), int(entry.scalar(1, "I"))
        if number >= len(spans):
            raise BadSource(
                f"{path}: metadata {name!r} name buffer {number}, the file has {len(spans)}"
            )
        found = spans[number] if name == METADATA else found
    return found


def _span(table: Table, buffer: Flatbuffer) -> tuple[int, int]:
    """Where a buffer's bytes lie: in the table, or behind it in a file over 2 GB."""
    start, size = table.span(0, "buffer")
    outside, length = table.scalar(1, "Q"), table.scalar(2, "Q")
    # 0 and 1 stand for "in the table" (schema.fbs, Buffer.offset).
    if size == 0 and outside > 1 and length:
        if outside + length > buffer.size:
            raise buffer.fail(outside, "buffer", f"claims {length:,} bytes")
        return int(outside), int(length)
    return start, size


def _kind(table: Table) -> str:
    """An operator's name. Files of before 2020 fill the narrow field alone."""
    code = max(int(table.scalar(0, "b")), int(table.scalar(3, "i")))
    custom = table.text(1, "custom operator name")
    if code == CUSTOM:
        return f"CUSTOM:{custom}"
    return OPERATORS[code] if 0 <= code < len(OPERATORS) else f"BUILTIN_{code}"


def _tensor(table: Table, spans: Sequence[tuple[int, int]], path: Path) -> StoredTensor:
    name = table.text(3, "tensor name")
    shape = _shape(table.array(0, "i4", f"shape of {name!r}"), name, path)
    code, number = int(table.scalar(1, "b")), int(table.scalar(2, "I"))
    if code not in TENSOR_TYPES:
        raise UnsupportedSource(f"{path}: tensor {name!r} has unknown type code {code}")
    if number >= len(spans):
        raise BadSource(f"{path}: tensor {name!r} names buffer {number}, the file has {len(spans)}")
    # Tensors that name no buffer name 0, of which LiteRT takes no values, whatever it holds.
    kind, (start, size) = TENSOR_TYPES[code], spans[number] if number else (0, 0)
    # A float tensor may still say what it was quantised from; its values are real as they are.
    quantisation = None if kind.startswith(("float", "complex")) else _quantisation(table)
    sparsity = table.table(6, f"sparsity of {name!r}")
    layout = None if sparsity is None else parse_sparsity(sparsity)
    return StoredTensor(name, shape, kind, start, size, quantisation, layout)


def _shape(sides: np.ndarray, name: str, path: Path) -> tuple[int, ...]:
    if len(sides) > MOST_SIDES:
        raise BadSource(
            f"{path}: tensor {name!r} has {len(sides):,} sides, TensorFlow allows {MOST_SIDES}"
        )
    if len(sides) > MOST_SIDES_READ:
        raise UnsupportedSource(
            f"{path}: tensor {name!r} has {len(sides)} sides, at most {MOST_SIDES_READ} are read"
        )
    return tuple(sides.tolist())


def _quantisation(table: Table) -> Quantisation | None:
    parameters = table.table(4, "quantisation")
    if parameters is None:
        return None
    scale = parameters.array(2, "f4", "scales")
    zero = parameters.array(3, "i8", "zero points")
    if not scale.size:
        return None
    return Quantisation(scale, zero, int(parameters.scalar(6, "i")))


def _named(tensors: list[StoredTensor]) -> tuple[StoredTensor, ...]:
    """Give each tensor a name of its own; the schema does not ask for that."""
    seen: set[str] = set()
    named = []
    for index, tensor in enumerate(tensors):
        name = tensor.name
        if not name or name in seen:
            name = f"{tensor.name}#{index}"
        while name in seen:
            name += "#"
        seen.add(name)
        named.append(tensor if name == tensor.name else _renamed(tensor, name))
    return tuple(named)


def _renamed(tensor: StoredTensor, name: str) -> StoredTensor:
    return StoredTensor(**{**vars(tensor), "name": name})


def _graph(
    subgraph: Table, kinds: Sequence[str], tensors: Sequence[StoredTensor], path: Path
) -> Graph:
    names = [tensor.name for tensor in tensors]

    def name_of(index: int, where: str) -> str:
        if not 0 <= index < len(names):
            raise BadSource(f"{path}: {where} names tensor {index}, the file has {len(names)}")
        return names[index]

    def names_of(table: Table, slot: int, where: str) -> tuple[str, ...]:
        return tuple(name_of(int(i), where) for i in table.array(slot, "i4", where))

    operators = []
    for index, table in enumerate(subgraph.tables(3, "operators")):
        code = int(table.scalar(0, "I"))
        where = f"operator {index}"
        if code >= len(kinds):
            raise BadSource(f"{path}: {where} has code {code}, the file declares {len(kinds)}")
        inputs = tuple(
            None if i == -1 else name_of(int(i), where)
            for i in table.array(1, "i4", f"inputs of {where}")
        )
        outputs = names_of(table, 2, where)
        if not inputs or not outputs:
            raise UnsupportedSource(f"{path}: {where} ({kinds[code]}) has no inputs or no outputs")
        options = _options(table, kinds[code], path, where)
        operators.append(Operator(index, kinds[code], inputs, outputs, options))
    return Graph(
        tuple(operators),
        names_of(subgraph, 1, "the list of inputs"),
        names_of(subgraph, 2, "the list of outputs"),
    )


def _options(table: Table, kind: str, path: Path, where: str) -> dict[str, Any]:
    options = table.table(4, f"options of {where}")
    values: dict[str, Any] = {}
    for name, option in OPTIONS.get(kind, {}).items():
        value = _option(options, option, f"{name} of {where}")
        if option.names is not None:
            if value not in option.names:
                raise BadSource(f"{path}: {where} ({kind}) has unknown {name} code {value}")
            value = option.names[value]
        values[name] = value
    return values


def _option(options: Table | None, option: Option, what: str) -> Any:
    if option.code == VECTOR:
        return () if options is None else tuple(options.array(option.slot, "i4", what).tolist())
    return (
        option.default
        if options is None
        else options.scalar(option.slot, option.code, option.default)
    )
