"""Folders of images: by synset, by class, and with synsets in the files' names."""

from __future__ import annotations

import os

import pytest

from parity_tests.accuracy.datasets.making import (
    GOLDFISH,
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


@pytest.mark.parametrize("below", ["", "val/", "validation/", "some/where/"])
def test_a_subset_of_the_thousand_folders(tmp_path, below):
    files = [f"{below}{TISSUE}/b.JPEG", f"{below}{TENCH}/a.png", f"{below}{SHARK}/deep/c.jpg"]
    write_files(tmp_path, files)
    actual = by_name(open_dataset(tmp_path))
    prefix = below if below.startswith("some") else ""
    assert actual == {
        f"{prefix}{TENCH}/a.png": (0, jpeg(1)),
        f"{prefix}{SHARK}/deep/c.jpg": (2, jpeg(2)),
        f"{prefix}{TISSUE}/b.JPEG": (999, jpeg(0)),
    }


@pytest.mark.parametrize("ending", ["gif", "tiff", "heic", "avif"])
def test_images_of_unread_kinds_are_not_passed_over(tmp_path, ending):
    """The decoder refuses each by its name, or an evaluation skips and counts it."""
    write_files(tmp_path, [f"{TENCH}/a.JPEG", f"{TENCH}/b.{ending}"])
    assert f"{TENCH}/b.{ending}" in by_name(open_dataset(tmp_path))


def test_what_is_said_of_it(tmp_path):
    write_files(tmp_path, [f"train/{GOLDFISH}/t.JPEG", f"val/{GOLDFISH}/a.JPEG"])
    dataset = open_dataset(tmp_path)
    assert (dataset.kind, dataset.classes, dataset.path) == (
        "folder by synset", 1000, tmp_path / "val",
    )  # fmt: skip
    assert dataset.label_order == (
        "by the folder's name: its place in ILSVRC2012's 1,000 synsets (sorted), from 0"
    )
    assert dataset.synsets[1] == GOLDFISH
    assert repr(dataset) == f"DataSet('{tmp_path}/val', folder by synset, 1 examples)"


def test_files_that_are_no_images_are_counted(tmp_path):
    write_files(tmp_path, [f"{TENCH}/a.JPEG", f"{TENCH}/._a.JPEG", "README.txt"])
    dataset = open_dataset(tmp_path)
    assert len(dataset) == 1
    assert dataset.notes == ("left out as no images by their names: 2 files, such as README.txt",)


def test_a_text_called_an_image_is_an_example(tmp_path):
    write_files(tmp_path, {f"{TENCH}/a.JPEG": "no image"})
    dataset = open_dataset(tmp_path)
    assert by_name(dataset) == {f"{TENCH}/a.JPEG": (0, b"no image")}


def test_folders_with_other_names_are_numbered_in_sorted_order(tmp_path):
    write_files(tmp_path, ["dog/a.jpg", "cat/a.jpg", "Emu/a.jpg"])
    dataset = open_dataset(tmp_path, classes=3)
    assert {name: label for name, (label, _) in by_name(dataset).items()} == {
        "Emu/a.jpg": 0, "cat/a.jpg": 1, "dog/a.jpg": 2,
    }  # fmt: skip
    assert (dataset.kind, dataset.synsets) == ("folder by class", ("Emu", "cat", "dog"))
    assert "its place, from 0, in the sorted 3" in dataset.label_order


def test_ten_synsets_for_a_network_of_ten_classes(tmp_path):
    write_files(tmp_path, [f"{TISSUE}/a.jpg", f"{SHARK}/a.jpg"])
    assert labels(open_dataset(tmp_path, classes=2)) == [0, 1]
    assert labels(open_dataset(tmp_path)) == [2, 999]


def test_folders_in_a_list_of_classes(tmp_path):
    write_files(tmp_path / "images", ["dog/a.jpg", "cat/a.jpg"])
    (tmp_path / "list").write_text("dog\nemu\ncat\n")
    dataset = open_dataset(tmp_path / "images", synsets=tmp_path / "list")
    assert (labels(dataset), dataset.classes) == ([2, 0], 3)


@pytest.mark.parametrize(
    ("numbers", "classes", "expected"),
    [([0, 2, 10], 11, [0, 2, 10]), ([1, 2, 10], 10, [0, 1, 9])],
)
def test_folders_called_by_numbers(tmp_path, numbers, classes, expected):
    write_files(tmp_path, [f"{number}/a.jpg" for number in numbers])
    dataset = open_dataset(tmp_path, classes=classes)
    assert sorted(labels(dataset)) == expected
    assert by_name(dataset)["2/a.jpg"][0] == expected[1]


@pytest.mark.parametrize("name", ["n01440764_tench.JPEG", "n01440764_10026.JPEG", "n01440764.png",
                                  "ILSVRC2012_val_00000293_n01440764.JPEG"])  # fmt: skip
def test_synsets_in_the_names_of_files(tmp_path, name):
    write_files(tmp_path, [name, f"{SHARK}_x.jpg"])
    dataset = open_dataset(tmp_path)
    assert dataset.kind == "folder of files named by synset"
    assert {e: label for e, (label, _) in by_name(dataset).items()} == {
        name: 0, f"{SHARK}_x.jpg": 2,
    }  # fmt: skip


def test_a_file_that_is_gone(tmp_path):
    write_files(tmp_path, [f"{TENCH}/a.jpg", f"{TENCH}/b.jpg"])
    dataset = open_dataset(tmp_path)
    (tmp_path / TENCH / "a.jpg").unlink()
    with pytest.raises(BadExample, match=f"{TENCH}/a.jpg: cannot be read: No such file"):
        dataset.read(0)
    assert dataset.read(1) == jpeg(1)


def test_a_pipe_called_an_image_is_not_waited_for(tmp_path):
    write_files(tmp_path, [f"{TENCH}/a.jpg"])
    os.mkfifo(tmp_path / TENCH / "b.jpg")
    with pytest.raises(BadExample, match=r"b\.jpg: is not a file that can be read as often"):
        open_dataset(tmp_path).read(1)


def test_refusals(tmp_path):
    refused(tmp_path / "none", "none: no such file or folder")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "empty: holds no image and no shard in 0 files")
    write_files(tmp_path / "text", {"a.txt": "x"})
    refused(tmp_path / "text", "text: holds no image and no shard in 1 file;")
    write_files(tmp_path, ["one.jpg"])
    refused(tmp_path / "one.jpg", "one.jpg: is a single image; expected a folder")
    refused(tmp_path / "text" / "a.txt", "a.txt: is neither a tar nor a TFRecord file")


def test_an_unknown_folder_is_named_with_the_nearest(tmp_path):
    write_files(tmp_path, ["n01440765/a.jpg", f"{SHARK}/a.jpg"])
    refused(
        tmp_path, ": n01440765, the folder's name, is not one of .*; the nearest is n01440764; give"
    )


def test_folders_of_unknown_classes(tmp_path):
    write_files(tmp_path, ["cat/a.jpg", "dog/a.jpg"])
    refused(
        tmp_path,
        ": cat, the folder's name, is not one of .*, or say how many classes the network has",
    )
    refused(tmp_path, r"there are 2 classes \(cat to dog\), but the network has 3;", classes=3)


def test_images_beside_folders(tmp_path):
    write_files(tmp_path, [f"{TENCH}/a.jpg", f"{SHARK}/a.jpg", "b.jpg"])
    refused(tmp_path, f"in folders such as {TENCH} and beside them, such as b.jpg")


def test_two_validation_folders(tmp_path):
    write_files(tmp_path, [f"val/{TENCH}/a.jpg", f"validation/{TENCH}/a.jpg"])
    refused(tmp_path, "holds both val and validation")


def test_some_names_without_a_synset(tmp_path):
    write_files(tmp_path, [f"{TENCH}_a.jpg", "b.jpg"])
    refused(tmp_path, "nothing tells the class of b.jpg: 1 of 2 images have a synset")


def test_a_folder_that_leads_into_itself(tmp_path):
    write_files(tmp_path, [f"{TENCH}/a.jpg"])
    (tmp_path / TENCH / "loop").symlink_to(tmp_path)
    refused(tmp_path, "loop: is a link to a folder that it lies in")
