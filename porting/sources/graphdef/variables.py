"""Variables of a SavedModel: which tensor of the checkpoint beside it each is restored from.

The graph says so itself: its restoring operation assigns what RestoreV2 reads.
Names alone would not do, as in TF2 neither variables nor keys bear the other's.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from porting.errors import UnsupportedSource
from porting.sources.checkpoint.bundle import Bundle
from porting.sources.checkpoint.wire import Malformed
from porting.sources.graphdef.constants import VARIABLES
from porting.sources.graphdef.flat import FlatGraph, FlatNode, node_of, number_of
from porting.sources.graphdef.tensors import parse_constant
from porting.sources.source import TensorInfo

_ASSIGNMENTS = ("Assign", "AssignVariableOp")


class NoVariables:
    """Of a frozen graph, which has made constants of its variables."""

    def info(self, name: str) -> TensorInfo | None:
        """Nothing is stored of any."""
        return None

    def read(self, name: str) -> np.ndarray:
        """None can be read."""
        raise KeyError(name)


class RestoredVariables:
    """The variables of a graph, in the checkpoint with a prefix.

    Raises:
        BadSource: the checkpoint is damaged.
        Malformed: the graph restores them in a way that leads nowhere.
    """

    def __init__(self, graph: FlatGraph, restore: str, prefix: Path) -> None:
        self._bundle, self._prefix = Bundle(prefix), prefix
        self._keys = restored_from(graph, restore) if restore else {}

    @property
    def files(self) -> tuple[Path, ...]:
        """The index and the shards."""
        return self._bundle.files

    def info(self, name: str) -> TensorInfo | None:
        """What is stored of a variable, under the name of its node."""
        found = self._bundle.tensors.get(self._key(name))
        return None if found is None else replace(found, name=name)

    def read(self, name: str) -> np.ndarray:
        """The values, after their checksums have been verified."""
        return self._bundle.read(self._key(name))

    def _key(self, name: str) -> str:
        key, part = self._keys.get(name, (name, ""))
        if part:
            raise UnsupportedSource(
                f"{self._prefix}: variable {name!r} is a part of {key!r}; partitioned variables of "
                "a SavedModel are not read. Port the checkpoint that it was exported from"
            )
        return key


def restored_from(graph: FlatGraph, restore: str) -> dict[str, tuple[str, str]]:
    """Variable's node -> key in the checkpoint, and which part of what lies there ("" for all)."""
    keys = {}
    for node in graph.running(restore):
        if node.op not in _ASSIGNMENTS or len(node.inputs) < 2:
            continue
        variable, value = graph.inputs(node)[:2]
        made, reader = graph.nodes.get(node_of(variable)), graph.nodes.get(node_of(value))
        if made is None or reader is None or made.op not in VARIABLES:
            continue
        if reader.op == "RestoreV2" and len(reader.inputs) == 3:
            number = number_of(value)
            key, part = (_strings(graph, name) for name in graph.inputs(reader)[1:])
            if number >= min(len(key), len(part)):
                raise Malformed(f"{reader.name!r} restores no tensor {number}")
            keys[made.name] = (_text(key[number]), _text(part[number]))
    return keys


def _strings(graph: FlatGraph, tensor: str) -> list[bytes]:
    node: FlatNode | None = graph.producer(tensor)
    held = None if node is None or node.op != "Const" else node.attributes.tensor("value")
    constant = None if held is None else parse_constant(held)
    if constant is None or constant.dtype != "string":
        raise Malformed(f"{tensor!r} is no list of names")
    return constant.strings()


def _text(name: bytes) -> str:
    return name.decode("utf-8", errors="replace")
