"""A port converted back to TFLite by litert-torch ports again, to the same tensors bit for bit.

``PORTING_LITERT_TORCH`` names the environment of ``make test-litert-torch``.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import porting
from genmobilenet import get_config
from parity_tests.building.command import ROOT
from parity_tests.building.tflite_networks import NetworkFile

ENVIRONMENT = os.environ.get("PORTING_LITERT_TORCH", "")
CONVERTING = Path(__file__).with_name("converting.py")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not ENVIRONMENT, reason="PORTING_LITERT_TORCH does not name an environment of litert-torch"
    ),
]


@pytest.mark.parametrize(
    "model", ["tf_mobilenetv2_035", "tf_mobilenetv3_small_minimal_100", "tf_mnasnet_small"]
)
def test_the_same_tensors(model, tmp_path):
    config = replace(get_config(model), input_size=64)
    source = tmp_path / "source.tflite"
    source.write_bytes(NetworkFile(config, seed=1).build())
    first = porting.port(source, model)
    assert first.comparison, first.comparison.summary()
    torch.save(first.state_dict, tmp_path / "first.pth")
    converted = tmp_path / "converted.tflite"
    result = subprocess.run(
        [f"{ENVIRONMENT}/bin/python", CONVERTING, model, tmp_path / "first.pth",
         str(first.config.num_classes), str(first.config.input_size), converted],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert converted.is_file(), result.stderr[-2000:]
    second = porting.port(converted)
    assert second.model == first.model
    assert second.comparison, second.comparison.summary()
    assert set(second.state_dict) == set(first.state_dict)
    for key, values in first.state_dict.items():
        np.testing.assert_array_equal(second.state_dict[key].numpy(), values.numpy(), key)
