"""The wheel in an environment of its own without extras: ``make test-wheel`` makes one."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

ENVIRONMENT = os.environ.get("PORTING_WHEEL", "")
"""The folder of the environment into which nothing but the wheel was installed."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not ENVIRONMENT, reason="PORTING_WHEEL names no environment"),
]


def run(program, *arguments, folder):
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return subprocess.run(
        [Path(ENVIRONMENT, "bin", program), *map(str, arguments)],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**environment, "COLUMNS": "80"},
        check=False,
    )


@pytest.mark.parametrize("words", [["porting"], ["python", "-m", "porting"]])
def test_it_says_its_version(words, tmp_path):
    program, *arguments = words
    result = run(program, *arguments, "--version", folder=tmp_path)
    assert (result.returncode, result.stdout) == (0, "porting 0.1.0\n")


def test_it_is_typed_and_brings_its_pages(tmp_path):
    code = (
        "import genmobilenet, pathlib, porting; own = pathlib.Path(porting.__file__).parent; "
        "assert 'site-packages' in str(own), own; "
        "names = ['py.typed', 'reports/schema.json', 'parity/photos/LICENSES.md']; "
        "assert all((own / name).exists() for name in names); "
        "assert (pathlib.Path(genmobilenet.__file__).parent / 'py.typed').exists()"
    )
    result = run("python", "-c", code, folder=tmp_path)
    assert result.returncode == 0, result.stderr


def test_a_tflite_file_is_inspected_and_ported_without_a_judge(small_synthetic, tmp_path):
    source = small_synthetic.float
    inspection = run("porting", "inspect", source, "--json", folder=tmp_path)
    assert inspection.returncode == 0, inspection.stderr
    assert json.loads(inspection.stdout)
    result = run("porting", "port", source, "--no-verify", folder=tmp_path)
    assert result.returncode == 0, result.stderr
    (weights,) = (tmp_path / "checkpoints/ported").glob("*-unverified-*.pth")
    code = (
        "import sys, torch; from genmobilenet import create_model; "
        "model = create_model('tf_mnasnet_small', checkpoint_path=sys.argv[1]).eval(); "
        "assert model(torch.zeros(1, 3, 64, 64)).shape[0] == 1"
    )
    result = run("python", "-c", code, weights, folder=tmp_path)
    assert result.returncode == 0, result.stderr


def test_a_missing_judge_is_named_with_its_packages(small_synthetic, tmp_path):
    result = run("porting", "port", small_synthetic.float, folder=tmp_path)
    assert result.returncode == 2
    assert "pip install ai-edge-litert tflite" in " ".join(result.stderr.split())
    assert not (tmp_path / "checkpoints").exists()
    result = run("porting", "port", small_synthetic.checkpoint, folder=tmp_path)
    assert result.returncode == 2
    assert "pip install tensorflow" in " ".join(result.stderr.split())
