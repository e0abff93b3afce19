"""WebDataset shards."""

from __future__ import annotations

import pytest

from parity_tests.accuracy.datasets.making import (
    SHARK,
    TENCH,
    by_name,
    jpeg,
    labels,
    refused,
    write_files,
    write_tar,
)
from porting.accuracy.datasets import open_dataset
from porting.errors import BadExample


def sample(key, label, image="jpg", kind="cls"):
    return {f"{key}.{image}": jpeg(len(key)), f"{key}.{kind}": label}


def test_a_shard(tmp_path):
    path = write_tar(tmp_path / "v.tar", sample("x/0001", "0") | sample("x/00012", "998\n", "png"))
    dataset = open_dataset(path)
    assert by_name(dataset) == {
        "v.tar:x/0001.jpg": (0, jpeg(6)),
        "v.tar:x/00012.png": (998, jpeg(7)),
    }
    assert (dataset.kind, dataset.notes) == ("WebDataset shards", ())
    assert dataset.label_order.startswith(
        ".cls or .json beside images: numbers 0..999 in the order"
    )


def shards(folder, count=3):
    for number in range(count):
        label = {0: "0", 1: "7"}.get(number, "999")
        write_tar(folder / f"val-{number:06d}.tar", sample(f"k{number}", label))
    return folder


@pytest.mark.parametrize("pattern", ["", "val-{000000..000002}.tar", "val-00000{0,1,2}.tar"])
def test_shards_in_a_folder_or_by_a_pattern(tmp_path, pattern):
    dataset = open_dataset(shards(tmp_path) / pattern)
    assert labels(dataset) == [0, 7, 999]
    assert dataset.example(2).name == "val-000002.tar:k2.jpg"


def test_a_part_of_the_shards(tmp_path):
    dataset = open_dataset(shards(tmp_path, 4) / "val-{000000..000001}.tar")
    assert labels(dataset) == [0, 7]


def test_shards_for_validation_are_chosen(tmp_path):
    shards(tmp_path)
    write_tar(tmp_path / "train-000000.tar", sample("a", "0"))
    assert len(open_dataset(tmp_path)) == 3


@pytest.mark.parametrize(
    ("text", "kind", "expected"),
    [
        ('{"label": 7, "id": 3}', "json", 7),
        (f'{{"label": "{SHARK}"}}', "json", 2),
        (SHARK, "cls", 2),
    ],
)
def test_labels_in_other_forms(tmp_path, text, kind, expected):
    zero = TENCH if SHARK in text else "0"
    path = write_tar(tmp_path / "v.tar", sample("a", text, kind=kind) | sample("b", zero))
    assert labels(open_dataset(path)) == [expected, 0]


def test_classes_that_are_named_by_numbers(tmp_path):
    write_files(tmp_path, {"classes": "7\n5\n"})
    path = write_tar(tmp_path / "v.tar", sample("a", "5") | sample("b", "7"))
    assert labels(open_dataset(path, synsets=tmp_path / "classes")) == [1, 0]


def test_other_files_are_counted(tmp_path):
    files = sample("a", "0") | {"a.json": "{}", "b.txt": "x", "a.seg.png": jpeg(1), "._a.jpg": "x"}
    dataset = open_dataset(write_tar(tmp_path / "v.tar", files))
    assert labels(dataset) == [0]
    assert dataset.notes == ("left out as no images by their names: 4 files, such as a.json",)


@pytest.mark.parametrize(
    ("label", "reason"),
    [
        (b"\xff", "its label cannot be read: 'utf-8' codec can't decode"),
        (b" ", "its label cannot be read: b.cls holds neither a number nor the name of a class"),
        (b"0" * (1 << 21), "its label cannot be read: b.cls has 2,097,152 bytes"),
        (None, "its label cannot be read: there is neither .cls nor .json with it"),
    ],
)
def test_an_image_whose_label_cannot_be_read_is_a_problem(tmp_path, label, reason):
    files = sample("a", "0") | {"b.jpg": jpeg(3)} | ({} if label is None else {"b.cls": label})
    dataset = open_dataset(write_tar(tmp_path / "v.tar", files))
    assert labels(dataset) == [0, None]
    ((name, why),) = dataset.problems
    assert name == "v.tar:b.jpg"
    assert why.startswith(reason)
    with pytest.raises(BadExample, match=r"v.tar: v.tar:b.jpg: its label cannot be read"):
        dataset.read(1)


@pytest.mark.parametrize("text", ["{", "[1]", '{"label": true}', '{"label": 1.5}', "[" * 100_000])
def test_json_without_a_label(tmp_path, text):
    files = sample("a", "0") | sample("b", text, kind="json")
    assert labels(open_dataset(write_tar(tmp_path / "v.tar", files))) == [0, None]


def test_endings_in_capitals(tmp_path):
    files = {"a.JPEG": jpeg(0), "a.CLS": "0"}
    assert labels(open_dataset(write_tar(tmp_path / "v.tar", files))) == [0]
    files["a.jpeg"] = jpeg(1)
    refused(write_tar(tmp_path / "w.tar", files), r"w.tar: a has 2 images \(CLS, JPEG, jpeg\)")


def test_refusals(tmp_path):
    two = sample("a", "0") | {"a.png": jpeg(1)}
    refused(
        write_tar(tmp_path / "a.tar", two), r"a.tar: a has 2 images \(cls, jpg, png\); expected"
    )
    none = sample("a", "0") | {"b.cls": "0", "b.npy": "x"}
    refused(write_tar(tmp_path / "b.tar", none), r"b.tar: b has 0 images \(cls, npy\); expected")
    path = write_tar(tmp_path / "c.tar", sample("a", "0") | sample("b", "1001"))
    refused(path, r"c.tar:b.jpg: the label 1001 is not one of")
    refused(write_tar(tmp_path / "d.tar", sample("a", "what")), "d.tar:a.jpg: what is not one of")
    refused(write_tar(tmp_path / "e.tar", sample("a", "7")), "e.tar:a.jpg: the labels 7..7 may be")
    mixed = sample("a", "0") | sample("b", "x")
    refused(
        write_tar(tmp_path / "m.tar", mixed), "m.tar:b.jpg: 'x' is not a number, as the labels abo"
    )
    refused(
        write_tar(tmp_path / "f.tar", sample("a", "")), "f.tar: not one of 1 examples can be used"
    )
    write_files(tmp_path, {"l": "0\n"})
    path = write_tar(tmp_path / "g.tar", sample("a", "0"))
    refused(path, "g.tar: its images have their labels with them, and", labels=tmp_path / "l")


def test_missing_shards(tmp_path):
    shards(tmp_path, 4)
    (tmp_path / "val-000001.tar").unlink()
    refused(tmp_path, r"val-000001.tar: no such file; 1 of 4 shards are missing; name those wanted")
    refused(
        tmp_path / "val-{000000..000009}.tar", r"val-000001.tar: no such file; 7 of the 10 shar"
    )


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("v-{0..x}.tar", r"v-{0..x}.tar: {0..x}; expected a range such as"),
        ("v-{0,0}.tar", r"v-\{0,0\}.tar: names a shard twice"),
        ("v-{3..0}.tar", r"v-{3..0}.tar: {3..0} runs over -2 shards"),
        ("v-{0..9999999}.tar", r"runs over 10,000,000 shards"),
    ],
)
def test_bad_patterns(tmp_path, pattern, message):
    refused(tmp_path / pattern, message)


def test_shards_of_two_sets(tmp_path):
    write_tar(tmp_path / "a-0.tar", sample("a", "0"))
    write_tar(tmp_path / "b-0.tar", sample("a", "0"))
    refused(tmp_path, "holds shards of 2 data sets, such as a-0.tar and b-0.tar; name those")


def test_tars_beside_records(tmp_path):
    write_tar(tmp_path / "a-0.tar", sample("a", "0"))
    (tmp_path / "a-0.tfrecord").write_bytes(b"")
    refused(tmp_path, "holds shards of 2 data sets, such as a-0.tar and a-0.tfrecord; name those")
