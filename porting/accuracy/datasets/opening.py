"""The form that a data set is kept in, told by what lies there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from porting.accuracy.datasets import shards as sharding
from porting.accuracy.datasets import tfrecords, webdataset
from porting.accuracy.datasets.by_name import count_of, is_image, left_out
from porting.accuracy.datasets.classes import SYNSET
from porting.accuracy.datasets.folder import FolderStore, entries, listing
from porting.accuracy.datasets.label_file import WELL_KNOWN
from porting.accuracy.datasets.labelling import Asked, labelling
from porting.accuracy.datasets.records import begins_as_records
from porting.accuracy.datasets.store import Contents
from porting.accuracy.datasets.tar import TarStore, is_tar, members_of
from porting.errors import BadInput

_VALIDATION = ("val", "validation")
_RECORDS = (".tfrecord", ".tfrecords")


def contents_of(path: Path, asked: Asked) -> Contents:
    """What lies at a path.

    Raises:
        BadInput: there is no data set, or it is incomplete or damaged.
    """
    if sharding.is_pattern(path):
        return _of_shards(path, sharding.expanded(path), asked)
    if path.is_dir():
        return _of_folder(path, asked)
    if path.is_file():
        return _of_shards(path, [path], asked)
    raise BadInput(f"{path}: no such file or folder; expected a data set")


def _of_folder(folder: Path, asked: Asked) -> Contents:
    below, lying = entries(folder)
    by_synset = any(SYNSET.fullmatch(name) for name in below)
    if by_synset or any(is_image(name) for name in lying):
        return _of_images(folder, asked)
    inner = _validation_folder(folder, below, asked)
    if inner is not None:
        return _of_folder(inner, asked)
    chosen = [name for name in lying if _named_as_records(name) or name.endswith(".tar")]
    if not chosen:
        return _of_images(folder, asked)
    if not all(SYNSET.fullmatch(name.removesuffix(".tar")) for name in chosen):
        chosen = sharding.one_set(folder, chosen)
    return _of_shards(folder, [folder / name for name in chosen], asked)


def _named_as_records(name: str) -> bool:
    return name.lower().endswith(_RECORDS) or sharding.OF_N.fullmatch(name) is not None


def _validation_folder(folder: Path, below: Sequence[str], asked: Asked) -> Path | None:
    """The folder of validation images in one of a whole data set, if that is what this is."""
    inner = [name for name in below if name in _VALIDATION]
    if not inner or len(below) == asked.classes:
        return None
    if len(inner) > 1:
        raise BadInput(f"{folder}: holds both val and validation; name the one that is meant")
    return folder / inner[0]


def _of_images(folder: Path, asked: Asked) -> Contents:
    found = listing(folder)
    if not found.images:
        raise BadInput(
            f"{folder}: holds no image and no shard in {count_of(found.others, 'file')}; expected "
            "folders of images by class, images with a label file, tars or TFRecord files"
        )
    told = labelling(found.images, (folder, folder.parent), folder, asked)
    strangers = [
        name for name in found.others if name not in WELL_KNOWN and folder / name != asked.labels
    ]
    notes = (*told.notes, *left_out(strangers))
    store = FolderStore(folder, found.images)
    return Contents(folder, f"folder {told.kind}", store, told.labels, {}, notes)


def _of_shards(path: Path, shards: Sequence[Path], asked: Asked) -> Contents:
    if is_tar(shards[0]):
        return _of_tars(path, shards, asked)
    if is_image(shards[0].name):
        raise BadInput(f"{path}: is a single image; expected a folder of them, a tar or shards")
    if not _named_as_records(shards[0].name) and not begins_as_records(shards[0]):
        raise BadInput(
            f"{path}: is neither a tar nor a TFRecord file; expected one, or a folder of images"
        )
    _check_own_labels(path, asked)
    found = tfrecords.read_shards(path, shards, asked.known)
    return replace(found, notes=(*found.notes, *_part(shards)))


def _check_own_labels(path: Path, asked: Asked) -> None:
    if asked.labels is not None:
        raise BadInput(
            f"{path}: its images have their labels with them, and {asked.labels} would be a second "
            "word on them; leave out --labels"
        )


def _part(shards: Sequence[Path]) -> tuple[str, ...]:
    """A note where shards are not all of those that their names count."""
    of_n = sharding.OF_N.fullmatch(shards[0].name)
    if of_n is None or len(shards) == int(of_n["count"]):
        return ()
    return (f"{len(shards):,} of the {int(of_n['count']):,} shards of the whole data set",)


def _of_tars(path: Path, shards: Sequence[Path], asked: Asked) -> Contents:
    members = [members_of(shard) for shard in shards]
    if any(webdataset.is_webdataset(inside) for inside in members):
        _check_own_labels(path, asked)
        return webdataset.read_shards(path, shards, members, asked.known)
    everything = [(shard, member) for shard, inside in enumerate(members) for member in inside]
    images = [(shard, member) for shard, member in everything if is_image(member.name)]
    others = [member.name for _, member in everything if not is_image(member.name)]
    if not images:
        raise BadInput(_no_images(path, others))
    store = TarStore(tuple(shards), tuple(images))
    told = labelling([member.name for _, member in images], (shards[0].parent,), path, asked)
    faults = {number: m.reason for number, (_, m) in enumerate(images) if m.reason}
    numbers = (None if n in faults else label for n, label in enumerate(told.labels.numbers))
    labels = replace(told.labels, numbers=tuple(numbers))
    notes = (*told.notes, *left_out(others))
    return Contents(path, f"tar {told.kind}", store, labels, faults, notes)


def _no_images(path: Path, others: Sequence[str]) -> str:
    if others and all(name.endswith(".tar") for name in others):
        return (
            f"{path}: is a tar of {count_of(others, 'tar')}, such as {others[0]}; unpack it into a "
            "folder, and give that (the tars in it may stay as they are)"
        )
    return f"{path}: holds no image in {count_of(others, 'file')}"
