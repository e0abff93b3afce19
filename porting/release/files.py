"""Writing a port: the weights, and beside them the card that says what they are.

Each file is written under a temporary name, synced and renamed. The card goes
first, so that weights under a release name are never without one.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from porting.api import Port
from porting.errors import NotAtParity, OutputError
from porting.release.card import card_of
from porting.release.writing import sync, temporary, write_text


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
        with temporary(out) as weights:
            with weights.open("wb") as stream:
                torch.save(port.state_dict, stream)
                sync(stream)
            digest = _sha256(weights)
            files = _names(port, out, digest)
            card = card_of(port, files.weights.name, digest)
            write_text(files.card, json.dumps(card, indent=1) + "\n")
            weights.replace(files.weights)
    except OSError as error:
        raise OutputError(f"{out}: cannot be written: {error.strerror or error}") from error
    return files


def _names(port: Port, out: Path, digest: str) -> ReleaseFiles:
    marks = ["rehearsal"] * any(file.name.startswith("rehearsal") for file in port.source.files)
    marks += ["unverified"] * (port.comparison is None)
    stem = "-".join([port.model, *marks, digest[:8]])
    return ReleaseFiles(out / f"{stem}.pth", out / f"{stem}.json")


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
