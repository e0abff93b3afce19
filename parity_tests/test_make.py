"""The Makefile's targets from a source to its report, in an existing environment."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from genmobilenet import get_config
from parity_tests.building.photos import jpeg_of
from parity_tests.building.tflite_networks import network_file

ROOT = Path(__file__).resolve().parents[1]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed"),
]


@pytest.fixture
def venv(tmp_path):
    venv = tmp_path / "venv"
    (venv / "bin").mkdir(parents=True)
    for name, words in (("python", ""), ("porting", "-m porting ")):
        script = venv / "bin" / name
        script.write_text(f'#!/bin/sh\nexec {sys.executable} {words}"$@"\n')
        script.chmod(0o755)
    for file in (tmp_path / "requirements.lock", tmp_path / "pyproject.toml", venv / ".installed"):
        file.write_text("")
    return venv


@pytest.fixture
def make(tmp_path, venv):
    def run(*words):
        places = [f"VENV={venv}", f"OUT={tmp_path / 'ported'}", f"REPORTS={tmp_path / 'reports'}"]
        return subprocess.run(
            ["make", "-C", ROOT, *words, *places], capture_output=True, text=True, check=False,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip

    return run


def test_a_port_from_elsewhere_is_compared_and_a_lost_source_fails(make, tmp_path):
    source = tmp_path / "elsewhere" / "small.tflite"
    source.parent.mkdir()
    source.write_bytes(network_file(get_config("tf_mnasnet_small")))
    result = make("port-mnasnet", f"SOURCE={source}")
    assert result.returncode == 0, result.stderr
    result = make("parity")
    assert result.returncode == 0, result.stderr
    [report] = (tmp_path / "reports").glob("*.json")
    assert json.loads(report.read_text())["agrees"] is True
    moved = source.rename(tmp_path / "moved.tflite")
    result = make("parity")
    assert result.returncode == 2
    assert "its source is neither where it lay nor in the folders given" in result.stderr
    assert make("parity", f"SOURCE={moved}").returncode == 0


def test_a_source_is_ported_and_evaluated_beside_its_judge(make, tmp_path):
    source = tmp_path / "small.tflite"
    source.write_bytes(network_file(get_config("tf_mnasnet_small")))
    for number, synset in enumerate(("n01440764", "n02119789")):
        (tmp_path / "images" / synset).mkdir(parents=True)
        (tmp_path / "images" / synset / "a.JPEG").write_bytes(jpeg_of(80, 90, seed=number))
    words = ["accuracy", f"DATA={tmp_path / 'images'}", f"MODEL={source}"]
    result = make(*words, f"WITH=--journal {tmp_path / 'journal'} --workers 0")
    assert result.returncode == 0, result.stderr
    assert "the port is the judge: 0 of 2 answers differ" in result.stdout
    assert "at parity with its judge" in result.stdout
    [report] = (tmp_path / "reports").glob("*-on-images-*.json")  # as more images were requested
    assert json.loads(report.read_text())["data"]["used"] == 2
    assert report.with_suffix(".html").is_file()
    result = make("accuracy", f"DATA={tmp_path / 'images'}")
    assert result.returncode == 2
    assert "wanted: DATA=images MODEL=" in result.stdout


def test_all_that_is_on_disk_is_ported(venv, tmp_path):
    for folder, model in (("checkpoints/google", "tf_mnasnet_small"), ("b", "tf_mobilenetv1_025")):
        place = tmp_path / folder / f"{model}.tflite"
        place.parent.mkdir(parents=True)
        place.write_bytes(network_file(get_config(model)))
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "cut.tflite").write_bytes(b"\0\0\0\0TFL3")
    words = ["port-all", "FROM=b c", f"VENV={venv}", "OUT=out"]
    result = subprocess.run(
        ["make", "--no-print-directory", "-f", ROOT / "Makefile", *words], cwd=tmp_path,
        capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert result.returncode == 2
    assert result.stdout.splitlines()[-1] == "2 ported, 0 not at parity, 1 refused"
    assert len(list((tmp_path / "out").glob("tf_*.pth"))) == 2
