"""How reports show the evidence for an input convention, and the check from pixels."""

from __future__ import annotations

import json

import jsonschema
import pytest

import porting
from genmobilenet import get_config
from parity_tests.building.browsing import Opened, needs_chromium
from parity_tests.building.command import porting as run
from parity_tests.building.comparisons import report_of
from parity_tests.building.tflite_variants import normalising
from porting.parity.inputs import seeded_pixels
from porting.release import write_release
from porting.reports.documents import page, schema

MODEL = "tf_mnasnet_small"
KIND = normalising([("MUL", 2.0), ("SUB", 1.0)], quantised=("uint8", 1 / 255, 0))
FLOAT = normalising([("MUL", 2.0), ("SUB", 1.0)])


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Sources by what they take, and the port of the one that takes bytes."""
    folder = tmp_path_factory.mktemp("road")
    for name, kind in (("bytes", KIND), ("float", FLOAT)):
        (folder / f"{name}.tflite").write_bytes(kind(get_config(MODEL), seed=3).build())
    ported = porting.port(folder / "bytes.tflite", pixels=seeded_pixels(1, 64))
    return folder, write_release(ported, folder / "ported")


def words(text):
    return " ".join(text.split())


def test_a_port_in_the_terminal_and_its_card(files, tmp_path):
    folder, released = files
    result = run("port", folder / "bytes.tflite", "--out", tmp_path)
    assert result.returncode == 0, result.stderr
    assert "pixels fed pixels 0..255 as uint8, source and port agree" in words(result.stdout)
    assert "known from: the source's graph normalises its input (MUL, SUB)" in words(result.stdout)
    card = json.loads(released.card.read_text())
    assert card["verdict"]["pixels"]["agrees"] is True
    assert card["verdict"]["pixels"]["takes"] == "uint8"
    assert card["input"]["certainty"] == "proved"
    assert card["input"]["source_std"] == pytest.approx([255] * 3)


def test_what_is_not_proved_says_so(files, tmp_path):
    result = run("port", files[0] / "float.tflite", "--out", tmp_path)
    assert result.returncode == 0, result.stderr
    assert "as 0 to 1 in float32 (not proved), source" in words(result.stdout)
    assert "not proved: the source's graph normalises its input (MUL, SUB), assumed" in words(
        result.stdout
    )


def test_weights_alone_are_not_judged_from_pixels_on(small_synthetic, tmp_path):
    result = run("port", small_synthetic.checkpoint, "--out", tmp_path)
    assert "pixels not judged: the judge is fed" in words(result.stdout)


def test_a_comparison_in_json(files, tmp_path):
    folder, released = files
    report = tmp_path / "report.json"
    result = run("diff", folder / "bytes.tflite", released.weights, "--random", 1, "--json", report)
    assert result.returncode == 0, result.stderr
    assert "pixels fed pixels 0..255 as uint8" in words(result.stdout)
    data = json.loads(report.read_text())
    jsonschema.validate(data, schema())
    assert data["refusals"] == []
    assert data["pixels"]["images"] == 1
    assert data["inputs"]["convention"]["certainty"] == "proved"


class TestOptions:
    def test_a_convention_that_contradicts_the_file(self, files, tmp_path):
        folder, released = files
        stated = ("--mean", "0", "--std", "255")
        for command in (
            ("port", folder / "bytes.tflite", "--out", tmp_path),
            ("diff", folder / "bytes.tflite", released.weights),
        ):
            result = run(*command, *stated)
            assert result.returncode == 2
            assert "--mean 0 --std 255 contradict the file" in words(result.stderr)
            assert "minus (127.5), over (127.5)" in words(result.stderr)
        assert not list(tmp_path.iterdir())

    def test_a_convention_that_is_taken(self, files, tmp_path):
        result = run(
            "port", files[0] / "float.tflite", "--mean", "0,0,0", "--std", "255", "--out", tmp_path
        )
        assert result.returncode == 0, result.stderr
        assert "the user's: --mean 0 --std 255" in words(result.stdout)
        assert "stated, not proved" in words(result.stdout)

    def test_half_of_one(self, files, tmp_path):
        result = run("port", files[0] / "float.tflite", "--mean", "0", "--out", tmp_path)
        assert result.returncode == 2
        assert "--std is missing" in words(result.stderr)


@pytest.mark.slow
@needs_chromium
def test_the_page(browser, tmp_path):
    data = report_of(3)
    data["pixels"] = {"summary": "fed <i>pixels</i> as uint8"}
    data["inputs"]["convention"]["certainty"] = "assumed"
    place = tmp_path / "page.html"
    place.write_text(page(data), encoding="utf-8")
    view = Opened(browser, place)
    shown = words(view.page.locator("#provenance").inner_text())
    assert "From pixels fed <i>pixels</i> as uint8" in shown
    assert "not proved the graph" in shown
    view.check_quiet()
