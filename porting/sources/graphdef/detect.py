"""Telling graphs and SavedModels by their content."""

from __future__ import annotations

import re
from pathlib import Path

from porting.sources.checkpoint.wire import Malformed, fields, message, text, varint

SAVED_MODEL = "saved_model.pb"
"""The file of a SavedModel's folder that holds its graph."""

_HEAD = 1 << 16
_NAME = re.compile(r"[A-Za-z0-9.][A-Za-z0-9_.\\/>-]*")
"""TensorFlow's rule for the names of nodes (``node_def_util.cc``)."""
_OP = re.compile(r"[A-Za-z_][A-Za-z0-9_>]*")
_NODE_TAG = 0x0A


def looks_like_graph(path: Path) -> bool:
    """Whether a file begins with a node, as a ``GraphDef`` does: its name, then its operation."""
    try:
        with path.open("rb") as stream:
            head = stream.read(_HEAD)
        return head[:1] == bytes([_NODE_TAG]) and _begins_with_node(head)
    except (OSError, Malformed):
        return False


def _begins_with_node(head: bytes) -> bool:
    length, place = varint(head, 1)
    begun = fields(head[place : place + length])
    found: dict[int, str] = {}
    for number, value in begun:
        if number not in (1, 2) or number in found:
            break
        found[number] = text(message(value))
        if len(found) == 2:
            return bool(_NAME.fullmatch(found[1]) and _OP.fullmatch(found[2]))
    return False


def looks_like_saved_model(path: Path) -> bool:
    """Whether a path is a folder with a ``saved_model.pb`` in it, or that file."""
    if path.is_dir():
        return (path / SAVED_MODEL).is_file()
    return path.name == SAVED_MODEL and path.is_file()
