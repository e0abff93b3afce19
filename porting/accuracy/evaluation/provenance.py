"""What the figures of an evaluation rest on, and where two evaluations differ in it."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from porting.accuracy.evaluation.predictors import Side
from porting.plain_json import encoded

PACKAGES = ("genmobilenet", "torch", "numpy", "numba", "simplejpeg", "pillow", "tensorflow",
            "keras", "ai-edge-litert", "tflite-runtime")  # fmt: skip
"""Whose versions may change a figure."""


@dataclass(frozen=True)
class DataProvenance:
    """A data set: its form, its size, and its fingerprint."""

    kind: str
    examples: int
    sha256: str


@dataclass(frozen=True)
class SourceProvenance:
    """A source: its file, its weight set, the judge that runs it, and its signature's name."""

    file: str
    sha256: str
    weights: str
    judge: str
    signature: str | None = None


@dataclass(frozen=True)
class CheckpointProvenance:
    """A checkpoint: its file, its network, and its weight set where that is known."""

    file: str
    sha256: str | None
    model: str
    weights: str | None


@dataclass(frozen=True)
class Provenance:
    """Everything that the answers of an evaluation depend on.

    ``changes`` are the variants of an evaluation that is to be explained, None for another.
    """

    data: DataProvenance
    source: SourceProvenance | None
    checkpoint: CheckpointProvenance | None
    sides: tuple[Side, ...]
    versions: dict[str, str]
    changes: tuple[Side, ...] | None = None
    batch: int | None = None
    device: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The provenance as plain data by topic, for the journal and the report."""
        data = asdict(self)
        for topic, sides in (("sides", self.sides), ("changes", self.changes)):
            data[topic] = sides if sides is None else {side.name: asdict(side) for side in sides}
        return {topic: value for topic, value in data.items() if value is not None}


def versions() -> dict[str, str]:
    """The versions of those of the packages that are installed."""
    by_name = {}
    for package in PACKAGES:
        try:
            by_name[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return by_name


def plain(data: Mapping[str, Any]) -> dict[str, Any]:
    """The data as they are once written as JSON and read again."""
    return dict(json.loads(json.dumps(encoded(dict(data)))))


def digest_of(words: Iterable[Any]) -> str:
    """A short name for what was asked: the same for the same words."""
    return hashlib.sha256("\n".join(map(str, words)).encode()).hexdigest()[:6]


def differences(one: Any, other: Any, topic: str = "") -> Iterator[tuple[str, str, str]]:
    """What differs between plain data: its topic, and what it is in each."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in dict.fromkeys([*one, *other]):
            yield from differences(one.get(key), other.get(key), f"{topic} {key}".strip())
    elif one != other:
        words = ("absent" if value is None else str(value) for value in (one, other))
        was, now = (text if len(text) <= 90 else f"{text[:87]}..." for text in words)
        yield topic, was, now
