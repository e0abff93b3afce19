"""What an evaluation rests on, as plain data by topic, and where two of them differ."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from porting.plain_json import encoded

PACKAGES = ("genmobilenet", "torch", "numpy", "numba", "simplejpeg", "pillow", "tensorflow",
            "keras", "ai-edge-litert", "tflite-runtime")  # fmt: skip
"""Whose versions may change a figure."""


def plain(told: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON gives it back."""
    return dict(json.loads(json.dumps(encoded(dict(told)))))


def versions() -> dict[str, str]:
    """Of those of the packages that are installed."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def digest_of(words: Iterable[Any]) -> str:
    """A short name for what was asked: the same for the same words."""
    return hashlib.sha256("\n".join(map(str, words)).encode()).hexdigest()[:6]


def differences(one: Any, other: Any, topic: str = "") -> Iterator[tuple[str, str, str]]:
    """What differs: its topic, and what it is in each."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in dict.fromkeys([*one, *other]):
            yield from differences(one.get(key), other.get(key), f"{topic} {key}".strip())
    elif one != other:
        yield topic, _short(one), _short(other)


def _short(value: Any) -> str:
    text = "absent" if value is None else str(value)
    return text if len(text) <= 90 else f"{text[:87]}..."
