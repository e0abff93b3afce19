"""Sources with uint8 input: judge and port both get integer pixels."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch

import porting
from genmobilenet import create_model, get_config
from parity_tests.building import tflite_variants as variants
from porting.accuracy.evaluation.agreement import tie_on
from porting.accuracy.evaluation.batch import Work
from porting.accuracy.evaluation.predictors import Inputs
from porting.accuracy.evaluation.preparing import prepare
from porting.accuracy.preprocessing import PIPELINES, parse_pipeline
from porting.release import write_release

CAST = type("Cast", (variants.Normalised,), {
    "steps": [("SUB", 127.5, False), ("MUL", 1 / 127.5, False)], "cast": True,
})  # fmt: skip


def saved_model(folder):
    """As SavedModels are that a server feeds: bytes, cast and normalised in the graph."""
    pytest.importorskip("tensorflow")
    from parity_tests.building.graphs import Network

    def image(tf):
        given = tf.compat.v1.placeholder(tf.uint8, (None, 64, 64, 3), "input")
        return tf.cast(given, tf.float32), given

    network = Network("tf_mnasnet_small", classes=1000, normalises=True)
    return network.write_saved_model(folder / "saved", image)


def tflite(kind, folder):
    path = folder / "bytes.tflite"
    path.write_bytes(kind(get_config("tf_mnasnet_small"), seed=4).build())
    return path


MADE = {
    "quantised": partial(tflite, variants.IntegerEnds),
    "cast": partial(tflite, CAST),
    "SavedModel": saved_model,
}


@pytest.fixture(params=MADE)
def taking_bytes(request, tmp_path):
    """A source whose input is uint8, and the weights of its port."""
    path = MADE[request.param](tmp_path)
    return path, write_release(porting.port(path), tmp_path / "ported").weights


def test_both_sides_get_whole_pixels(taking_bytes, photos, evaluated):
    source, weights = taking_bytes
    evaluation = evaluated(source, weights)
    steps = f"{PIPELINES['mnasnet'](64)}, round"
    assert {side.pipeline for side in evaluation.sides} == {steps}
    assert evaluation.convention.preprocessing == steps
    margins = evaluation.answers.margin
    work = Work(evaluation.dataset, Inputs(source, weights), evaluation.sides, 16)
    assert np.abs(margins[:, 0] - margins[:, 1]).max() <= tie_on(work, range(8))
    port = evaluation.sides[1]
    pixels = parse_pipeline(steps)((photos / "000.jpg").read_bytes())
    given = torch.from_numpy((pixels - np.float32(port.mean)) / np.float32(port.std))
    network = create_model("tf_mnasnet_small", checkpoint_path=weights).eval()
    with torch.inference_mode():
        best = network(given.permute(2, 0, 1)[None])[0].topk(5).indices
    assert evaluation.answers.best[0, 1].tolist() == best.tolist()


@pytest.mark.parametrize("steps", ["mnasnet", "pillow", "decode tf, crop centre 64, round"])
def test_other_steps_are_rounded_where_they_are_not_whole(taking_bytes, photos, steps):
    given = Inputs(*taking_bytes)
    prepared = prepare(given, photos, photos / "labels.csv", None, steps)
    (text,) = {side.pipeline for side in prepared.sides}
    assert parse_pipeline(text).whole
    assert text.count("round") == (0 if steps == "pillow" else 1)


def test_the_card_alone_says_so_too(taking_bytes, photos):
    prepared = prepare(Inputs(None, taking_bytes[1]), photos, photos / "labels.csv", None, None)
    assert prepared.sides[0].pipeline.endswith(", round")
