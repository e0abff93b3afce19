"""A small checkpoint of many types, made byte by byte."""

from __future__ import annotations

import numpy as np
import pytest

from parity_tests.building import tables

RANDOM = np.random.default_rng(11)
TENSORS = {
    "net/conv/kernel": RANDOM.standard_normal((3, 3, 4, 5)).astype(np.float32),
    "net/conv/kernel/ExponentialMovingAverage": RANDOM.standard_normal((3, 3, 4, 5)).astype("f4"),
    "net/conv/bias": RANDOM.standard_normal(5),
    "net/dense/kernel": RANDOM.standard_normal((4, 2)).astype(np.float16),
    "net/ids": RANDOM.integers(-9, 9, (2, 3)),
    "net/mask": RANDOM.integers(0, 2, 7).astype(bool),
    "global_step": np.asarray(7, np.int64),
}


@pytest.fixture
def prefix(tmp_path):
    place = tmp_path / "model.ckpt-7"
    tables.write_checkpoint(place, TENSORS)
    return place
