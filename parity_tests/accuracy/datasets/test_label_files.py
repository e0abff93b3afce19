"""A flat folder of images, and the files with its labels."""

from __future__ import annotations

import pytest

from parity_tests.accuracy.datasets.making import labels, refused, validation, write_files
from porting.accuracy.datasets import open_dataset

CAFFE = [65, 970, 230, 809, 516, 57, 334, 415, 674, 332]
"""Labels of the first ten validation images in Caffe's val.txt."""
IDS = [490, 361, 171, 822, 297, 482, 13, 704, 599, 164]
"""Their ILSVRC2012 ids in the challenge's ground truth."""
SYNSETS = ["n01751748", "n09193705", "n02105855", "n04263257", "n03125729",
           "n01735189", "n02346627", "n02776631", "n03794056", "n02328150"]  # fmt: skip

FORM = "ILSVRC2012_validation_ground_truth.txt"
NAMES = validation(10)
OTHERS = [f"photo_{number}.jpg" for number in range(10)]


def lines(values):
    return "".join(f"{value}\n" for value in values)


def pairs(names, values, between=" "):
    return lines(f"{name}{between}{value}" for name, value in zip(names, values, strict=True))


KAGGLE = "ImageId,PredictionString\n" + lines(
    f"{name.removesuffix('.JPEG')},{synset} 85 1 499 272 {synset} 1 2 3 4 "
    for name, synset in list(zip(NAMES, SYNSETS, strict=True))[::-1]
)

FORMS = {
    "ILSVRC2012_validation_ground_truth.txt": lines(IDS),
    "val.txt": pairs(NAMES, CAFFE),
    "imagenet_2012_validation_synset_labels.txt": lines(SYNSETS),
    "LOC_val_solution.csv": KAGGLE,
}


@pytest.mark.parametrize("place", ["inside", "beside", "given"])
@pytest.mark.parametrize("form", FORMS)
def test_the_well_known_files(tmp_path, form, place):
    folder = write_files(tmp_path / "images", NAMES)
    where = {"inside": folder, "beside": tmp_path, "given": tmp_path / "far"}[place]
    write_files(where, {form: FORMS[form]})
    dataset = open_dataset(folder, labels=where / form if place == "given" else None)
    assert labels(dataset) == CAFFE
    assert dataset.kind == f"folder with label file {form}"
    assert form in dataset.label_order
    assert dataset.notes == ()


@pytest.mark.parametrize(
    ("text", "order"),
    [
        (lines(IDS), "ILSVRC2012 ids, turned into labels"),
        (pairs(NAMES, IDS), "ILSVRC2012 ids, turned into labels"),
        (lines(CAFFE), "numbers 0..999 in the order"),
        (pairs([f"val/{name}" for name in NAMES], CAFFE), "numbers 0..999 in the order"),
        (lines(label + 1 for label in CAFFE), r"(0, the background of 1,001 classes, never occ"),
        (pairs(NAMES[::-1], SYNSETS[::-1]), "classes by name"),
        ("name,label\n" + pairs(NAMES, CAFFE, ","), "numbers 0..999 in the order"),
        ("label,filename\n" + pairs(SYNSETS, NAMES, ","), "classes by name"),
    ],
)
def test_known_images_tell_how_numbers_count(tmp_path, text, order):
    folder = write_files(tmp_path / "images", NAMES)
    dataset = open_dataset(folder, labels=write_files(tmp_path, {"any": text}) / "any")
    assert labels(dataset) == CAFFE
    assert order in dataset.label_order


def test_a_file_whose_name_is_wrong_about_its_numbers(tmp_path):
    text = pairs(NAMES, CAFFE)
    folder = write_files(tmp_path, {**dict.fromkeys(NAMES, b""), FORM: text})
    dataset = open_dataset(folder)
    assert labels(dataset) == CAFFE
    assert "as 10 of 10 images of known class have them" in dataset.label_order


def test_a_few_images_with_their_known_class_by_chance_tell_nothing(tmp_path):
    folder = write_files(tmp_path / "i", NAMES[:3])
    write_files(tmp_path, {"l": lines([490, 0, 999])})
    dataset = open_dataset(folder, labels=tmp_path / "l")
    assert labels(dataset) == [490, 0, 999]
    write_files(tmp_path, {"l": lines([490, 5, 6])})
    refused(folder, "may be counted from 0 or counted from 1 or ILSVRC", labels=tmp_path / "l")


def test_a_name_tells_where_no_image_does(tmp_path):
    folder = write_files(tmp_path, OTHERS)
    write_files(folder, {FORM: lines(IDS)})
    dataset = open_dataset(folder)
    assert labels(dataset) == CAFFE
    assert "as the file's name says" in dataset.label_order


@pytest.mark.parametrize(
    ("numbers", "classes", "expected", "why"),
    [
        ([0, 5, 3], 10, [0, 5, 3], "as 0 occurs"),
        ([10, 5, 3], 10, [9, 4, 2], "as 10 occurs"),
        ([0, 5, 999], None, [0, 5, 999], "as 0 occurs"),
    ],
)
def test_the_ends_tell_how_numbers_count(tmp_path, numbers, classes, expected, why):
    folder = write_files(tmp_path / "i", OTHERS[:3])
    write_files(tmp_path, {"l": lines(numbers)})
    dataset = open_dataset(folder, labels=tmp_path / "l", classes=classes)
    assert labels(dataset) == expected
    assert why in dataset.label_order


def test_the_plainest_of_several_files_is_used_and_the_others_noted(tmp_path):
    folder = write_files(tmp_path, NAMES)
    write_files(folder, {form: FORMS[form] for form in FORMS})
    dataset = open_dataset(folder)
    assert dataset.kind.endswith("imagenet_2012_validation_synset_labels.txt")
    assert len(dataset.notes) == 3
    assert all(note.startswith("not used for labels: ") for note in dataset.notes)


def test_a_class_list_gives_names_to_labels(tmp_path):
    folder = write_files(tmp_path / "i", OTHERS[:2])
    write_files(tmp_path, {"classes": "emu\nsea otter\n", "l": "label,name\n" + pairs(
        ["sea otter", "emu"], OTHERS[:2], ",")})  # fmt: skip
    dataset = open_dataset(folder, labels=tmp_path / "l", synsets=tmp_path / "classes")
    assert (labels(dataset), dataset.synsets) == ([1, 0], ("emu", "sea otter"))


@pytest.mark.parametrize(
    ("text", "classes", "message"),
    [
        (lines([1, 2]), None, r"l: has 2 labels for 3 images"),
        (lines([1, 2, 1000]), None, r"may be counted from 1 or ILSVRC2012 ids, and nothing tells"),
        (lines([1, 2, 3]), 5, r"l, line 1: the labels 1..3 may be counted from 0 or count"),
        (lines([0, 2, 5]), 5, r"l, line 1: the label is 0, and at .*l, line 3 it is 5: one more"),
        (lines([0, 2, 6]), 5, r"l, line 3: the label 6 is not one of the network's 5 classes"),
        (lines([0, -2, 4]), 5, r"l, line 2: the label -2 is not one of"),
        (lines([0, "x", 4]), 5, r"l, line 2: 'x' is not a number, as the labels above are"),
        (lines(["n01440765", *SYNSETS[:2]]), None, r"l, line 1: n01440765 is not .* n01440764$"),
        (lines(SYNSETS[:3]), 5, r"l, line 1: n01751748 is a class by name, and"),
        (pairs(OTHERS[:2], [0, 1]), None, r"l: has no label for 1 of 3 images, .* photo_2.jpg"),
        (pairs(OTHERS[:4], [0] * 4), None, r"l, line 4: there is no image photo_3.jpg; the file"),
        (pairs([OTHERS[0], *OTHERS[:3]], [0] * 4), None, r"l, line 2: photo_0.jpg also"),
        (pairs(NAMES[:3], [0] * 3), None, r"l: names none of the 3 images"),
        ("photo_0.jpg 1\n2\n", None, r"l, line 2: '2'; expected a name and a label, as above"),
        ("photo_0.jpg,1\nphoto_1.jpg,2\n", None, r"l: its first line is 'photo_0.jpg,1'; expected"),
        ("name,label\nphoto_0.jpg,\n", None, r"l, line 2: .*; expected a value for each of"),
        ("name,label\n", None, r"l: has a header and no line behind it"),
        ('name,label\n"a,1\n', None, r"l: is not CSV: "),
    ],
)  # fmt: skip
def test_refusals(tmp_path, text, classes, message):
    folder = write_files(tmp_path / "images", OTHERS[:3])
    write_files(tmp_path, {"l": text})
    assert str(tmp_path) in refused(folder, message, labels=tmp_path / "l", classes=classes)


def test_no_label_file(tmp_path):
    folder = write_files(tmp_path / "images", OTHERS)
    refused(
        folder, "no label file; give one with --labels, or lay it there under a known name: imagen"
    )
    refused(folder, "none: no such file", labels=tmp_path / "none")


def test_a_part_of_the_validation_images_beside_the_whole_ground_truth(tmp_path):
    ids = [IDS[number % 10] for number in range(50_000)]
    ids[30_000] = 17
    names = [NAMES[9], NAMES[2], "ILSVRC2012_val_00030001.JPEG", "ILSVRC2012_val_00000004.JPEG"]
    folder = write_files(tmp_path / "images", names)
    write_files(tmp_path, {FORM: lines(ids)})
    dataset = open_dataset(folder)
    actual = {dataset.example(n).name: dataset.example(n).label for n in range(len(dataset))}
    expected = {names[0]: CAFFE[9], names[1]: CAFFE[2], names[3]: CAFFE[3]}
    assert {name: actual[name] for name in expected} == expected
    assert actual[names[2]] not in (None, CAFFE[0])
    assert "by the number in the image's name" in dataset.label_order
    write_files(folder, ["ILSVRC2012_val_00050001.JPEG"])
    refused(folder, r"has no line 50,001")


@pytest.mark.parametrize("name", ["n01751748/a.JPEG", "n01751748_a.JPEG", "x/n01751748/b/a.JPEG"])
def test_a_label_file_that_says_something_else_than_the_names(tmp_path, name):
    folder = write_files(tmp_path / "images", [name])
    write_files(tmp_path, {"right.txt": "n01751748\n", "wrong.txt": "n09193705\n"})
    assert labels(open_dataset(folder, labels=tmp_path / "right.txt")) == [CAFFE[0]]
    message = r"wrong.txt: says n09193705 of .*a.JPEG, whose name says n01751748"
    refused(folder, message, labels=tmp_path / "wrong.txt")
