"""The weights of a TensorFlow.js model: a manifest, and the shards that hold their bytes.

Format: ``weights_manifest`` in tfjs-core's ``io/types.ts``, written by ``write_weights.py`` of
``tensorflowjs`` and decoded by ``decodeWeights`` in ``io/io_utils.ts``. The weights of a group lie
one behind another in the shards of that group, one may begin in a shard and end in the next.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from porting.errors import BadSource, UnsupportedSource
from porting.sources.archive import Display
from porting.sources.memory import MOST_SIDES_READ, elements, size_text
from porting.sources.source import TensorInfo

_TYPES = {
    "float32": "<f4", "float16": "<f2", "int32": "<i4", "uint16": "<u2", "uint8": "u1",
    "bool": "?", "complex64": "<c8",
}  # fmt: skip
"""Types of weights, ``string`` apart -> their bytes (``DTYPE_VALUE_SIZE_MAP`` in ``types.ts``)."""
_STRING = "string"
_LENGTH = struct.Struct("<I")
"""Stands before each element of a string weight."""
_STEPS = ("uint8", "uint16")
"""Types that hold the number of a step: the weight is ``number * scale + min``."""
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:|//")
_LONGEST = 80
"""Characters that a message quotes of a name."""


class Malformed(ValueError):
    """An invalid description of weights; the caller adds the file."""


@dataclass(frozen=True)
class _Weight:
    """A weight of a group: ``size`` bytes of type ``stored_as`` from byte ``start`` on.

    ``dtype`` is what it is read as, ``scale`` and ``least`` turn the numbers of steps into that.
    """

    group: int
    start: int
    size: int
    shape: tuple[int, ...]
    dtype: str
    stored_as: str
    scale: float | None = None
    least: float = 0.0


@dataclass(frozen=True)
class _Group:
    """Shards in order, with the first byte of each in the group, and the size of all."""

    files: tuple[Path, ...]
    starts: tuple[int, ...]
    size: int

    def read(self, start: int, size: int) -> bytearray:
        """Bytes of the group, from as many shards as hold them."""
        data = bytearray(size)
        count = 0
        ends = (*self.starts[1:], self.size)
        for file, begin, end in zip(self.files, self.starts, ends, strict=True):
            place = start + count
            if count == size or not begin <= place < end:
                continue
            with file.open("rb") as stream:
                stream.seek(place - begin)
                view = memoryview(data)[count : count + min(size - count, end - place)]
                count += stream.readinto(view)
        if count < size:
            raise OSError(f"{size - count:,} bytes are missing")
        return data


class ShardedWeights:
    """Weights by name, each read when it is needed. The shards lie in ``folder`` or below.

    ``display`` gives the path that messages call a file by, and ``path`` is that of the model.

    Raises:
        BadSource: the manifest makes no sense, a shard is missing, or is not of the size of the
            weights in it.
    """

    def __init__(self, manifest: Any, folder: Path, path: Path, display: Display) -> None:
        self._path = path
        self._groups: list[_Group] = []
        self._weights: dict[str, _Weight] = {}
        try:
            if not isinstance(manifest, list):
                raise Malformed(f"expected a list of groups, it is {_of_type(manifest)}")
            names: set[str] = set()
            for number, group in enumerate(manifest):
                if not isinstance(group, dict):
                    raise Malformed(f"group {number + 1} is {_of_type(group)}")
                self._groups.append(_group_of(group.get("paths"), folder, names, display))
                self._add(group.get("weights"), number)
        except Malformed as error:
            raise BadSource(f"{path}: its weights manifest is damaged: {error}") from error
        self.tensors = {
            name: TensorInfo(name, weight.shape, weight.dtype, weight.stored_as)
            for name, weight in self._weights.items()
        }

    @property
    def files(self) -> tuple[Path, ...]:
        """The shards."""
        return tuple(file for group in self._groups for file in group.files)

    def info(self, name: str) -> TensorInfo:
        """Describe a weight.

        Raises:
            BadSource: the manifest does not have it.
        """
        if name not in self.tensors:
            raise BadSource(
                f"{self._path}: the graph takes the weight {_quoted(name)}, which its weights "
                "manifest does not have"
            )
        return self.tensors[name]

    def read(self, name: str) -> np.ndarray:
        """The values: of a quantised weight what its steps stand for, float16 as float32.

        Raises:
            BadSource: a shard can no longer be read.
            UnsupportedSource: they are no numbers.
        """
        weight = self._weights[name]
        if weight.dtype == _STRING:
            raise UnsupportedSource(f"{self._path}: weight {_quoted(name)} is not of numbers")
        try:
            data = self._groups[weight.group].read(weight.start, weight.size)
        except OSError as error:
            raise BadSource(f"{self._path}: cannot be read: {error}") from error
        values = np.frombuffer(data, _TYPES[weight.stored_as]).reshape(weight.shape)
        if weight.scale is not None:
            # JavaScript computes in double precision, and rounds where it stores the result.
            values = values * np.float64(weight.scale) + np.float64(weight.least)
            values = np.rint(values) if weight.dtype == "int32" else values
        with np.errstate(over="ignore", invalid="ignore"):
            return values.astype(weight.dtype, copy=False)

    def _add(self, entries: Any, number: int) -> None:
        """Add the weights of a group, and check that they fill its shards."""
        if not isinstance(entries, list):
            raise Malformed(f"the weights of group {number + 1} are {_of_type(entries)}")
        group, place = self._groups[number], 0
        for entry in entries:
            name = entry.get("name") if isinstance(entry, dict) else None
            if not isinstance(name, str):
                raise Malformed(f"group {number + 1} has a weight without a name")
            if name in self._weights:
                raise Malformed(f"it has two weights {_quoted(name)}")
            try:
                weight = _weight_of(entry, group, number, place)
            except Malformed as error:
                raise Malformed(f"weight {_quoted(name)}: {error}") from error
            place += weight.size
            if place > group.size:
                raise Malformed(
                    f"weight {_quoted(name)} ends at byte {size_text(place)} of the shards of "
                    f"group {number + 1}, which have {group.size:,}"
                )
            self._weights[name] = weight
        if place != group.size:
            raise Malformed(
                f"the weights of group {number + 1} take {place:,} bytes, its shards have "
                f"{group.size:,}"
            )


def _group_of(paths: Any, folder: Path, names: set[str], display: Display) -> _Group:
    """The shards of a group; ``names`` are those of all groups so far, to which they are added."""
    if not isinstance(paths, list) or not all(isinstance(path, str) for path in paths):
        raise Malformed("the paths of a group are not a list of names")
    files, starts, size = [], [], 0
    for path in paths:
        name = PurePosixPath(path)
        if _URL.match(path):
            raise Malformed(
                f"the shard {_quoted(path)} is elsewhere; download it, and name it by its file"
            )
        if name.is_absolute() or ".." in name.parts or "\\" in path or "\0" in path:
            raise Malformed(f"the shard {_quoted(path)} is not below the folder of the model")
        if str(name) in names:
            raise Malformed(f"the shard {_quoted(path)} is listed twice")
        names.add(str(name))
        file = folder / name
        try:
            is_file = file.is_file()
            length = file.stat().st_size if is_file else 0
        except OSError:
            is_file = False
        if not is_file:
            raise Malformed(
                f"the shard {_quoted(path)} is not in {display(folder)}; copy all {len(paths)} "
                "beside it"
            )
        files.append(file)
        starts.append(size)
        size += length
    return _Group(tuple(files), tuple(starts), size)


def _weight_of(entry: Mapping[str, Any], group: _Group, number: int, place: int) -> _Weight:
    """One entry of the manifest, whose bytes begin at ``place`` in its group."""
    shape, dtype = entry.get("shape"), entry.get("dtype")
    if not isinstance(shape, list) or not all(type(side) is int and side >= 0 for side in shape):
        raise Malformed(f"its shape is {str(shape)[:_LONGEST]}")
    if len(shape) > MOST_SIDES_READ:
        raise Malformed(f"it has {len(shape):,} axes; up to {MOST_SIDES_READ} are read")
    if not isinstance(dtype, str) or (dtype != _STRING and dtype not in _TYPES):
        raise Malformed(f"it is of type {str(dtype)[:_LONGEST]}")
    count, sides = elements(shape), tuple(shape)
    if dtype == _STRING:
        size = _size_of_strings(group, place, count)
        return _Weight(number, place, size, sides, dtype, dtype)
    quantisation = entry.get("quantization")
    if quantisation is None:
        itemsize = np.dtype(_TYPES[dtype]).itemsize
        read_as = "float32" if dtype == "float16" else dtype
        return _Weight(number, place, count * itemsize, sides, read_as, dtype)
    if not isinstance(quantisation, dict):
        raise Malformed(f"its quantisation is {_of_type(quantisation)}")
    storage = quantisation.get("dtype")
    if dtype not in ("float32", "int32") or storage not in (*_STEPS, "float16"):
        raise Malformed(f"{dtype} is quantised to {str(storage)[:_LONGEST]}")
    size = count * np.dtype(_TYPES[storage]).itemsize
    if storage == "float16":
        return _Weight(number, place, size, sides, dtype, storage)
    scale, least = (_number(quantisation.get(key), key) for key in ("scale", "min"))
    return _Weight(number, place, size, sides, dtype, storage, scale, least)


def _size_of_strings(group: _Group, place: int, count: int) -> int:
    """The bytes of a string weight, whose elements have their lengths before them."""
    start = place
    if count * _LENGTH.size > group.size - place:
        raise Malformed(f"its {size_text(count)} strings do not fit the shards")
    for _ in range(count):
        if place + _LENGTH.size > group.size:
            raise Malformed("its strings do not fit the shards")
        place += _LENGTH.size + _LENGTH.unpack(group.read(place, _LENGTH.size))[0]
    return place - start


def _number(value: Any, key: str) -> float:
    try:
        number = float(value) if isinstance(value, (int, float)) else math.nan
    except OverflowError:
        number = math.inf
    if isinstance(value, bool) or not math.isfinite(number):
        raise Malformed(f"its quantisation has {key} {str(value)[:_LONGEST]}, not a finite number")
    return number


def _quoted(name: str) -> str:
    return repr(name if len(name) <= _LONGEST else f"{name[:_LONGEST]}...")


def _of_type(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a text", type(None): "missing"}
    return names.get(type(value), "a number")
