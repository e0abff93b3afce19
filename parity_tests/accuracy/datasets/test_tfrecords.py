"""TFRecord shards written by TensorFlow."""

from __future__ import annotations

import os

import pytest

from parity_tests.accuracy.datasets.making import (
    SHARK,
    TENCH,
    TISSUE,
    by_name,
    jpeg,
    labels,
    refused,
    write_files,
)
from porting.accuracy.datasets import open_dataset
from porting.errors import BadExample


@pytest.fixture
def shard(tmp_path, write_records, slim):
    """A shard of three records with synsets."""
    records = [slim(0, 1, TENCH), slim(1, 1000, TISSUE), slim(2, 3, SHARK)]
    return write_records(tmp_path / "validation-00000-of-00001", records)


def test_slim_s_records(shard):
    dataset = open_dataset(shard)
    name = "validation-00000-of-00001"
    assert by_name(dataset) == {
        f"{name}:0:ILSVRC2012_x_0.JPEG": (0, jpeg(0)),
        f"{name}:1:ILSVRC2012_x_1.JPEG": (999, jpeg(1)),
        f"{name}:2:ILSVRC2012_x_2.JPEG": (2, jpeg(2)),
    }
    assert (dataset.kind, dataset.classes) == ("TFRecord shards", 1000)
    assert dataset.label_order.startswith(
        "image/class/synset (labels count from 1: 0 is the background, and never occurs), in "
    )


@pytest.mark.parametrize(
    ("first", "expected", "order"),
    [
        ([1, 3, 1000], [0, 2, 999], "1..1000 (0, the background of 1,001 classes, never occurs)"),
        ([0, 3, 999], [0, 3, 999], "numbers 0..999"),
    ],
)
def test_numbers_alone(tmp_path, write_records, slim, first, expected, order):
    path = write_records(tmp_path / "v.tfrecord", [slim(n, label) for n, label in enumerate(first)])
    dataset = open_dataset(path)
    assert labels(dataset) == expected
    assert order in dataset.label_order


def test_known_images_tell_how_numbers_count(tmp_path, write_records, slim):
    record = slim(0, 66, name="ILSVRC2012_val_00000001.JPEG")
    assert labels(open_dataset(write_records(tmp_path / "v.tfrecord", [record, slim(1, 5)]))) == [
        65,
        4,
    ]


def test_records_of_tensorflow_datasets(tmp_path, write_records):
    records = [{"file_name": f"{n}.JPEG", "image": jpeg(n), "label": n} for n in range(2)]
    write_records(tmp_path / "imagenet2012-validation.tfrecord-00000-of-00001", records)
    write_records(tmp_path / "imagenet2012-train.tfrecord-00000-of-00001", records)
    dataset = open_dataset(tmp_path)
    assert labels(dataset) == [0, 1]
    assert dataset.read(1) == jpeg(1)
    assert dataset.example(1).name.startswith("imagenet2012-validation")


def test_several_shards(tmp_path, write_records, slim):
    for number in range(3):
        records = [slim(number, label) for label in (number, 999)[: number + 1]]
        write_records(tmp_path / f"validation-{number:05d}-of-00003", records)
    write_records(tmp_path / "train-00000-of-00001", [slim(9, 9)])
    dataset = open_dataset(tmp_path)
    assert labels(dataset) == [0, 1, 999, 2, 999]
    part = open_dataset(tmp_path / "validation-{00000..00001}-of-00003")
    assert (labels(part), part.notes) == (
        [0, 1, 999],
        ("2 of the 3 shards of the whole data set",),
    )
    part = open_dataset(tmp_path / "validation-00000-of-00003")
    assert part.notes == ("1 of the 3 shards of the whole data set",)
    (tmp_path / "validation-00001-of-00003").unlink()
    refused(tmp_path, "validation-00001-of-00003: no such file; 1 of 3 shards are missing")


def test_another_class_list(tmp_path, write_records, slim):
    write_files(tmp_path, {"list": f"{SHARK}\n{TENCH}\n"})
    path = write_records(tmp_path / "v.tfrecord", [slim(0, 1, SHARK), slim(1, 2, TENCH)])
    assert labels(open_dataset(path, synsets=tmp_path / "list")) == [0, 1]
    assert labels(open_dataset(path, classes=2)) == [0, 1]
    write_files(tmp_path, {"names": "shark\ntench\n"})
    assert labels(open_dataset(path, synsets=tmp_path / "names")) == [0, 1]


def spoil(path, place, bits=1):
    raw = bytearray(path.read_bytes())
    raw[place] ^= bits
    path.write_bytes(raw)


def second(path):
    """Where the second record begins."""
    return 16 + int.from_bytes(path.read_bytes()[:8], "little")


@pytest.mark.parametrize("byte", [0, 4, 7, 8, 11])
def test_a_damaged_length(shard, byte):
    start = second(shard)
    spoil(shard, start + byte)
    refused(shard, f"00001: record 1 at byte {start:,}: the checksum of its length is wrong; the")


def test_damaged_data_are_seen_when_they_are_read(shard):
    spoil(shard, shard.read_bytes().index(jpeg(2)[50:]))
    dataset = open_dataset(shard)
    assert (labels(dataset), dataset.problems) == ([0, 999, 2], [])
    with pytest.raises(
        BadExample, match=r"00001: record 2 at byte [\d,]+: the checksum of its data"
    ):
        dataset.read(2)
    assert dataset.read(1) == jpeg(1)


def test_damaged_data_of_a_label_at_an_end_are_seen_at_once(shard):
    spoil(shard, shard.read_bytes().index(jpeg(1)[50:]))
    ((name, why),) = open_dataset(shard).problems
    assert name == "validation-00000-of-00001:1"
    assert why == "the checksum of its data is wrong: the record is damaged"


def test_a_damaged_label_tells_nothing(tmp_path, write_records, slim):
    path = write_records(
        tmp_path / "v.tfrecord", [slim(n, label) for n, label in enumerate((1, 0, 5))]
    )
    raw, start = path.read_bytes(), second(path)
    place = raw.index(b"image/class/label", start) + 17
    assert raw[place : place + 7] == b"\x12\x05\x1a\x03\x0a\x01\x00"
    spoil(path, place + 6, 9)
    refused(path, "record 0 at byte 0: the labels 1..9 may be counted from 0 or")
    # The original label 0, or a number that is not a class.
    path = write_records(
        tmp_path / "w.tfrecord", [slim(n, label) for n, label in enumerate((1, 7, 0))]
    )
    spoil(path, path.read_bytes().index(b"image/class/label", second(path)) + 23, 7)
    dataset = open_dataset(path)
    assert labels(dataset) == [1, None, 0]
    assert dataset.problems == [
        ("w.tfrecord:1", "the checksum of its data is wrong: the record is damaged")
    ]


def test_a_record_without_an_image_is_a_problem(tmp_path, write_records, slim):
    bare = slim(1, 5)
    del bare["image/encoded"]
    two = slim(2, [6, 7])
    path = write_records(tmp_path / "v.tfrecord", [slim(0, 0), bare, two, {"other": 1}])
    dataset = open_dataset(path)
    assert labels(dataset) == [0, None, None, None]
    assert [why for _, why in dataset.problems] == [
        "the record has no feature image/encoded or image",
        "the record's image/class/label or label has 2 values of the kind that belongs there; "
        "expected one",
        "the record has no feature image/encoded or image",
    ]
    with pytest.raises(BadExample, match=r"v.tfrecord:1: the record has no feature image/encoded"):
        dataset.read(1)


@pytest.mark.parametrize("cut", [5, 13, -1, -5, -20])
def test_a_shard_that_is_cut_short(shard, cut):
    shard.write_bytes(shard.read_bytes()[:cut])
    refused(shard, r"00001: record [02] at byte [\d,]+ is cut short")


def test_refusals(tmp_path, shard, write_records, slim):
    refused(shard, "00001: its images have their labels with them", labels=tmp_path / "l")
    path = write_records(tmp_path / "a.tfrecord", [slim(0, 1, "n01440765")])
    refused(path, "a.tfrecord: record 0 at byte 0: n01440765 is not one of .*nearest is n01440764")
    refused(
        write_records(tmp_path / "b.tfrecord", [slim(0, 5)]), "record 0 at byte 0: the labels 5..5"
    )
    path = write_records(tmp_path / "c.tfrecord", [slim(0, 5), slim(1, -1)])
    refused(path, r"c.tfrecord: record 1 at byte [\d,]+: the label -1 is not one of")
    path = write_records(tmp_path / "d.tfrecord", [slim(0, 5)], "GZIP")
    refused(path, "d.tfrecord: record 0 at byte 0: .*; the shard is compressed: run gzip -d")
    refused(write_records(tmp_path / "e.tfrecord", []), "e.tfrecord: holds no example")
    (tmp_path / "f.tfrecord").write_bytes(os.urandom(64))
    refused(
        tmp_path / "f.tfrecord", "record 0 at byte 0: .*; it is not a TFRecord file, or damaged"
    )


def test_a_shard_that_is_gone(shard):
    dataset = open_dataset(shard)
    shard.unlink()
    with pytest.raises(BadExample, match="validation-00000-of-00001: cannot be read: No such file"):
        dataset.read(0)
