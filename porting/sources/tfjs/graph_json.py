"""The JSON form of a ``GraphDef``, encoded in its binary form.

A TensorFlow.js graph model holds its graph in the JSON form of protocol buffers
(``MessageToDict`` in ``tf_saved_model_conversion_v2.py`` of ``tensorflowjs``). Encoded, it is read
as every other graph is, with all checks.
"""

from __future__ import annotations

import base64
import binascii
import re
import struct
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from porting.sources.protobuf import Malformed
from porting.sources.tensor_proto import DTYPES

_SPELLINGS = {"float32": "FLOAT", "float64": "DOUBLE", "float16": "HALF"}
_TYPES = {f"DT_{_SPELLINGS.get(name, name.upper())}": code for code, name in DTYPES.items()}
"""Names of types in JSON -> their codes."""

_VARINT, _BYTES, _FIXED32, _FIXED64 = 0, 2, 5, 1

_MESSAGES: Mapping[str, Mapping[str, tuple[int, str]]] = {
    "GraphDef": {"node": (1, "NodeDef"), "library": (2, "FunctionDefLibrary")},
    "NodeDef": {
        "name": (1, "text"), "op": (2, "text"), "input": (3, "text"), "attr": (5, "attributes"),
    },
    "AttrValue": {
        "list": (1, "ListValue"), "s": (2, "bytes"), "i": (3, "integer"), "f": (4, "real"),
        "b": (5, "flag"), "type": (6, "type"), "shape": (7, "TensorShapeProto"),
        "tensor": (8, "TensorProto"), "func": (10, "NameAttrList"),
    },
    "ListValue": {
        "s": (2, "bytes"), "i": (3, "integer"), "f": (4, "real"), "b": (5, "flag"),
        "type": (6, "type"), "shape": (7, "TensorShapeProto"),
    },
    "NameAttrList": {"name": (1, "text")},
    "TensorShapeProto": {"dim": (2, "Dim"), "unknownRank": (3, "flag")},
    "Dim": {"size": (1, "integer")},
    "TensorProto": {
        "dtype": (1, "type"), "tensorShape": (2, "TensorShapeProto"),
        "tensorContent": (4, "bytes"), "floatVal": (5, "real"), "doubleVal": (6, "double"),
        "intVal": (7, "integer"), "stringVal": (8, "bytes"), "int64Val": (10, "integer"),
        "boolVal": (11, "flag"), "halfVal": (13, "integer"),
    },
    "FunctionDefLibrary": {"function": (1, "FunctionDef")},
    "FunctionDef": {
        "signature": (1, "OpDef"), "nodeDef": (3, "NodeDef"), "ret": (4, "texts"),
    },
    "OpDef": {"name": (1, "text"), "inputArg": (2, "ArgDef"), "outputArg": (3, "ArgDef")},
    "ArgDef": {"name": (1, "text")},
}  # fmt: skip
"""Message -> its fields that are read: key in JSON -> number and kind.

From ``graph.proto``, ``node_def.proto``, ``attr_value.proto``, ``tensor.proto``,
``tensor_shape.proto``, ``function.proto`` and ``op_def.proto`` in tensorflow/core/framework. No
message contains itself, so that the depth is bounded."""


def encode_graph(graph: Any) -> bytes:
    """Encode a ``GraphDef`` from the JSON that describes it.

    Raises:
        Malformed: a value is of another kind than its field.
    """
    return _message(graph, "GraphDef")


def _message(value: Any, kind: str) -> bytes:
    if not isinstance(value, dict):
        raise Malformed(f"a {kind} that is not an object")
    parts: list[bytes] = []
    for key, content in value.items():
        # protobuf also takes the keys of a message's definition, ``tensor_shape``.
        field = _MESSAGES[kind].get(re.sub("_([a-z])", lambda match: match[1].upper(), key))
        if field is not None and content is not None:
            parts += _field(*field, content)
    return b"".join(parts)


def _field(number: int, kind: str, content: Any) -> Iterator[bytes]:
    """Encode a field, once for each of its values."""
    if kind in ("attributes", "texts"):
        if not isinstance(content, dict):
            raise Malformed("a map that is not an object")
        for key, each in content.items():
            value = _message(each, "AttrValue") if kind == "attributes" else _text(each)
            entry = (*_field(1, "text", key), _tagged(2, _BYTES, value))
            yield _tagged(number, _BYTES, b"".join(entry))
        return
    values = content if isinstance(content, list) else [content]
    if kind == "bytes" and content and values is content and all(type(b) is int for b in content):
        values = [content]  # one value of bytes, as earlier converters wrote it
    for each in values:
        if kind in _MESSAGES:
            yield _tagged(number, _BYTES, _message(each, kind))
        else:
            wire, encode = _SCALARS[kind]
            try:
                yield _tagged(number, wire, encode(each))
            except (ValueError, TypeError, OverflowError, struct.error) as error:
                raise Malformed(f"a value that is not a {kind}: {str(each)[:40]!r}") from error


def _tagged(number: int, wire: int, value: bytes) -> bytes:
    length = _varint(len(value)) if wire == _BYTES else b""
    return _varint(number << 3 | wire) + length + value


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    data = bytearray()
    while value > 0x7F:
        data.append(value & 0x7F | 0x80)
        value >>= 7
    data.append(value)
    return bytes(data)


def _integer(value: Any) -> bytes:
    """A 64-bit number, which JSON has as text."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise TypeError(value)
    number = int(value)
    is_whole = isinstance(value, str) or number == value
    if not is_whole or not -(1 << 63) <= number < 1 << 64:
        raise ValueError(value)
    return _varint(number)


def _text(value: Any) -> bytes:
    if not isinstance(value, str):
        raise Malformed("a name that is not a text")
    return value.encode("utf-8", "surrogatepass")


def _flag(value: Any) -> bytes:
    if not isinstance(value, bool):
        raise TypeError(value)
    return _varint(value)


def _type(value: Any) -> bytes:
    """The code of a type, 0 for one that nothing here reads."""
    return _varint(_TYPES.get(value, 0) if isinstance(value, str) else int(value))


def _bytes(value: Any) -> bytes:
    if isinstance(value, list):
        return bytes(value)
    try:
        return base64.b64decode(value)
    except binascii.Error as error:
        raise ValueError(value) from error


_SCALARS: Mapping[str, tuple[int, Callable[[Any], bytes]]] = {
    "text": (_BYTES, _text),
    "bytes": (_BYTES, _bytes),
    "integer": (_VARINT, _integer),
    "flag": (_VARINT, _flag),
    "type": (_VARINT, _type),
    "real": (_FIXED32, lambda value: struct.pack("<f", float(value))),
    "double": (_FIXED64, lambda value: struct.pack("<d", float(value))),
}
"""Kind of a field -> its wire type, and how a value is encoded."""
