"""Explanations for a source and a port: the port's weights, and those that it might have."""

from __future__ import annotations

from dataclasses import replace

import pytest

import porting
from parity_tests.accuracy.evaluation.conftest import write_labels
from parity_tests.building.checkpoints import write_network
from parity_tests.building.photos import jpeg_of
from porting.accuracy.evaluation.changes import changes_of, run_of
from porting.accuracy.evaluation.predictors import Inputs
from porting.accuracy.evaluation.preparing import prepare
from porting.release import write_release

MODEL = "tf_mnasnet_small"


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """A checkpoint with two weight sets, the port of one, and the same without a card."""
    folder = tmp_path_factory.mktemp("both")
    source = folder / "model.ckpt"
    write_network(source, MODEL)
    ported = porting.port(source, MODEL, weights="raw", verify=False)
    port, bare = write_release(ported, folder / "out").weights, folder / "bare.pth"
    bare.write_bytes(port.read_bytes())
    return source, port, bare


@pytest.fixture
def prepared(tmp_path):
    def make(source, checkpoint, **more):
        (tmp_path / "0.jpg").write_bytes(jpeg_of(40, 40))
        write_labels(tmp_path, [0])
        inputs = Inputs(source, checkpoint, model=MODEL, **more)
        return prepare(inputs, tmp_path, tmp_path / "labels.csv", None, None)

    return make


def of_weights(prepared):
    """The changes with another weight set, or the reason for none."""
    actual = changes_of(run_of(prepared))
    words = [change.words for change in actual.changes if change.topic == "weights"]
    return words or [left.why for left in actual.left_out if left.topic == "weights"]


def test_the_card_tells_the_weight_set(both, prepared):
    source, port, _ = both
    result = prepared(source, port)
    assert (run_of(result).base.runs, result.weight_set) == ("checkpoint", "raw")
    assert of_weights(result) == ["ema for raw"]


def test_the_judge_s_weights_say_nothing_of_the_file_s(both, prepared):
    source, port, bare = both
    assert of_weights(prepared(source, port, weights="ema")) == ["ema for raw"]
    for weights in (None, "ema"):
        actual = of_weights(prepared(source, bare, weights=weights))
        assert actual == ["ema for the file's", "raw for the file's"]


def test_a_source_alone_is_ported_anew(both, prepared):
    result = prepared(both[0], None)
    base = run_of(result).base
    assert (base.name, base.runs, base.weights) == ("port", "source", "ema")
    assert [side.name for side in result.sides] == ["judge"]
    assert of_weights(result) == ["raw for ema"]


def test_why_there_are_no_other_weights(both, small, prepared):
    source, port, _ = both
    assert of_weights(prepared(None, port)) == [
        "other weights would come from the source: give it with --source"
    ]
    assert of_weights(prepared(*small)) == ["the source holds one set of weights"]
    result = prepared(source, port)
    own = replace(result, inputs=replace(result.inputs, onto="mine:build"), anew={})
    assert of_weights(own) == [
        "the port is a module of its own, and other weights would be in another network"
    ]
