"""``porting diagnose``: what it prints and writes, on a real file with a mistake planted."""

import json

import pytest
import torch

from parity_tests.building.command import porting
from porting.api import port

SOURCE = "google/mobilenet_v1_0.25_224_float.tflite"
KEY = "blocks.2.0.conv_dw.weight"


@pytest.fixture(scope="module")
def good(artifacts):
    return port(artifacts / SOURCE, verify=False).state_dict


def test_a_flipped_kernel_is_named_and_mended(artifacts, good, tmp_path):
    file, data, fixed = tmp_path / "flipped.pth", tmp_path / "d.json", tmp_path / "fixed.pth"
    page = tmp_path / "page.html"
    torch.save({**good, KEY: good[KEY].flip(-1)}, file)
    result = porting(
        "diagnose", artifacts / SOURCE, file, "--json", data, "--fix", fixed, "--report", page
    )
    assert result.returncode == 1, result.stderr
    assert "1. kernel flipped" in result.stdout
    assert max(map(len, result.stdout.split(str(tmp_path))[0].splitlines())) <= 80
    diagnosis = json.loads(data.read_text())
    (cause,) = diagnosis["causes"]
    assert cause["places"] == [KEY]
    assert cause["differences"][0]["after"] < 1e-5 < cause["differences"][0]["before"]
    mended = torch.load(fixed, weights_only=True)
    assert mended.keys() == good.keys()
    assert all(torch.equal(mended[key], good[key]) for key in good)
    html = page.read_text()
    assert html.index('id="diagnosis-heading"') < html.index('id="depth-heading"')


def test_a_healthy_port_has_no_cause(artifacts, good, tmp_path):
    file = tmp_path / "good.pth"
    torch.save(good, file)
    result = porting("diagnose", artifacts / SOURCE, file, "--fix", tmp_path / "fixed.pth")
    assert result.returncode == 0, result.stderr
    assert not (tmp_path / "fixed.pth").exists()


def test_a_failing_diff_suggests_the_command(artifacts, good, tmp_path):
    file = tmp_path / "wrong.pth"
    torch.save({**good, KEY: good[KEY].flip(-1)}, file)
    result = porting("diff", artifacts / SOURCE, file, "--random", 1, "--mode", "isolated")
    assert result.returncode == 1
    assert f"porting diagnose -- {artifacts / SOURCE} {file}" in result.stderr
