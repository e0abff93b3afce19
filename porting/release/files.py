"""Writing a port: the weights, and beside them the card that says what they are.

Each file is written under a temporary name, synced and renamed. The card goes
first, so that weights under a release name are never without one.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from porting.api import Port
from porting.errors import NotAtParity, OutputError
from porting.release.card import card_of


@dataclass(frozen=True)
class ReleaseFiles:
    """``weights`` is the ``.pth``, ``card`` the ``.json`` beside it."""

    weights: Path
    card: Path


def write_release(port: Port, out: Path) -> ReleaseFiles:
    """Write a port to ``out/<model>-<first 8 of sha256>.pth`` and ``.json``.

    A port that no judge has seen gets ``unverified`` into its name, one of a
    rehearsal ``rehearsal``.

    Raises:
        NotAtParity: the judge disagrees; nothing is written.
        OutputError: the folder cannot be made or written to; nothing is left there.
    """
    import torch

    if port.comparison is not None and not port.comparison:
        raise NotAtParity(
            f"{port.source.path}: {port.comparison.summary()}; nothing is written under a "
            "release name"
        )
    try:
        out.mkdir(parents=True, exist_ok=True)
        with _temporary(out) as weights:
            with weights.open("wb") as stream:
                torch.save(port.state_dict, stream)
                _sync(stream)
            digest = _sha256(weights)
            files = _names(port, out, digest)
            _write_text(files.card, card_of(port, files.weights.name, digest), out)
            weights.replace(files.weights)
    except OSError as error:
        raise OutputError(f"{out}: cannot be written: {error.strerror or error}") from error
    return files


def _names(port: Port, out: Path, digest: str) -> ReleaseFiles:
    marks = ["rehearsal"] * any(file.name.startswith("rehearsal") for file in port.source.files)
    marks += ["unverified"] * (port.comparison is None)
    stem = "-".join([port.model, *marks, digest[:8]])
    return ReleaseFiles(out / f"{stem}.pth", out / f"{stem}.json")


def _write_text(path: Path, data: dict[str, Any], out: Path) -> None:
    with _temporary(out) as place:
        with place.open("w", encoding="utf-8") as stream:
            json.dump(data, stream, indent=1)
            stream.write("\n")
            _sync(stream)
        place.replace(path)


@contextlib.contextmanager
def _temporary(out: Path) -> Iterator[Path]:
    """A hidden file in ``out`` that is gone afterwards unless it was renamed."""
    handle, name = tempfile.mkstemp(prefix=".porting-", dir=out)
    os.close(handle)
    place = Path(name)
    try:
        # mkstemp makes files private; a result is as readable as any other.
        place.chmod(0o666 & ~_umask())
        yield place
    finally:
        place.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync(stream: Any) -> None:
    stream.flush()
    os.fsync(stream.fileno())


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
