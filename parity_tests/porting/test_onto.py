"""`porting diff --onto`: a user-defined module."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from torch import nn

import porting
from genmobilenet import create_model
from parity_tests.building.command import porting_process as run

MODULES = """
import torch
from torch import nn
from genmobilenet import create_model

class Mine(nn.Module):
    def __init__(self):
        super().__init__()
        inner = create_model("tf_mnasnet_small")
        self.trunk = nn.Sequential(inner.conv_stem, inner.bn1, inner.act1, inner.blocks,
                                   inner.conv_head, inner.bn2, inner.act2)
        self.pool, self.fc = inner.global_pool, inner.classifier

    def forward(self, x):
        return self.fc(self.pool(self.trunk(x)).flatten(1))

def broken():
    raise KeyError("weights")

class Fails(Mine):
    def forward(self, x):
        return self.fc(x)

class InFloat32Alone(Mine):
    def forward(self, x):
        if x.dtype != torch.float32:
            raise ValueError("float32 please")
        return super().forward(x)
"""


def test_a_module_of_ones_own(small, tmp_path):
    (tmp_path / "mine.py").write_text(MODULES)
    words = ["diff", *small, "--random", 1, "--json", "-"]
    path = {"PYTHONPATH": f"{tmp_path}:{Path.cwd()}"}
    report = json.loads(run(*words, "--onto", "mine:Mine", **path).stdout)
    assert report["agrees"] is True
    assert report["subject"]["model"] == "mine:Mine"
    assert "matched by order and shape" in report["subject"]["notes"][0]
    assert report["weights"]["agrees"] is True
    assert report["weights"]["headline"].endswith("keys are the source's")
    for spec, message in (
        ("mine", "expected package.module:callable"),
        ("absent:Mine", "cannot be built: ModuleNotFoundError"),
        ("mine:broken", "cannot be built: KeyError: 'weights'"),
        ("json:loads", "cannot be built: TypeError"),
        ("mine:Fails", "Fails: its forward fails on torch.float64 inputs (1, 3, 64, 64)"),
        (
            "mine:InFloat32Alone",
            "on torch.float64 inputs (1, 3, 64, 64): ValueError: float32 please",
        ),
    ):
        result = run(*words, "--onto", spec, **path)
        assert result.returncode == 2
        assert message in result.stderr


def test_what_a_module_returns_is_what_counts(small):
    """Even if all its parts are right, what it returns is what users get."""
    network = create_model("tf_mnasnet_small", checkpoint_path=small[1]).eval()

    class Doubled(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = network

        def forward(self, x):
            return 2 * self.inner(x)

    pixels = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3)).astype(np.uint8)
    comparison = porting.compare(small[0], Doubled(), pixels)
    assert not comparison
    assert comparison.culprit.tap == "(output)"


def test_what_was_ported_onto_a_module_is_compared_with_it(small, tmp_path):
    (tmp_path / "mine.py").write_text(MODULES)
    path = {"PYTHONPATH": f"{tmp_path}:{Path.cwd()}"}
    out = tmp_path / "out"
    result = run("port", small[0], "--onto", "mine:Mine", "--out", out, "--json", **path)
    assert result.returncode == 0, result.stderr
    weights = json.loads(result.stdout)["weights"]
    assert Path(weights).name.startswith("Mine-")
    assert json.loads(Path(weights).with_suffix(".json").read_text())["onto"] == "mine:Mine"
    words = ["diff", small[0], weights, "--random", 1]
    result = run(*words, **path)
    assert result.returncode == 2
    assert "was ported onto mine:Mine" in result.stderr
    assert run(*words, "--onto", "mine:Mine", **path).returncode == 0
