"""Weights of a release: a folder, a file or an address, checked before they are read.

The name of a weight file ends in the beginning of its SHA-256, ``<model>-<8 digits>.pth``, as
``torch.hub`` has it; what is downloaded is kept where ``torch.hub`` keeps its own. No link is
followed and no code from a file is run.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import IO, Any
from urllib.parse import unquote, urljoin, urlsplit

from genmobilenet.config import SEPARATOR
from genmobilenet.errors import CheckpointError

SUMS = "SHA256SUMS"

MOST_TEXT = 64 << 20
"""Bytes of the largest card or list of checksums that is read."""

MOST_WEIGHTS_BYTES = 4 << 30
"""Bytes of the largest file that is downloaded."""

ATTEMPTS = 3
"""Connections that one download may take."""

REDIRECTS = 5

_NAME = re.compile(r"(?P<model>\w+?)(-synthetic)?(-unverified)?-(?P<digits>[0-9a-f]{8,64})\.pth")
_TIMEOUT = (10, 60)
"""Seconds to connect, and between two packets."""
_CHUNK = 1 << 16  # what a broken connection costs at most
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


@dataclass(frozen=True)
class Pretrained:
    """A weight file whose checksum is that of its name.

    ``model`` is the network that its card or else its name says; None for one without a name,
    whose strings are in the file.
    """

    path: Path
    model: str | None


def find_pretrained(place: str | PathLike[str]) -> Pretrained:
    """The weight file at a place: a release folder, a file, or an ``https`` address.

    Raises:
        CheckpointError: there is none, it is not the file that its name says, it is a link, or it
            cannot be downloaded safely. Nothing of a download is left then.
    """
    name = fspath(place)
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", name):
        return _described(_downloaded(name), card=None)
    path = Path(place)
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror or error}") from error
    if S_ISDIR(mode):
        path = _weights_in(path)
    _check_plain(path)
    digest = _sha256_of(path)
    _check_name(path, path.name, digest)
    return _described(path, _card_beside(path, digest))


def _weights_in(folder: Path) -> Path:
    """The only weight file of a release folder, which is listed in its SHA256SUMS as it is."""
    files = sorted(file.name for file in folder.iterdir() if file.name.endswith(".pth"))
    if len(files) != 1:
        names = f": {', '.join(files[:4])}" if files else ""
        raise CheckpointError(
            f"{folder}: {len(files)} files of weights (.pth){names}; a release folder has one; "
            "name the file instead"
        )
    path, sums = folder / files[0], folder / SUMS
    if os.path.lexists(sums):
        _check_plain(sums)
        lines = (line.partition("  ") for line in _text(sums).splitlines())
        digests = {name: digest for digest, _, name in lines}
        card = path.with_suffix(".json")
        for file in (path, card):
            _check_plain(file)
            digest = _sha256_of(file)
            if digests.get(file.name) != digest:
                raise CheckpointError(
                    f"{file}: its SHA-256 is {digest}, in {SUMS} "
                    f"{digests.get(file.name, 'it is not listed')}"
                )
    return path


def _check_plain(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror or error}") from error
    if not S_ISREG(mode):
        raise CheckpointError(f"{path}: is a link, a folder or a device; expected a plain file")


def _check_name(place: object, name: str, digest: str) -> None:
    match = _NAME.fullmatch(name)
    if match is None:
        raise CheckpointError(
            f"{place}: the name does not end in a checksum, as in tf_mnasnet_100-0c8fc36e.pth; "
            "load a file that you trust as checkpoint_path"
        )
    if not digest.startswith(match["digits"]):
        raise CheckpointError(
            f"{place}: its SHA-256 is {digest}, and its name says {match['digits']}: it is damaged "
            "or was renamed"
        )


def _card_beside(path: Path, digest: str) -> dict[str, Any] | None:
    """The card of a weight file; None where it has none."""
    card = path.with_suffix(".json")
    if not os.path.lexists(card):
        return None
    _check_plain(card)
    try:
        data = json.loads(_text(card))
        model, weights = data["model"], data["weights"]
        if not isinstance(model, str) or not isinstance(weights["sha256"], str):
            raise TypeError
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{card}: not a card of porting port") from error
    if weights["sha256"] != digest:
        raise CheckpointError(
            f"{card}: is the card of other weights: of SHA-256 {weights['sha256'][:64]}, and "
            f"{path.name} has {digest}"
        )
    return dict(data)


def _described(path: Path, card: dict[str, Any] | None) -> Pretrained:
    match = _NAME.fullmatch(path.name)
    assert match is not None  # _check_name ran
    model_in_name = None if match["model"] == "network" else match["model"]
    if card is None:
        return Pretrained(path, model_in_name)
    model = str(card["model"])
    if model_in_name != (None if SEPARATOR in model else model):
        raise CheckpointError(
            f"{path}: its name says {match['model']}, and the card beside it {model[:200]}"
        )
    return Pretrained(path, model)


def _sha256_of(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _text(path: Path) -> str:
    if path.stat().st_size > MOST_TEXT:
        raise CheckpointError(f"{path}: longer than {MOST_TEXT >> 20} MiB")
    try:
        return path.read_text(encoding="utf-8")
    except ValueError as error:
        raise CheckpointError(f"{path}: not a readable text") from error


class _Interrupted(Exception):
    """The connection ended before the file did."""


def _downloaded(url: str) -> Path:
    """The file at an address, from torch.hub's folder or else downloaded there."""
    import torch

    name = unquote(urlsplit(url).path).rpartition("/")[2]
    _check_https(url, url)
    if _NAME.fullmatch(name) is None:
        _check_name(url, name, "")
    folder = Path(torch.hub.get_dir(), "checkpoints")
    path = folder / name
    if os.path.lexists(path):
        _check_plain(path)
        _check_name(path, name, _sha256_of(path))
        return path
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, part = tempfile.mkstemp(prefix=f".{name}.", dir=folder)
        try:
            with os.fdopen(handle, "w+b") as stream:
                _download(url, stream)
                stream.seek(0)
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
            _check_name(url, name, digest)
            Path(part).replace(path)
        finally:
            Path(part).unlink(missing_ok=True)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be written: {error.strerror or error}") from error
    return path


def _check_https(url: str, origin: str) -> None:
    parts = urlsplit(url)
    if parts.scheme.lower() != "https" or not parts.hostname:
        how = "" if url == origin else f" redirects to {url[:200]}, which"
        raise CheckpointError(
            f"{origin}:{how} is not an https address; weights come by https alone"
        )


def _download(url: str, out: IO[bytes]) -> None:
    """Write the file at an address, going on where a connection breaks off if the server can."""
    import requests

    try:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                _receive_rest(url, out)
                return
            except (_Interrupted, requests.exceptions.ChunkedEncodingError) as error:
                if attempt == ATTEMPTS:
                    raise CheckpointError(
                        f"{url}: the download broke off {ATTEMPTS} times ({error}); nothing of it "
                        "is kept"
                    ) from error
    except requests.RequestException as error:
        raise CheckpointError(f"{url}: cannot be downloaded: {error}") from error


def _receive_rest(url: str, out: IO[bytes]) -> None:
    """Request what is missing of the file, or all of it, through at most REDIRECTS redirects."""
    import requests

    present = out.seek(0, os.SEEK_END)
    headers = {"Accept-Encoding": "identity"}
    if present:
        headers["Range"] = f"bytes={present}-"
    address = url
    for _ in range(REDIRECTS + 1):
        _check_https(address, url)
        with requests.get(
            address, headers=headers, stream=True, timeout=_TIMEOUT, allow_redirects=False
        ) as response:
            if response.is_redirect:
                address = urljoin(address, response.headers["Location"])
                continue
            if response.status_code == requests.codes.requested_range_not_satisfiable:
                out.truncate(0)
                raise _Interrupted("the server has less of it than was received")
            if response.status_code not in (200, 206):
                raise CheckpointError(f"{url}: the server answers {response.status_code}")
            _append(response, out, present, url)
            return
    raise CheckpointError(f"{url}: more than {REDIRECTS} redirects")


def _append(response: Any, out: IO[bytes], present: int, url: str) -> None:
    place = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
    # A server that ignores ranges answers 200 and begins anew.
    start = int(place[1]) if response.status_code == 206 and place else 0
    if start > present:
        raise _Interrupted("the server left out bytes")
    length = response.headers.get("Content-Length", "")
    total = start + int(length) if length.isdigit() else None
    out.truncate(start)
    out.seek(start)
    for chunk in response.iter_content(_CHUNK):
        out.write(chunk)
        if out.tell() > MOST_WEIGHTS_BYTES:
            raise CheckpointError(f"{url}: longer than {MOST_WEIGHTS_BYTES >> 30} GiB")
    out.flush()
    if total is not None and out.tell() != total:
        raise _Interrupted(f"{out.tell():,} of {total:,} bytes received")
