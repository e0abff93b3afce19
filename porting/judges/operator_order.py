"""Reordering a TFLite file's operators, so that each works on values fed to it.

The flatbuffer is walked by hand: importing the schema classes takes longer than this does.
"""

from __future__ import annotations

import struct
from collections.abc import Collection
from graphlib import CycleError, TopologicalSorter

import numpy as np

from porting.errors import NoPieces

_SUBGRAPHS, _OPERATORS, _INPUTS, _OUTPUTS = 8, 10, 6, 8
"""Places of ``Model.subgraphs``, ``SubGraph.operators``, ``Operator.inputs`` and ``.outputs``."""


def piece_by_piece(content: bytes, substitutes: Collection[int]) -> bytes:
    """A file whose operators each run before what would overwrite the values fed to them.

    ``substitutes`` are tensors, by index, that are set before a run. What takes one of them runs
    before the operator that computes it, so that every operator works on the fed values, and
    each of these tensors holds afterwards what the piece of the graph before it made of them.

    Raises:
        NoPieces: the operators have no such order.
    """
    reordered_file = bytearray(content)
    graph = _vector(content, _offset(content, 0), _SUBGRAPHS)[0]
    places = _vector(content, _target(content, graph), _OPERATORS)
    operators = [_target(content, place) for place in places]
    producers = {
        int(tensor): number
        for number, operator in enumerate(operators)
        for tensor in _numbers(content, operator, _OUTPUTS)
    }
    order = TopologicalSorter({number: set() for number in range(len(operators))})
    for number, operator in enumerate(operators):
        for tensor in map(int, _numbers(content, operator, _INPUTS)):
            producer = producers.get(tensor)
            if producer is not None:
                order.add(*((producer, number) if tensor in substitutes else (number, producer)))
    try:
        numbers = list(order.static_order())
    except CycleError as error:
        raise NoPieces("its operators cannot be run piece by piece") from error
    for place, number in zip(places, numbers, strict=True):
        # An offset leads forward only, which holds wherever the tables lie behind their vector.
        if operators[number] <= place:
            raise NoPieces("its operators lie before the list of them")
        struct.pack_into("<I", reordered_file, place, operators[number] - place)
    return bytes(reordered_file)


def _offset(content: bytes, place: int) -> int:
    return int(struct.unpack_from("<I", content, place)[0])


def _target(content: bytes, place: int) -> int:
    """Where the offset at a place leads."""
    return place + _offset(content, place)


def _field(content: bytes, table: int, field: int) -> int | None:
    """Where a table's field lies, None for one that is absent."""
    vtable = table - int(struct.unpack_from("<i", content, table)[0])
    size = struct.unpack_from("<H", content, vtable)[0]
    place = struct.unpack_from("<H", content, vtable + field)[0] if field < size else 0
    return table + int(place) if place else None


def _vector(content: bytes, table: int, field: int) -> range:
    """The places of the elements of a table's vector, four bytes each."""
    place = _field(content, table, field)
    if place is None:
        return range(0)
    start = _target(content, place)
    return range(start + 4, start + 4 + 4 * _offset(content, start), 4)


def _numbers(content: bytes, table: int, field: int) -> np.ndarray:
    places = _vector(content, table, field)
    return np.frombuffer(content, "<i4", len(places), places.start if places else 0)
