"""Images as members of tar files: found once by their headers, then read where they lie."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from porting.accuracy.datasets.store import bytes_at
from porting.errors import BadInput

_BLOCK, _MAGIC_AT = 512, 257
_PIECE = 1 << 20
_PACKED = {
    b"\x1f\x8b": "gzip -d",
    b"BZh": "bzip2 -d",
    b"\xfd7zXZ": "xz -d",
    b"\x28\xb5\x2f\xfd": "zstd -d",
}
"""How compressed files begin, and what unpacks them."""

_DAMAGE = (tarfile.TarError, OSError, ValueError, TypeError, LookupError, OverflowError,
           EOFError, RecursionError, MemoryError)  # fmt: skip
"""What tarfile raises over a damaged archive."""


@dataclass(frozen=True)
class Member:
    """A file in a tar: the bytes from ``offset`` on. ``reason`` says why it is none, if so."""

    name: str
    offset: int
    size: int
    reason: str = ""


@dataclass(frozen=True)
class TarStore:
    """Members of tar files, each known by shard and member: ``val-0.tar:a/b.jpg``."""

    shards: tuple[Path, ...]
    members: tuple[tuple[int, Member], ...]
    """The number of the shard, and the member."""

    def __len__(self) -> int:
        return len(self.members)

    def name(self, number: int) -> str:
        shard, member = self.members[number]
        return f"{self.shards[shard].name}:{member.name}"

    def size(self, number: int) -> int:
        return self.members[number][1].size

    def read(self, number: int) -> bytes:
        shard, member = self.members[number]
        return bytes_at(self.shards[shard], member.offset, member.size)


def members_of(path: Path) -> list[Member]:
    """The files in a tar, in its order; no byte of them is read.

    Raises:
        BadInput: it is compressed, damaged or cut short, or holds two files of one name.
    """
    _check_plain(path)
    found: dict[str, Member] = {}
    for member in _walk(path):
        first = found.setdefault(member.name, member)
        if first is not member:
            raise BadInput(
                f"{path}: holds {member.name} twice, at bytes {first.offset:,} and "
                f"{member.offset:,}; nothing tells which is meant"
            )
    return list(found.values())


def is_tar(path: Path) -> bool:
    """Whether a file is a tar, compressed or not, by its name or its first header."""
    if ".tar" in path.suffixes or path.suffix == ".tgz":
        return True
    return _begin(path)[_MAGIC_AT:].startswith(b"ustar")


def _check_plain(path: Path) -> None:
    head = _begin(path)
    command = next((command for magic, command in _PACKED.items() if head.startswith(magic)), None)
    if command is not None:
        raise BadInput(
            f"{path}: is compressed, and images in the middle cannot be reached; run "
            f"{command} {path.name} first (images hardly shrink)"
        )


def _begin(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(_BLOCK)
    except OSError as error:
        raise BadInput(f"{path}: cannot be read: {error.strerror}") from error


def _walk(path: Path) -> Iterator[Member]:
    try:
        with tarfile.open(path, "r:", encoding="utf-8", errors="backslashreplace") as archive:
            while (info := archive.next()) is not None:
                # Else every header is kept; typeshed does not know the list.
                archive.members = []  # type: ignore[attr-defined]
                if archive.offset <= info.offset:
                    raise BadInput(f"{path}: the header at byte {info.offset:,} leads back")
                yield from _files(info, path)
            _check_end(path, archive.offset)
    except _DAMAGE as error:
        raise BadInput(f"{path}: is no sound tar file: {error}") from error


def _files(info: tarfile.TarInfo, path: Path) -> Iterator[Member]:
    name = info.name.removeprefix("./")
    if info.isdir():
        return
    if info.size < 0 or info.offset_data < 0:
        raise BadInput(f"{path}: the header of {name} gives it {info.size:,} bytes")
    reason = (
        "" if info.isreg() and not info.issparse() else "is a link or a file with holes, no image"
    )
    yield Member(name, info.offset_data, info.size, reason)


def _check_end(path: Path, offset: int) -> None:
    """See that a tar ends as one does: tarfile takes any other end, or a spoiled header, for it."""
    with path.open("rb") as stream:
        stream.seek(offset)
        if len(first := stream.read(_BLOCK)) < _BLOCK or any(first):
            raise BadInput(
                f"{path}: is damaged or cut short at byte {offset:,}: a header or the archive's "
                "end belongs there"
            )
        while piece := stream.read(_PIECE):
            if piece.count(0) != len(piece):
                raise BadInput(
                    f"{path}: has more behind the archive's end at byte {offset:,}: tars put "
                    "together with cat must be joined with tar -A"
                )
