"""Images in tar files, found once by their headers and then read where they lie.

In WebDataset shards the files of one example share all before the first dot, as in the
``webdataset`` library's ``tariterators.base_plus_ext``.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from porting.accuracy.datasets.classes import ClassList, labels_of_numbers
from porting.accuracy.datasets.dataset import DataSet, bytes_at
from porting.accuracy.datasets.labels import NUMBER, SUFFIXES, Labels, is_image, note_on_others
from porting.errors import BadExample, BadInput

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

_LABELS = ("cls", "json")
_LONGEST = 1 << 20  # bytes of a label's file


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
    """List the files in a tar, in its order, from their headers alone.

    Raises:
        BadInput: it is compressed, damaged or cut short, or holds two files of one name.
    """
    head = _head_of(path)
    command = next((command for magic, command in _PACKED.items() if head.startswith(magic)), None)
    if command is not None:
        raise BadInput(
            f"{path}: is compressed, and images in the middle cannot be reached; run "
            f"{command} {path.name} first (images hardly shrink)"
        )
    members: dict[str, Member] = {}
    for member in _walk(path):
        first = members.setdefault(member.name, member)
        if first is not member:
            raise BadInput(
                f"{path}: holds {member.name} twice, at bytes {first.offset:,} and "
                f"{member.offset:,}; nothing tells which is meant"
            )
    return list(members.values())


def is_tar(path: Path) -> bool:
    """Whether a file is a tar, compressed or not, by its name or its first header."""
    if ".tar" in path.suffixes or path.suffix == ".tgz":
        return True
    return _head_of(path)[_MAGIC_AT:].startswith(b"ustar")


def _head_of(path: Path) -> bytes:
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
                name = info.name.removeprefix("./")
                if info.isdir():
                    continue
                if info.size < 0 or info.offset_data < 0:
                    raise BadInput(f"{path}: the header of {name} gives it {info.size:,} bytes")
                regular = info.isreg() and not info.issparse()
                reason = "" if regular else "is a link or a file with holes, no image"
                yield Member(name, info.offset_data, info.size, reason)
            _check_end(path, archive.offset)
    except _DAMAGE as error:
        raise BadInput(f"{path}: is no sound tar file: {error}") from error


def _check_end(path: Path, offset: int) -> None:
    """Check the archive's end: tarfile takes any other end, or a damaged header, for it."""
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


def split(name: str) -> tuple[str, str]:
    """Key and extension of a member: ``a/b.seg.png`` is ``seg.png`` of ``a/b``."""
    folder, _, base = name.rpartition("/")
    stem, _, extension = base.partition(".")
    return (f"{folder}/{stem}" if folder else stem), extension


def is_webdataset(members: Sequence[Member]) -> bool:
    """Whether images have files of labels beside them in a tar."""
    return any(
        _label_of(files) is not None and any(map(_is_plain, files))
        for files in _by_key(members).values()
    )


def _by_key(members: Sequence[Member]) -> dict[str, list[Member]]:
    keys: dict[str, list[Member]] = {}
    for member in members:
        keys.setdefault(split(member.name)[0], []).append(member)
    return keys


def _is_plain(member: Member) -> bool:
    """Whether a member is the image of its key, and not one beside it as ``key.seg.png``."""
    return is_image(member.name) and f".{split(member.name)[1].lower()}" in SUFFIXES


def _label_of(files: Sequence[Member]) -> Member | None:
    """The file of a label among those of a key."""
    by_extension = {split(file.name)[1].lower(): file for file in files}
    return next((by_extension[name] for name in _LABELS if name in by_extension), None)


def read_webdataset(
    path: Path, shards: Sequence[Path], members: Sequence[Sequence[Member]], listing: ClassList
) -> DataSet:
    """The images of shards with their labels.

    Raises:
        BadInput: a key has two images, or a label and no image; or a label is no class.
    """
    images: list[tuple[int, Member]] = []
    values: dict[int, str] = {}
    faults: dict[int, str] = {}
    others: list[str] = []
    for shard, inside in enumerate(members):
        for image, label in _pairs(shards[shard], inside, others):
            try:
                values[len(images)] = _label(shards[shard], image, label)
            except (ValueError, BadExample, RecursionError) as error:
                faults[len(images)] = f"its label cannot be read: {error}"
            images.append((shard, image))
    store = TarStore(tuple(shards), tuple(images))
    labels = _labels(values, store, listing)
    return DataSet(path, "WebDataset shards", store, labels, faults, note_on_others(others))


def _pairs(
    path: Path, members: Sequence[Member], others: list[str]
) -> list[tuple[Member, Member | None]]:
    """The image of each key and the file of its label; the rest goes into ``others``."""
    pairs = []
    for key, files in _by_key(members).items():
        images, label = list(filter(_is_plain, files)), _label_of(files)
        if len(images) > 1 or (label is not None and not images):
            extensions = ", ".join(sorted(split(file.name)[1] for file in files))
            raise BadInput(
                f"{path}: {key} has {len(images)} images ({extensions}); expected one of "
                f"{', '.join(SUFFIXES)}"
            )
        pairs += [(image, label) for image in images]
        others += [file.name for file in files if file is not label and file not in images]
    return pairs


def _label(path: Path, image: Member, member: Member | None) -> str:
    """Read a label's file: a number, or the name of a class.

    Raises:
        ValueError: it says nothing of the kind.
    """
    if image.reason:
        raise ValueError(f"the image {image.reason}")
    if member is None:
        raise ValueError("there is neither .cls nor .json with it")
    if member.reason or member.size > _LONGEST:
        raise ValueError(f"{member.name} {member.reason or f'has {member.size:,} bytes'}")
    text = bytes_at(path, member.offset, member.size).decode("utf-8").strip()
    if member.name.lower().endswith(".json"):
        data = json.loads(text)
        value = data.get("label") if isinstance(data, dict) else data
        valid = isinstance(value, (int, str)) and not isinstance(value, bool)
        text = str(value).strip() if valid else ""
    if not text:
        raise ValueError(f"{member.name} holds neither a number nor the name of a class")
    return text


def _labels(by_number: dict[int, str], store: TarStore, listing: ClassList) -> Labels:
    readable, values = list(by_number), list(by_number.values())

    def where(place: int) -> str:
        shard, member = store.members[readable[place]]
        return f"{store.shards[shard]}:{member.name}"

    labels: list[int] = []
    if not values:
        order = "not one can be read"
    elif all(NUMBER.fullmatch(value) for value in values):
        names = [store.name(number) for number in readable]
        numbers = [int(value) for value in values]
        labels, order = labels_of_numbers(numbers, names, listing, where)
    else:
        labels = [listing.label(value, where(place)) for place, value in enumerate(values)]
        order = f"classes by name, in {listing.what}"
    by_image = dict(zip(readable, labels, strict=True))
    labels_by_number = tuple(map(by_image.get, range(len(store))))
    return Labels(labels_by_number, f".cls or .json beside images: {order}", listing)
