"""The card of a port: read back as it was written, and refused where it is damaged."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

import porting
from genmobilenet import get_config
from parity_tests.building.tflite_networks import network_file
from porting.card import Calibration, read_card
from porting.errors import BadInput
from porting.release import card_of, write_release

MODEL = "tf_mnasnet_small"
CALIBRATION = Calibration(("bn1",), 3, "3 images", "0" * 64, (("a.png", "cut short"),))


@pytest.fixture(scope="module")
def ported(tmp_path_factory):
    path = tmp_path_factory.mktemp("card") / "small.tflite"
    path.write_bytes(network_file(get_config(MODEL)))
    port = porting.port(path, MODEL, verify=False)
    return replace(port, labels=("a", "b"), onto="mine:Net", calibration=CALIBRATION)


@pytest.fixture
def written(ported, tmp_path):
    files = write_release(ported, tmp_path)
    return files, json.loads(files.card.read_text())


def test_there_and_back(ported, written):
    files, data = written
    digest = data["weights"]["sha256"]
    card = read_card(files.weights, digest)
    assert card.to_json() == data
    assert replace(card, plan={}) == replace(card_of(ported, files.weights.name, digest), plan={})
    assert read_card(files.weights, "1" * 64) is None
    assert read_card(files.weights.with_name("other.pth"), digest) is None


def test_an_older_card_says_less(written):
    files, data = written
    for name in ("labels", "onto", "calibration"):
        del data[name]
    del data["input"]["preprocessing"], data["source"]["lay_at"]
    data["comment"] = "a member of a later version"
    files.card.write_text(json.dumps(data))
    card = read_card(files.weights, data["weights"]["sha256"])
    assert (card.labels, card.onto, card.calibration) == (None, None, None)
    assert card.source.lay_at is None
    assert card.input.preprocessing.startswith("decode-and-crop padded 64+32")


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("model",), None, "its model is None"),
        (("source",), 5, "source is 5, expected an object"),
        (("source", "weight_set"), None, "source.weight_set is null"),
        (("source", "published"), {"name": 3}, "source.published.name is 3"),
        (("input",), {"size": 224}, "required positional arguments"),
        (("input",), {}, "it has no 'size'"),
        (("calibration",), {}, "it has no 'norms'"),
        (("calibration",), [], "must be integers or slices"),
        (("source",), [], "source is \\[\\], expected an object"),
        (("model",), 5, "its model is 5"),
        (("input",), 5, "not subscriptable"),
    ],
)
def test_a_damaged_card_is_refused(written, place, value, message):
    files, data = written
    inner = data
    for part in place[:-1]:
        inner = inner[part]
    inner[place[-1]] = value
    files.card.write_text(json.dumps(data))
    with pytest.raises(BadInput, match=rf"json: not a card of porting port: .*{message}"):
        read_card(files.weights, data["weights"]["sha256"])
