"""`porting diff` and `porting report` as users run them."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from genmobilenet import create_model
from parity_tests.building.command import porting as run
from parity_tests.building.command import with_code
from porting.parity.inputs import seeded_images, seeded_pixels


def test_at_parity(small, tmp_path):
    page, data = tmp_path / "deep" / "r.html", tmp_path / "r.json"
    result = run("diff", *small, "--random", 2, "--report", page, "--json", data)
    assert result.returncode == 0, result.stderr
    assert "at parity with" in result.stdout
    assert "the worst taps" in result.stdout
    keys = sum(not key.endswith("_tracked") for key in torch.load(small[1], weights_only=True))
    assert f"weights   all {keys} keys are the source's\n" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 100
    assert result.stderr == ""
    report = json.loads(data.read_text())
    assert report["agrees"] is True
    assert report["inputs"]["count"] == 2
    assert report["subject"]["model"] == "tf_mnasnet_small"
    assert report["weights"]["keys"] == report["weights"]["equal"] == keys
    again = run("report", data, "--out", tmp_path / "again.html")
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "again.html").read_bytes() == page.read_bytes()


def test_the_culprit_is_named_and_the_exit_code_is_one(small, faulty):
    result = run("diff", small[0], faulty, "--random", 2)
    assert result.returncode == 1
    text = " ".join(result.stdout.split())
    assert "NOT at parity" in text
    assert "the error is born at blocks.3.1.act2 (block_" in text
    assert "tf_mnasnet_small is the only network that fits the source" in text
    line = "blocks.3.1.conv_dw.weight is 1.001 times the source's"
    assert f"; {line} weights" in text
    keys = sum(not key.endswith("_tracked") for key in torch.load(faulty, weights_only=True))
    assert (
        f"weights {keys - 1} of {keys} keys are the source's to the last bit {line} rests" in text
    )
    above = result.stdout.partition("the worst taps")[0]
    assert max(map(len, above.splitlines())) <= 80


def test_a_tolerance_of_ones_own(small, faulty):
    needed = json.loads(run("diff", small[0], faulty, "--random", 1, "--json", "-").stdout)
    atol = 1.01 * needed["needed"]["atol"]
    assert run("diff", small[0], faulty, "--random", 1, "--atol", atol).returncode == 0
    assert run("diff", small[0], faulty, "--random", 1, "--atol", atol / 2).returncode == 1


@pytest.mark.parametrize("words", [["--atol", 0], ["--rtol", 0], ["--atol", 0, "--rtol", 0]])
def test_a_tolerance_of_zero_is_one(small, words):
    """Without it the same two agree, within the noise."""
    assert run("diff", *small, "--random", 1, *words).returncode == 1


@pytest.mark.parametrize("mode", ["accumulated", "isolated"])
def test_one_reading_alone(small, mode):
    result = run("diff", *small, "--random", 1, "--mode", mode, "--json", "-")
    report = json.loads(result.stdout)
    other = {"accumulated": "isolated", "isolated": "accumulated"}[mode]
    assert all(tap[mode] and tap[other] is None for tap in report["taps"])


def test_bad_input(small, tmp_path):
    state = torch.load(small[1], weights_only=True)
    del state["bn2.bias"]
    torch.save(state, tmp_path / "missing.pth")
    torch.save(create_model("tf_mnasnet_050").state_dict(), tmp_path / "other.pth")
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    source, weights = small
    for words, message in (
        ([source, tmp_path / "absent.pth"], "absent.pth: no such file"),
        ([source, tmp_path / "missing.pth"], "missing: bn2.bias (1280,)"),
        ([source, tmp_path / "other.pth"], "does not fit GenMobileNet"),
        ([source, weights, "--model", "tf_mnasnet_050"], "source and network differ"),
        ([source, weights, "--images", tmp_path / "empty"], "no image in it"),
        ([source, weights, "--weights", "ema"], "has no ema weights"),
        ([source, weights, "--random", 1, "--report", tmp_path / "file" / "r.html"],
         "r.html: cannot be written"),
        ([source, source], "not a readable state dict"),
    ):  # fmt: skip
        result = run("diff", *words)
        assert result.returncode == 2, (words, result.stdout)
        assert message in result.stderr
        assert result.stderr.startswith("porting: ")


def test_all_images_broken(small, tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"no image")
    result = run("diff", *small, "--images", tmp_path)
    assert result.returncode == 2
    assert "a.jpg" in result.stderr


def test_skipped_images_are_counted(small, tmp_path):
    from PIL import Image

    Image.new("RGB", (80, 80), "red").save(tmp_path / "a.png")
    (tmp_path / "b.jpg").write_bytes(b"no image")
    result = run("diff", *small, "--images", tmp_path)
    assert result.returncode == 0, result.stderr
    text = " ".join(result.stdout.split())
    assert "1 skipped" in text
    assert "skipped b.jpg:" in text


def test_a_verdict_is_printed_although_its_report_cannot_be_written(small, faulty, tmp_path):
    """The folder goes between the check beforehand and the writing."""
    code = (
        "import shutil, porting.parity.verify as v; real = v.verify_port\n"
        f"def gone(*a, **k): r = real(*a, **k); open({str(tmp_path / 'out')!r}, 'w'); return r\n"
        "import porting.diff; porting.diff.verify_port = gone"
    )
    words = ["diff", small[0], faulty, "--random", 1, "--json", tmp_path / "out" / "r.json"]
    result = with_code(code, *words)
    assert result.returncode == 2
    assert "NOT at parity" in result.stdout
    assert "r.json: cannot be written" in result.stderr


def test_random_images_are_made_one_by_one():
    images = seeded_images(10**9, 64)
    first = np.stack([next(images), next(images)])
    np.testing.assert_array_equal(first, seeded_pixels(2, 64))


@pytest.mark.parametrize("option", ["--report", "--json"])
def test_a_place_that_cannot_be_written_is_seen_before_the_judging(small, tmp_path, option):
    (tmp_path / "file").write_text("")
    code = "import porting.diff; porting.diff.verify_port = None"
    for place in (tmp_path / "file" / "r", tmp_path, tmp_path / ("x" * 5000)):
        result = with_code(code, "diff", *small, option, place)
        assert result.returncode == 2, result.stderr
        assert "cannot be written" in result.stderr
        assert len(result.stderr) < 500
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_wrapped_state_dicts_are_taken_and_a_note_says_so(small, tmp_path):
    state = torch.load(small[1], weights_only=True)
    wrapped = {"state_dict": {f"module.{k}": v for k, v in state.items()}, "epoch": 3}
    torch.save(wrapped, tmp_path / "wrapped.pth")
    result = run("diff", small[0], tmp_path / "wrapped.pth", "--random", 1, "--json", "-")
    assert result.returncode == 0, result.stderr
    notes = json.loads(result.stdout)["subject"]["notes"]
    assert notes[:2] == [
        "its state_dict is taken, not its epoch",
        "'module.' before every key is left off",
    ]
    create_model("tf_mnasnet_small", checkpoint_path=tmp_path / "wrapped.pth")
    torch.save({"epoch": 3, "model_state_dict": state}, tmp_path / "other.pth")
    create_model("tf_mnasnet_small", checkpoint_path=tmp_path / "other.pth")


def test_the_plan_is_in_the_report(small):
    report = json.loads(run("diff", *small, "--random", 1, "--json", "-").stdout)
    plan = report["plan"]
    assert (plan["model"], plan["naming"], plan["weight_set"]) == (
        "tf_mnasnet_small", "graph", "as stored",
    )  # fmt: skip
    assert plan["filled"] == len(torch.load(small[1], weights_only=True))
    assert any("0 everywhere" in note for note in plan["notes"])
    assert report["versions"]["genmobilenet"]
