"""WebDataset shards: tars in which the files of one example share all before the first dot.

Format: the ``webdataset`` library's ``tariterators.base_plus_ext``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from porting.accuracy.datasets.by_name import NUMBER, SUFFIXES, Labels, is_image, left_out
from porting.accuracy.datasets.classes import ClassList
from porting.accuracy.datasets.numbering import labels_of_numbers
from porting.accuracy.datasets.store import Contents, bytes_at
from porting.accuracy.datasets.tar import Member, TarStore
from porting.errors import BadExample, BadInput

_LABELS = ("cls", "json")
_LONGEST = 1 << 20  # bytes of a label's file


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
    found = {split(file.name)[1].lower(): file for file in files}
    return next((found[extension] for extension in _LABELS if extension in found), None)


def read_shards(
    path: Path, shards: Sequence[Path], members: Sequence[Sequence[Member]], known: ClassList
) -> Contents:
    """The images of shards with their labels.

    Raises:
        BadInput: a key has two images, or a label and no image; or a label is no class.
    """
    images: list[tuple[int, Member]] = []
    found: list[str] = []
    faults: dict[int, str] = {}
    others: list[str] = []
    for shard, inside in enumerate(members):
        for image, label in _pairs(shards[shard], inside, others):
            try:
                found.append(_label(shards[shard], image, label))
            except (ValueError, BadExample, RecursionError) as error:
                faults[len(images)] = f"its label cannot be read: {error}"
                found.append("")
            images.append((shard, image))
    store = TarStore(tuple(shards), tuple(images))
    labels = _labels(found, store, known, faults)
    return Contents(path, "WebDataset shards", store, labels, faults, left_out(others))


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
    """What a label's file says: a number, or the name of a class.

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
    value = _from_json(text) if member.name.lower().endswith(".json") else text
    if not value:
        raise ValueError(f"{member.name} holds neither a number nor the name of a class")
    return value


def _from_json(text: str) -> str:
    found = json.loads(text)
    value = found.get("label") if isinstance(found, dict) else found
    sound = isinstance(value, (int, str)) and not isinstance(value, bool)
    return str(value).strip() if sound else ""


def _labels(
    found: Sequence[str], store: TarStore, known: ClassList, faults: dict[int, str]
) -> Labels:
    good = [number for number in range(len(found)) if number not in faults]
    values = [found[number] for number in good]

    def where(place: int) -> str:
        shard, member = store.members[good[place]]
        return f"{store.shards[shard]}:{member.name}"

    labels: list[int] = []
    if not values:
        order = "not one can be read"
    elif all(NUMBER.fullmatch(value) for value in values):
        names = [store.name(number) for number in good]
        numbers = [int(value) for value in values]
        labels, order = labels_of_numbers(numbers, names, known, where)
    else:
        labels = [known.label(value, where(place)) for place, value in enumerate(values)]
        order = f"classes by name, in {known.what}"
    by_image: list[int | None] = [None] * len(found)
    for number, label in zip(good, labels, strict=True):
        by_image[number] = label
    return Labels(
        tuple(by_image), known.count, f".cls or .json beside images: {order}", known.names
    )
