"""`porting diff`, `porting report` and `porting.compare` as users have them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import porting
from benchmarks.measuring import run_once
from genmobilenet import create_model, get_config
from genmobilenet.factory import build
from parity_tests.building.tflite_networks import network_file
from porting.errors import BadInput
from porting.parity.inputs import seeded_images, seeded_pixels
from porting.release import write_release
from porting.release.pairs import pairs


def run(*words, **environment):
    """Run the command; it must never show a traceback."""
    done = subprocess.run(
        [sys.executable, "-m", "porting", *map(str, words)],
        capture_output=True, text=True, check=False,
        env={**os.environ, "COLUMNS": "100", **environment},
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A source and the files of its port."""
    folder = tmp_path_factory.mktemp("diff")
    path = folder / "small.tflite"
    path.write_bytes(network_file(get_config("tf_mnasnet_small"), seed=4))
    return path, write_release(porting.port(path), folder / "ported").weights


@pytest.fixture
def faulty(small, tmp_path):
    state = torch.load(small[1], weights_only=True)
    state["blocks.3.1.conv_dw.weight"] *= 1.001
    path = tmp_path / "faulty.pth"
    torch.save(state, path)
    return path


def test_at_parity(small, tmp_path):
    page, data = tmp_path / "deep" / "r.html", tmp_path / "r.json"
    done = run("diff", *small, "--random", 2, "--report", page, "--json", data)
    assert done.returncode == 0, done.stderr
    assert "at parity with" in done.stdout
    assert "the worst taps" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100
    assert done.stderr == ""
    report = json.loads(data.read_text())
    assert report["agrees"] is True
    assert report["inputs"]["count"] == 2
    assert report["subject"]["model"] == "tf_mnasnet_small"
    again = run("report", data, "--out", tmp_path / "again.html")
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "again.html").read_bytes() == page.read_bytes()


def test_the_culprit_is_named_and_the_exit_code_is_one(small, faulty):
    done = run("diff", small[0], faulty, "--random", 2)
    assert done.returncode == 1
    text = " ".join(done.stdout.split())
    assert "NOT at parity" in text
    assert "the error is born at blocks.3.1.act2 (block_" in text
    assert "tf_mnasnet_small is the only network that fits the source" in text


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
    done = run("diff", *small, "--random", 1, "--mode", mode, "--json", "-")
    report = json.loads(done.stdout)
    other = {"accumulated": "isolated", "isolated": "accumulated"}[mode]
    assert all(tap[mode] and tap[other] is None for tap in report["taps"])


def test_a_module_of_ones_own(small, tmp_path):
    (tmp_path / "mine.py").write_text(
        textwrap.dedent("""
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
                return self.fc(self.pool(self.trunk(x)))

        def broken():
            raise KeyError("weights")
        """)
    )
    words = ["diff", *small, "--random", 1, "--json", "-"]
    path = {"PYTHONPATH": f"{tmp_path}:{Path.cwd()}"}
    report = json.loads(run(*words, "--onto", "mine:Mine", **path).stdout)
    assert report["agrees"] is True
    assert report["subject"]["model"] == "mine:Mine"
    assert "matched by order and shape" in report["subject"]["notes"][0]
    for spec, message in (
        ("mine", "expected package.module:callable"),
        ("absent:Mine", "cannot be built: ModuleNotFoundError"),
        ("mine:broken", "cannot be built: KeyError: 'weights'"),
        ("json:loads", "cannot be built: TypeError"),
    ):
        done = run(*words, "--onto", spec, **path)
        assert done.returncode == 2
        assert message in done.stderr


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
        ([source, weights, "--model", "tf_mnasnet_050"], "graph and network differ"),
        ([source, weights, "--images", tmp_path / "empty"], "no image in it"),
        ([source, weights, "--weights", "ema"], "has no ema weights"),
        ([source, weights, "--random", 1, "--report", tmp_path / "file" / "r.html"],
         "r.html: cannot be written"),
        ([source, source], "not a readable state dict"),
    ):  # fmt: skip
        done = run("diff", *words)
        assert done.returncode == 2, (words, done.stdout)
        assert message in done.stderr
        assert done.stderr.startswith("porting: ")


def test_all_images_broken(small, tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"no image")
    done = run("diff", *small, "--images", tmp_path)
    assert done.returncode == 2
    assert "a.jpg" in done.stderr


def test_skipped_images_are_counted(small, tmp_path):
    from PIL import Image

    Image.new("RGB", (80, 80), "red").save(tmp_path / "a.png")
    (tmp_path / "b.jpg").write_bytes(b"no image")
    done = run("diff", *small, "--images", tmp_path)
    assert done.returncode == 0, done.stderr
    text = " ".join(done.stdout.split())
    assert "1 skipped" in text
    assert "skipped b.jpg:" in text


@pytest.mark.slow
def test_an_interruption_leaves_no_report(small, tmp_path):
    page = tmp_path / "r.html"
    words = ["diff", *map(str, small), "--random", "500", "--report", str(page)]
    process = subprocess.Popen(
        [sys.executable, "-m", "porting", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    time.sleep(6)
    process.send_signal(signal.SIGINT)
    _, complaint = process.communicate(timeout=30)
    assert process.returncode == 2
    assert complaint == b"porting: interrupted; nothing half-written is left\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_memory_does_not_grow_with_the_images(small, tmp_path):
    def peak(count):
        """MiB of a whole `porting diff --random`, by the kernel's own count."""
        words = ["diff", *map(str, small), "--random", str(count)]
        return run_once([sys.executable, "-m", "porting", *words]).mib

    assert peak(200) < 1.1 * peak(8)


def test_random_images_are_made_one_by_one():
    images = seeded_images(10**9, 64)
    first = np.stack([next(images), next(images)])
    np.testing.assert_array_equal(first, seeded_pixels(2, 64))


def test_a_line_in_somebodys_own_tests(small, faulty, tmp_path):
    test = tmp_path / "test_port.py"
    test.write_text(
        textwrap.dedent(f"""
        import numpy as np
        import porting

        IMAGES = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3))

        def test_good():
            assert porting.compare({str(small[0])!r}, {str(small[1])!r}, IMAGES)

        def test_bad():
            assert porting.compare({str(small[0])!r}, {str(faulty)!r}, IMAGES)
        """)
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(test)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path,
                          env={**os.environ, "PYTHONPATH": str(Path.cwd())})  # fmt: skip
    assert "1 failed, 1 passed" in done.stdout
    shown = [line for line in done.stdout.splitlines() if line.startswith("E")]
    assert "the error is born at blocks.3.1.act2" in shown[0]
    assert len(shown) < 8


def test_compare_takes_arrays_iterables_and_modules(small):
    pixels = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3)).astype(np.uint8)
    model = create_model("tf_mnasnet_small", checkpoint_path=small[1])
    assert porting.compare(small[0], model, pixels).inputs == 2
    assert porting.compare(small[0], model, iter(pixels)).inputs == 2
    assert porting.compare(porting.open_source(small[0]), str(small[1])).inputs == 8
    with pytest.raises(BadInput, match="no image to run"):
        porting.compare(small[0], model, iter(()))
    with pytest.raises(BadInput, match="mode 'all'"):
        porting.compare(small[0], model, pixels, mode="all")


def test_which_file_came_from_which_source(small, tmp_path):
    folder = small[0].parent
    [(source, weights)] = pairs(folder / "ported", [folder])
    assert porting.open_source(source).path == small[0]
    assert weights == small[1]
    assert list(pairs(folder / "ported", [tmp_path])) == [(None, small[1])]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "taps"),
    [
        ("mnasnet-b1/mnasnet-b1_float.tflite", 64),
        ("mnasnet-a1-050/mnasnet-a1_float.tflite", 100),
        ("mnasnet-a1-050/mnasnet-a1_postquant.tflite", 100),
        ("mnasnet-a1-050", 141),
    ],
)
def test_real_files_agree_at_every_tap_in_both_readings(artifacts, source, taps):
    if source == "mnasnet-a1-050":
        pytest.importorskip("tensorflow")
    ported = porting.port(artifacts / source, verify=False)
    network = build(ported.config, ported.state_dict)
    comparison = porting.compare(artifacts / source, network)
    assert comparison, comparison.summary()
    assert len(comparison.taps) == taps
    assert comparison.unmatched == ()
    # Room on both sides: faults give hundreds of times the noise.
    assert comparison.needed.factor < 5


@pytest.mark.slow
def test_rehearsals_agree_at_every_tap_in_both_readings(small_rehearsal):
    for source in (small_rehearsal.checkpoint, small_rehearsal.float, small_rehearsal.dynamic):
        ported = porting.port(source, verify=False)
        comparison = porting.compare(source, build(ported.config, ported.state_dict))
        assert comparison, comparison.summary()
        assert comparison.unmatched == ()
