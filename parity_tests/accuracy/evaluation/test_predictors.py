"""How a network runs for an evaluation."""

from __future__ import annotations

import numpy as np
import torch
from torch.backends import cuda, cudnn

from porting.accuracy.evaluation import predictors
from porting.accuracy.evaluation.predictors import Files, Inputs, Side, normalised, predictor_of

SIDE = Side("port", "checkpoint", "", (123.675, 116.28, 103.53), (58.395, 57.12, 57.375), 0)


def test_pixels_are_normalised_by_channel():
    pixels = np.random.default_rng(2).random((3, 20, 30, 3), np.float32) * 255
    expected = (pixels - np.float32(SIDE.mean)) / np.float32(SIDE.std)
    assert np.array_equal(normalised(pixels, SIDE), expected)


def test_sums_on_a_gpu_are_in_float32_and_in_one_order(monkeypatch):
    class Network(torch.nn.Module):
        def forward(self, images):
            seen.append((cuda.matmul.allow_tf32, cudnn.allow_tf32, cudnn.deterministic))
            return images.mean((2, 3))

    seen = []
    monkeypatch.setattr(predictors, "network_of", lambda files, side: Network())
    was, cuda.matmul.allow_tf32 = cuda.matmul.allow_tf32, True
    before = cudnn.allow_tf32, cudnn.deterministic
    try:
        predict = predictor_of(Files(Inputs(None, None)), SIDE, "cpu:0")
        assert predict(np.zeros((2, 8, 8, 3), np.float32), SIDE).shape == (2, 3)
        assert cuda.matmul.allow_tf32 is True
    finally:
        cuda.matmul.allow_tf32 = was
    assert seen == [(False, False, True)]
    assert (cudnn.allow_tf32, cudnn.deterministic) == before
