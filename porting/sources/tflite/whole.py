"""Whether all that a file declares lies within it, also what no weight or graph needs.

A file that is cut loses its end first, and what a writer puts there differs:
names, debugging aids, tables without fields. Options of operators that are not
listed in the schema's ``OPTIONS`` are followed no further than their own table.
What lies behind the last thing declared, alignment or a table that nothing
points to, can be cut off unseen, and nothing is lost with it.

Slots: tensorflow/lite ``schema.fbs`` (schema version 3).
"""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

from porting.sources.tflite.flatbuffer import Flatbuffer, Table

_TEXT = "text"
Layout: TypeAlias = "dict[int, int | str | Layout | list[Layout]]"
"""Slot -> a vector's bytes an element, text, a table, or in a list what a vector of tables has."""

_MAPS: list[Layout] = [{0: _TEXT}]
_TENSOR: Layout = {
    0: 4,
    3: _TEXT,
    4: {0: 4, 1: 4, 2: 4, 3: 8, 5: {}},
    6: {},
    7: 4,
    9: [{0: 4}],
}
_OPERATOR: Layout = {1: 4, 2: 4, 4: {}, 5: 1, 7: 1, 8: 4, 12: {}}
_SUBGRAPH: Layout = {0: [_TENSOR], 1: 4, 2: 4, 3: [_OPERATOR], 4: _TEXT}
_MODEL: Layout = {
    1: [{1: _TEXT}],
    2: [_SUBGRAPH],
    3: _TEXT,
    4: [{0: 1}],
    5: 4,
    6: [{0: _TEXT}],
    7: [{0: _MAPS, 1: _MAPS, 2: _TEXT}],
}


def check_whole(data: memoryview, path: Path) -> None:
    """Follow everything to its end, reading nothing of it.

    Raises:
        BadSource: something ends outside the file.
    """
    # A buffer of its own: what parsing has read of the file is charged there.
    _follow(Flatbuffer(data, path).root(), _MODEL, "model")


def _follow(table: Table, layout: Layout, what: str) -> None:
    for slot, part in layout.items():
        place = f"field {slot} of {what}"
        if isinstance(part, int):
            table.span(slot, place, part)
        elif isinstance(part, str):
            table.span(slot, place, 1, ended=True)
        elif isinstance(part, list):
            for entry in table.tables(slot, place):
                _follow(entry, part[0], place)
        elif (inner := table.table(slot, place)) is not None:
            _follow(inner, part, place)
