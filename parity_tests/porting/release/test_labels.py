"""A source's labels are written to the card."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

import porting
from genmobilenet import get_config
from parity_tests.building.command import porting as run
from parity_tests.building.labels import archive
from parity_tests.building.tflite_networks import network_file
from porting.release import write_release

NAMES = [f"class {number}" for number in range(1001)]


@pytest.fixture
def labelled(tmp_path):
    """A file of 1001 classes with a zip of so many labels behind it."""

    def made(names):
        path = tmp_path / "labelled.tflite"
        content = network_file(replace(get_config("tf_mnasnet_small"), num_classes=1001))
        path.write_bytes(content + archive({"labels.txt": "\n".join(names) + "\n"}))
        return path

    return made


def card_of(path, folder, **options):
    port = porting.port(path, verify=False, **options)
    return json.loads(write_release(port, folder).card.read_text())


@pytest.mark.parametrize(("classes", "first"), [("keep", 0), ("drop-background", 1)])
def test_they_are_in_order_and_one_a_class(labelled, tmp_path, classes, first):
    assert card_of(labelled(NAMES), tmp_path, classes=classes)["labels"] == NAMES[first:]


def test_the_wrong_number_of_labels_is_noted(labelled, tmp_path):
    card = card_of(labelled(NAMES[:7]), tmp_path)
    assert "labels" not in card
    assert card["plan"]["notes"] == ["its 7 labels are not taken: there are 1001 classes"]


def test_inspect_says_them(labelled):
    result = run("inspect", labelled(NAMES))
    assert "labels     1001: class 0 ... class 1000" in result.stdout
