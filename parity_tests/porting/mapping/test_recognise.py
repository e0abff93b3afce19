"""Files that are not of a known network: the message says what they are."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from parity_tests.building.tflite_files import TFLiteBuilder
from porting.errors import MappingError
from porting.graph.match import Fingerprints
from porting.mapping.recognise import find_match
from porting.sources import open_source


def refused(tmp_path, shape, kind, result, custom=None):
    file = TFLiteBuilder()
    image = file.tensor("image", shape)
    output = file.operator(kind, [image], file.tensor("output", result))
    if custom is not None:
        file.model.operatorCodes[-1].customCode = custom
    path = tmp_path / "model.tflite"
    path.write_bytes(file.finish([image], [output]))
    with pytest.raises(MappingError) as raised:
        find_match(open_source(path), None)
    assert str(raised.value).startswith(f"{path}: no known network fits: ")
    return str(raised.value)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (b"edgetpu-custom-op", "without _edgetpu in its name"),
        (b"TFLite_Detection_PostProcess", r"it is a detector .TFLite_Detection_PostProcess."),
    ],
)
def test_operators_that_say_what_a_file_is(tmp_path, code, message):
    assert re.search(message, refused(tmp_path, [1, 224, 224, 3], "CUSTOM", [1, 10], code))


def test_channels_first(tmp_path):
    message = refused(tmp_path, [1, 3, 224, 224], "RELU", [1, 10])
    assert "its input is NCHW, of shape (1, 3, 224, 224)" in message


def test_a_map_of_the_image(tmp_path):
    message = refused(tmp_path, [1, 224, 224, 3], "RELU", [1, 56, 56, 21])
    assert "it gives a map of shape (1, 56, 56, 21)" in message


def test_a_source_is_fingerprinted_once_however_many_networks_are_tried(tmp_path, monkeypatch):
    """A megabyte holds ten thousand operators, and there are over a hundred networks."""
    nodes = Counter()
    of = Fingerprints.of

    def counted(self, graph):
        fingerprints = of(self, graph)
        nodes[graph.output] += len(fingerprints)
        return fingerprints

    monkeypatch.setattr(Fingerprints, "of", counted)
    file = TFLiteBuilder()
    image = x = file.tensor("image", [1, 64, 64, 3])
    for number in range(3000):
        kind, shape = ("TANH", "LOGISTIC")[number % 2], [1, 64, 64, 3]
        x = file.operator(kind, [x], file.tensor(f"x{number}", shape))
    x = file.operator("TANH", [x], file.tensor("output", [1, 10]))
    path = tmp_path / "model.tflite"
    path.write_bytes(file.finish([image], [x]))
    with pytest.raises(MappingError, match="operator 0 TANH"):
        find_match(open_source(path), None)
    of_source = [count for count in nodes.values() if count > 2000]
    # Once for each of its two readings, not once for each network.
    assert of_source == [3002, 3002]
