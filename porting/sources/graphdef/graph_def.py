"""Decoders of graphs and SavedModels, as far as a reader of networks needs them.

Formats: ``graph.proto``, ``node_def.proto``, ``attr_value.proto`` and
``function.proto`` in tensorflow/core/framework; ``saved_model.proto`` and
``meta_graph.proto`` in tensorflow/core/protobuf.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from porting.sources.memory import elements, size_text
from porting.sources.protobuf import Bytes, Malformed, fields, integer, message, signed, text
from porting.sources.tensor_proto import (
    DTYPES,
    NUMBERS,
    Shape,
    as_values,
    packed_varints,
    parse_shape,
    read_type,
    stored_dtype,
    string_values,
    value_chunks,
)

MOST_NODES = 1 << 18
"""Most nodes of a graph and its functions together; a network's graph has some thousands."""

_READ_TYPES = frozenset(NUMBERS - {"complex64", "complex128"} | {"string"})
"""Types of constants that are read."""

_QUANTISED_TYPES = {11: "int8", 12: "uint8", 13: "int32", 15: "int16", 16: "uint16"}
"""Codes of ``DT_QINT8`` and the like, whose values are stored as those of plain integers."""

_LIST, _TEXT, _INTEGER, _REAL, _FLAG, _TYPE, _SHAPE, _TENSOR, _FUNCTION = (
    1, 2, 3, 4, 5, 6, 7, 8, 10,
)  # fmt: skip
"""Fields of ``AttrValue``."""

_MOST_REPEATED = 1 << 20
"""Most elements that one stored value may stand for; shapes and steps have a few."""


def repeated_integers(data: Bytes, number: int) -> tuple[int, ...]:
    """The integers of one repeated field of a message, packed or not.

    Raises:
        Malformed: the field is of another kind.
    """
    numbers: list[int] = []
    for field_number, value in fields(data):
        if field_number == number and isinstance(value, int):
            numbers.append(signed(value))
        elif field_number == number:
            for chunk in packed_varints(message(value)):
                numbers += chunk.view(np.int64).tolist()
    return tuple(numbers)


class Attributes:
    """The attributes of one node, each decoded when it is read; a missing one has a default.

    Raises (every method):
        Malformed: the attribute is of another kind.
    """

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, Bytes]) -> None:
        self._values = values

    def text(self, name: str, default: str = "") -> str:
        """A string."""
        value = self._field(name, _TEXT)
        return default if value is None else text(value)

    def integer(self, name: str, default: int = 0) -> int:
        """An integer, or the code of a type."""
        value = self._field(name, _INTEGER)
        value = self._field(name, _TYPE) if value is None else value
        return default if value is None else signed(integer(value))

    def dtype(self, name: str) -> str:
        """The name of a type, "" where there is none or none that is read."""
        dtype = DTYPES.get(self.integer(name), "")
        return dtype if dtype in _READ_TYPES else ""

    def real(self, name: str, default: float) -> float:
        """A number in single precision."""
        value = self._field(name, _REAL)
        if value is None:
            return default
        return float(struct.unpack("<f", integer(value).to_bytes(8, "little")[:4])[0])

    def flag(self, name: str, default: bool) -> bool:
        """True or false; protobuf leaves a false one empty."""
        value = self._field(name, _FLAG)
        return default if value is None else bool(integer(value))

    def integers(self, name: str) -> tuple[int, ...]:
        """A list of integers, packed or not."""
        values = self._field(name, _LIST)
        return () if values is None else repeated_integers(message(values), 3)

    def function(self, name: str) -> str:
        """The name of a function."""
        value = self._field(name, _FUNCTION)
        return "" if value is None else text(dict(fields(message(value))).get(1, b""))

    def shape(self, name: str) -> Shape:
        """A shape."""
        value = self._field(name, _SHAPE)
        return None if value is None else parse_shape(message(value))

    def constant(self, name: str) -> Constant | None:
        """A tensor; None where there is none, or its type is not read."""
        value = self._field(name, _TENSOR)
        if value is None:
            return None
        data, code = message(value), 0
        shape: tuple[int, ...] = ()
        for number, content in fields(data):
            if number == 1:
                code = integer(content)
            elif number == 2:
                shape = parse_shape(message(content)) or ()
        if any(side < 0 for side in shape):
            raise Malformed(f"a constant of shape {shape}")
        dtype = DTYPES.get(code, _QUANTISED_TYPES.get(code, ""))
        if dtype not in _READ_TYPES:
            return None
        return Constant(shape, read_type(dtype), dtype, data)

    def _field(self, name: str, number: int) -> int | Bytes | None:
        value = self._values.get(name)
        return None if value is None else dict(fields(value)).get(number)


@dataclass(frozen=True)
class Constant:
    """A ``TensorProto``: ``dtype`` is NumPy's name of what is read, or ``string``."""

    shape: tuple[int, ...]
    dtype: str
    stored_as: str
    data: Bytes

    def values(self) -> np.ndarray:
        """The numbers; bfloat16 comes as float32.

        Raises:
            Malformed: there are more than the shape has elements, or far fewer.
        """
        dtype = stored_dtype(self.stored_as)
        chunks = list(value_chunks(self.data, self.stored_as))
        array = chunks[0] if len(chunks) == 1 else np.concatenate([np.zeros(0, dtype), *chunks])
        count = elements(self.shape)
        if array.size < count <= max(_MOST_REPEATED, array.size):
            # The last value stands for all that follow; without values, all are zero.
            last = array[-1:] if array.size else np.zeros(1, dtype)
            array = np.concatenate([array, np.repeat(last, count - array.size)])
        if array.size != count:
            raise Malformed(
                f"a tensor of shape {self.shape} takes {size_text(count)} values, it has "
                f"{array.size:,}"
            )
        values = as_values(array, self.stored_as)
        return values.astype(values.dtype.newbyteorder("="), copy=False).reshape(self.shape)

    def strings(self) -> list[bytes]:
        """The elements of a tensor of strings."""
        return list(string_values(self.data))


@dataclass(frozen=True, slots=True)
class Node:
    """``NodeDef``: ``inputs`` as they are written, ``name:1`` and ``^name`` included."""

    name: str
    op: str
    inputs: tuple[str, ...]
    attributes: Attributes


@dataclass(frozen=True)
class Function:
    """``FunctionDef``: ``returns`` gives the tensor of the body that each output is."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: tuple[Node, ...]
    returns: Mapping[str, str]


@dataclass(frozen=True)
class GraphDef:
    """``GraphDef`` with its library of functions."""

    nodes: tuple[Node, ...]
    functions: Mapping[str, Function]


@dataclass(frozen=True)
class Signature:
    """``SignatureDef``: the tensors of the graph that are its inputs and outputs, by their keys."""

    inputs: Mapping[str, str]
    outputs: Mapping[str, str]


@dataclass(frozen=True)
class MetaGraph:
    """``MetaGraphDef``; the operation ``restore`` restores the variables from a checkpoint.

    ``restores_from`` is the tensor that names the checkpoint. ``objects`` is the encoded
    ``SavedObjectGraph`` of TensorFlow 2, and ``captures`` gives, by a function's name, the
    objects that calls pass to it behind its arguments.
    """

    tags: frozenset[str]
    graph: GraphDef
    signatures: Mapping[str, Signature]
    restore: str = ""
    restores_from: str = ""
    objects: Bytes = b""
    captures: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


def parse_saved_model(data: Bytes) -> list[MetaGraph]:
    """Decode a ``SavedModel``: its graphs, in order.

    Raises:
        Malformed: it is not such a message.
    """
    parser = _Parser()
    return [parser.meta_graph(message(value)) for number, value in fields(data) if number == 2]


def parse_meta_graph(data: Bytes) -> MetaGraph:
    """Decode a ``MetaGraphDef``.

    Raises:
        Malformed: it is not such a message.
    """
    return _Parser().meta_graph(data)


def parse_graph(data: Bytes) -> GraphDef:
    """Decode a ``GraphDef``.

    Raises:
        Malformed: it is not such a message.
    """
    return _Parser().graph(data)


class _Parser:
    """Decodes messages, counting nodes: many empty ones take far more memory than their file."""

    def __init__(self) -> None:
        self._nodes = 0

    def meta_graph(self, data: Bytes) -> MetaGraph:
        """Decode a ``MetaGraphDef``."""
        tags: set[str] = set()
        graph, saver = GraphDef((), {}), ("", "")
        signatures: dict[str, Signature] = {}
        objects: Bytes = b""
        captures: dict[str, tuple[int, ...]] = {}
        for number, value in fields(data):
            if number == 1:
                tags |= {text(v) for n, v in fields(message(value)) if n == 4}
            elif number == 2:
                graph = self.graph(message(value))
            elif number == 3:
                saver_def = dict(fields(message(value)))
                saver = text(saver_def.get(3, b"")), text(saver_def.get(1, b""))
            elif number == 5:
                name, signature = _map_entry(value)
                tensors: dict[int, dict[str, str]] = {1: {}, 2: {}}
                for part, content in fields(signature):
                    if part in tensors:
                        key, info = _map_entry(content)
                        tensors[part][key] = text(dict(fields(info)).get(1, b""))
                signatures[name] = Signature(tensors[1], tensors[2])
            elif number == 7:
                objects = message(value)
                for part, content in fields(objects):
                    if part == 2:
                        name, function = _map_entry(content)
                        captures[name] = repeated_integers(function, 2)
        return MetaGraph(frozenset(tags), graph, signatures, *saver, objects, captures)

    def graph(self, data: Bytes) -> GraphDef:
        """Decode a ``GraphDef``."""
        nodes, functions = [], {}
        for number, value in fields(data):
            if number == 1:
                nodes.append(self._node(message(value)))
            elif number == 2:
                for part, content in fields(message(value)):
                    if part == 1:
                        function = self._function(message(content))
                        functions[function.name] = function
        return GraphDef(tuple(nodes), functions)

    def _function(self, data: Bytes) -> Function:
        name, nodes, returns = "", [], {}
        arguments: dict[int, list[str]] = {2: [], 3: []}
        for number, value in fields(data):
            if number == 1:
                for part, content in fields(message(value)):
                    if part == 1:
                        name = text(content)
                    elif part in arguments:
                        argument = dict(fields(message(content)))
                        arguments[part].append(text(argument.get(1, b"")))
            elif number == 3:
                nodes.append(self._node(message(value)))
            elif number == 4:
                key, tensor = _map_entry(value)
                returns[key] = text(tensor)
        return Function(name, tuple(arguments[2]), tuple(arguments[3]), tuple(nodes), returns)

    def _node(self, data: Bytes) -> Node:
        self._nodes += 1
        if self._nodes > MOST_NODES:
            raise Malformed(f"over {MOST_NODES:,} nodes")
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
                key, attribute = _map_entry(value)
                attributes[key] = attribute
        return Node(name, op, tuple(inputs), Attributes(attributes))


def _map_entry(value: int | Bytes) -> tuple[str, Bytes]:
    """Key and value of an entry of a map."""
    entry = dict(fields(message(value)))
    return text(entry.get(1, b"")), message(entry.get(2, b""))
