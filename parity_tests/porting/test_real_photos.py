"""Google's own files on 63 photos: the port's predictions compared with LiteRT's."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import porting
from genmobilenet.factory import build
from porting.judges.litert import LiteRTJudge
from porting.parity.inputs import image_stream

pytestmark = pytest.mark.slow
PHOTOS = 63


@pytest.fixture
def answers(artifacts):
    """What LiteRT gives on the file as it is, and the port's logits, both (63, 1001)."""

    def of(file):
        result = porting.port(artifacts / file)
        assert result.comparison, result.comparison.summary()
        convention = result.convention
        pixels = np.stack(list(image_stream(artifacts / "images", 0, convention.size, 3).plain()))
        assert len(pixels) == PHOTOS
        inputs = convention.normalise(pixels)
        end = result.source.graph.outputs[0]
        judged = LiteRTJudge(result.source).run(inputs, {"end": end}).taps["end"]
        network = build(result.config, result.state_dict)
        with torch.inference_mode():
            logits = network(torch.from_numpy(inputs).permute(0, 3, 1, 2)).numpy()
        return judged.reshape(PHOTOS, -1), logits

    return of


def test_mobilenet_v1_gives_the_same_top_1_and_top_5(answers):
    judged, logits = answers("google/mobilenet_v1_0.25_224_float.tflite")
    np.testing.assert_array_equal(logits.argmax(1), judged.argmax(1))
    np.testing.assert_array_equal((-logits).argsort(1)[:, :5], (-judged).argsort(1)[:, :5])


def test_mobilenet_v2_in_uint8_gives_the_same_top_1_nearly_always(answers):
    judged, logits = answers("google/mobilenet_v2_1.0_224_quant.tflite")
    assert (logits.argmax(1) == judged.argmax(1)).sum() >= 60
