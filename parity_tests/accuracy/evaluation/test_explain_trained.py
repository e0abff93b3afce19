"""A port of raw weights, run on Pillow's pixels: both causes of its gap are found, and no other."""

from __future__ import annotations

import json
import sys

import pytest

import porting
from parity_tests.accuracy.evaluation.test_ranks import torchrun
from parity_tests.building.command import porting_process as command
from parity_tests.building.trained_network import SIZE, write_images, write_trained
from porting.accuracy.evaluation.evaluate import evaluate
from porting.accuracy.preprocessing import PIPELINES
from porting.release import write_release

IMAGES = 320

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    pytest.importorskip("tensorflow")
    return write_trained(tmp_path_factory.mktemp("trained") / "model.ckpt-100")


def test_weights_and_preprocessing_explain_the_gap(source, tmp_path):
    data = write_images(tmp_path / "images", IMAGES)
    published = evaluate(
        data, source, preprocessing=PIPELINES["mnasnet"](SIZE),
        journal=tmp_path / "published", workers=0,
    )  # fmt: skip
    stated = 100 * published.right(0).mean()
    port = write_release(porting.port(source, weights="raw", verify=False), tmp_path / "ported")
    words = (
        "evaluate", data, "--source", source, "--checkpoint", port.weights, "--preprocessing",
        PIPELINES["pillow"](SIZE), "--journal", tmp_path / "journal", "--stated", f"{stated:.4f}",
        "--explain", "--workers", 1, "--json",
    )  # fmt: skip
    result = command(*words, tmp_path / "found.json")
    assert result.returncode == 0, result.stderr
    assert max(len(line) for line in result.stdout.splitlines() if str(tmp_path) not in line) <= 80
    actual = json.loads((tmp_path / "found.json").read_text())["explanation"]
    combined = actual["combined"]
    named = {(change["topic"], change["change"]) for change in combined["changes"]}
    assert named == {
        ("weights", "ema for raw"), ("preprocessing", "the authors' for Pillow's"),
    }  # fmt: skip
    assert combined["remaining"] < 0.5 < abs(stated - actual["base"]) - 20
    assert actual["best"]["remaining"] > 5
    assert " and " in actual["sentence"] and f"of the stated {stated:.2f}" in actual["sentence"]
    helping = {change["topic"] for change in actual["changes"] if change["helps"]}
    assert helping >= {"weights", "preprocessing"}
    assert not helping & {"normalisation", "channel order", "label offset"}
    parts = sorted((tmp_path / "journal").rglob("batches-*"))
    assert [part.parent.parent.name for part in parts] == [tmp_path.name, "combined"]
    again = command(*words, tmp_path / "found.json")
    assert again.stdout == result.stdout
    assert sorted((tmp_path / "journal").rglob("batches-*")) == parts, "nothing was left to do"
    shared = [sys.executable, "-m", "porting", *map(str, words), str(tmp_path / "shared.json")]
    shared[shared.index(str(tmp_path / "journal"))] = str(tmp_path / "ranks")
    process = torchrun(2, shared)
    text, complaint = process.communicate()
    assert process.returncode == 0, complaint
    assert text.count("explained") == 1  # only the first rank prints
    assert json.loads((tmp_path / "shared.json").read_text())["explanation"] == actual
    assert len(list((tmp_path / "ranks" / "combined").rglob("batches-*"))) == 2
