"""ImageNet's classes, and user-defined class lists."""

from __future__ import annotations

import pytest

from porting.accuracy.datasets.classes import (
    imagenet,
    imagenet_names,
    labels_by_ilsvrc_id,
    read_class_list,
)
from porting.errors import BadInput


def test_synsets_are_in_sorted_order_and_called_what_wordnet_calls_them():
    names = imagenet().names
    assert len(names) == 1000
    assert list(names) == sorted(set(names))
    called = dict(zip(names, imagenet_names(), strict=True))
    assert (called["n01440764"], called["n15075141"]) == ("tench", "toilet tissue")
    assert imagenet_names()[404] == "airliner"


def test_ids_of_the_challenge_number_every_class_once():
    labels = labels_by_ilsvrc_id()
    assert sorted(labels) == list(range(1000))
    by_id = {number: imagenet_names()[label] for number, label in enumerate(labels, start=1)}
    assert (by_id[1], by_id[2], by_id[1000]) == ("kit fox", "English setter", "dumbbell")


def test_ids_and_labels_agree_on_the_first_ten_validation_images():
    # The first labels of ILSVRC2012_validation_ground_truth.txt and Caffe's val.txt.
    ids = [490, 361, 171, 822, 297, 482, 13, 704, 599, 164]
    caffe = [65, 970, 230, 809, 516, 57, 334, 415, 674, 332]
    assert [labels_by_ilsvrc_id()[number - 1] for number in ids] == caffe


def test_a_list_of_other_classes(tmp_path):
    path = tmp_path / "classes.txt"
    path.write_text("n02119789 kit fox\nsea otter\n\n")
    known = read_class_list(path, 2)
    assert known.names == ("n02119789", "sea otter")
    assert known.label("sea otter", "here") == 1


def test_an_unknown_class_is_named_with_the_nearest():
    with pytest.raises(BadInput, match=r"^here: n01440765 is not one of .*nearest is n01440764$"):
        imagenet().label("n01440765", "here")


@pytest.mark.parametrize(
    ("text", "classes", "message"),
    [
        ("a\nb\n", 3, r"c.txt: lists 2 classes, but the network has 3"),
        ("a\nb\na\n", None, r"c.txt: lines 1 and 3 are the same class, a$"),
        ("a\n\nb\n", None, r"c.txt: line 2 is empty"),
        ("\n", None, r"c.txt: the file is empty"),
    ],
)
def test_a_bad_list(tmp_path, text, classes, message):
    path = tmp_path / "c.txt"
    path.write_text(text)
    with pytest.raises(BadInput, match=message):
        read_class_list(path, classes)


def test_a_list_that_is_no_text(tmp_path):
    path = tmp_path / "c.txt"
    path.write_bytes(b"a\n\xff\n")
    with pytest.raises(BadInput, match=r"c.txt: is not UTF-8 text \(byte 2\)"):
        read_class_list(path, None)
    with pytest.raises(BadInput, match=r"none.txt: no such file"):
        read_class_list(tmp_path / "none.txt", None)


def test_no_classes_at_all():
    with pytest.raises(BadInput, match="classes is 0; expected"):
        read_class_list(None, 0)
