"""Write a port: the weights, and beside them the card that says what they are.

Both files are written under temporary names first, and then renamed, the card before the weights:
weights under a release name always have a card. If the process is killed between the two renames,
a card is left alone. The temporary name of its weights contains the card's name, and the next port
to the folder removes both.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from genmobilenet.config import SEPARATOR
from porting.api import Port
from porting.atomic_files import sync, temporary
from porting.card import Card, CardSource, Publication, Weights, read_card
from porting.catalog.local import published_as
from porting.errors import BadInput, NotAtParity, OutputError
from porting.judges.reference.synthesize import OLD_PREFIX, PREFIX, begins_as_synthetic, has_mark
from porting.sha256 import sha256_of
from porting.sources import Source
from porting.sources.tflite import TFLiteSource
from porting.sources.tflite.flatbuffer import Flatbuffer
from porting.temporary import is_stale

PACKAGE = "genmobilenet"

_PENDING = "-then-"
"""Between the temporary name of weights and the name of their card, while both are renamed."""

_DESCRIPTION = 3  # slot of ``Model`` in TensorFlow's schema.fbs


@dataclass(frozen=True)
class ReleaseFiles:
    """``weights`` is the ``.pth``, ``card`` the ``.json`` beside it."""

    weights: Path
    card: Path


def write_release(port: Port, out: Path) -> ReleaseFiles:
    """Write a port to ``out/<model>-<first 8 of sha256>.pth`` and ``.json``.

    The name of a port that no judge has seen contains ``unverified``, and that of one of a
    synthetic source ``synthetic``.

    Raises:
        NotAtParity: the judge disagrees; nothing is written.
        OutputError: the folder cannot be made or written to; nothing is left there.
    """

    from genmobilenet.factory import with_strings

    if port.comparison is not None and not port.comparison:
        notes = "".join(f"\n  note: {note}" for note in port.plan.notes)
        raise NotAtParity(
            f"{port.source.path}: {port.comparison.summary()}; nothing is written under a "
            f"release name{notes}"
        )
    try:
        out.mkdir(parents=True, exist_ok=True)
        _remove_lone_cards(out)
        with temporary(out) as weights, temporary(out) as card:
            with weights.open("wb") as stream:
                state = port.state_dict
                if SEPARATOR in port.model:
                    state = with_strings(state, port.model)
                _save(state, stream)
                sync(stream)
            digest = sha256_of(weights)
            files = _names(port, out, digest)
            content = card_of(port, files.weights.name, digest).to_json()
            with card.open("w", encoding="utf-8") as text:
                text.write(json.dumps(content, indent=1) + "\n")
                sync(text)
            _put_in_place(weights, card, files)
    except OSError as error:
        raise OutputError(f"{out}: cannot be written: {error.strerror or error}") from error
    return files


def _save(state: Mapping[str, Any], stream: IO[bytes]) -> None:
    """``torch.save``, which raises a RuntimeError of its own where the disk is full.

    Raises:
        OSError: the stream cannot be written to.
    """
    import torch

    try:
        torch.save(state, stream)
    except RuntimeError as error:
        # PyTorch's writer closes the file even so, and complains that it is too short.
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise


def is_synthetic(source: Source) -> bool:
    """Whether a source is synthetic, by its tensors, its description, its name or its folder."""
    if any(name.startswith((f"{PREFIX}/", f"{OLD_PREFIX}/")) for name in source.tensors):
        return True
    if isinstance(source, TFLiteSource):
        content = memoryview(source.file.read_bytes())
        description = Flatbuffer(content, source.path).root().text(_DESCRIPTION, "description")
        if begins_as_synthetic(description):
            return True
    files = [file.absolute() for file in (*source.files, source.user_file)]
    homes = {home for file in files for home in file.parents[:2]}
    return any(begins_as_synthetic(file.name) for file in files) or any(map(has_mark, homes))


def _names(port: Port, out: Path, digest: str) -> ReleaseFiles:
    marks = ["synthetic"] * is_synthetic(port.source)
    marks += ["unverified"] * (port.comparison is None)
    name = "network" if SEPARATOR in port.model else port.model
    stem = "-".join([name, *marks, digest[:8]])
    with contextlib.suppress(BadInput):  # a damaged card is written anew
        card = read_card(out / f"{stem}.pth", digest)
        if card is not None and card.source.sha256 != port.source.sha256:
            # The same weights from another source need a card of their own.
            stem += f"-{port.source.sha256[:8]}"
    return ReleaseFiles(out / f"{stem}.pth", out / f"{stem}.json")


def _put_in_place(weights: Path, card: Path, files: ReleaseFiles) -> None:
    # Weights that exist already are the same port: then the order of the renames is free.
    new = not files.weights.exists()
    pending = weights.with_name(f"{weights.name}{_PENDING}{files.card.name}")
    if new:
        weights.replace(pending)
    try:
        card.replace(files.card)
        (pending if new else weights).replace(files.weights)
    finally:
        pending.unlink(missing_ok=True)


def _remove_lone_cards(out: Path) -> None:
    """Remove cards whose weights were not renamed because the process was killed."""
    for place in out.glob(f".porting-*{_PENDING}*"):
        maker, _, card = place.name.partition(_PENDING)
        if is_stale(maker):
            place.with_name(card).unlink(missing_ok=True)
            place.unlink(missing_ok=True)


def read_port_card(port_file: Path) -> Card:
    """The card beside a ported file.

    Raises:
        BadInput: the file cannot be read, has no card of its own, or was ported onto a user-defined
            module.
    """
    try:
        card = read_card(port_file, sha256_of(port_file))
    except OSError as error:
        raise BadInput(f"{port_file}: cannot be read: {error.strerror or error}") from error
    if card is None:
        raise BadInput(
            f"{port_file}: no card beside it that is of this file; porting port writes one, "
            f"{port_file.with_suffix('.json').name}"
        )
    if card.onto is not None:
        raise BadInput(
            f"{port_file}: was ported onto {card.onto}, a user-defined module; releases are of "
            "this package's networks, which whoever loads them can build"
        )
    return card


def card_of(port: Port, name: str, digest: str) -> Card:
    """The card of a port; ``name`` and ``digest`` are those of the weight file."""
    source, entry = port.source, published_as(port.source)
    publication = None
    if entry is not None:
        publication = Publication(
            entry.name, entry.url, entry.size, entry.top1, entry.top5, entry.stated_in
        )
    return Card(
        port.model, Weights(name, digest),
        CardSource(source.name, source.format, source.sha256, port.plan.weight_set,
                   str(source.user_file.absolute()), publication, source.signature),
        verdict_json(port), port.convention, port.plan.to_json(), versions(), port.labels,
        port.onto, port.calibration,
    )  # fmt: skip


def verdict_json(port: Port) -> dict[str, Any]:
    """The judge's verdict in short as plain data: the worst tap, not all of them."""
    comparison = port.comparison
    if comparison is None:
        return {"verified": False, "summary": "no judge was run"}
    worst, figures = comparison.worst, comparison.worst.figures
    verdict: dict[str, Any] = {
        "verified": True,
        "at_parity": bool(comparison),
        "summary": comparison.summary(),
        "judge": comparison.judge,
        "judge_version": comparison.judge_version,
        "inputs": comparison.inputs,
        "inputs_are": port.inputs,
        "taps": len(comparison.taps),
        "factor": comparison.tolerance.factor,
        "worst_tap": {
            "tap": worst.tap,
            "judge_name": worst.judge_name,
            "max_abs": figures.max_abs,
            "scale": figures.scale,
            "noise": figures.noise,
            "ratio": figures.ratio,
            "worst_input": figures.worst_input,
            "worst_channel": figures.worst_channel,
            "worst_position": list(figures.worst_position),
        },
        "logits_relative_difference": comparison.logits.figures.relative,
        "pixels": None if port.pixels is None else port.pixels.to_json(),
    }
    if port.basis is not None:
        verdict["rests_on"] = port.basis.summary()
    if port.quantised is not None:
        verdict["quantised_run"] = {
            "judge": port.quantised.judge,
            "logits_relative_difference": port.quantised.logits.figures.relative,
        }
    return verdict


def versions() -> dict[str, str]:
    """Versions of what had a part in the port, this package among them."""
    import numpy
    import torch

    try:
        own = importlib.metadata.version(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        own = "not installed"
    return {
        PACKAGE: own,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": numpy.__version__,
    }
