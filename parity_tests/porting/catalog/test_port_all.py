"""Everything on disk ported side by side: what is taken, what is said, how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from genmobilenet import get_config
from parity_tests.building.archives import archive_of
from parity_tests.building.checkpoints import write_network
from parity_tests.building.command import ROOT
from parity_tests.building.tflite_networks import network_file
from porting.catalog import port_all as module
from porting.catalog.port_all import port_all, sources_in
from porting.errors import BadInput

STAND_IN = """
import json, os, signal, sys, time
from pathlib import Path
out, place = Path(sys.argv[2]), Path(sys.argv[4])
def note(what, text=""):
    (out / f"{place.stem}.{what}").write_text(text)
kind = place.read_text()
note("begun", json.dumps({k: v for k, v in os.environ.items() if k.endswith("_THREADS")}))
if kind == "ported":
    time.sleep(0.3)
    note("ended")
    print(json.dumps({"weights": "out/x.pth", "verdict": {"summary": "at parity"}}))
elif kind == "endless":
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        note("cleared")
elif kind == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
else:
    code, said = kind.split(" ", 1)
    sys.stderr.write(f"a library's warning\\nporting: {place}: {said}\\n")
    sys.exit(int(code))
"""
"""Stands in for ``porting port``, and does what the source says."""


@pytest.fixture
def google(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_COMMAND", (sys.executable, "-c", STAND_IN))
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "checkpoints" / "google"
    folder.mkdir(parents=True)
    (tmp_path / "out").mkdir()
    return folder


def put(folder, **kinds):
    for name, kind in kinds.items():
        (folder / f"{name}.tflite").write_text(kind)


def ended(monkeypatch, *words):
    """The exit code of a run."""
    monkeypatch.setattr(sys, "argv", ["port_all", "--out", "out", *words])
    with pytest.raises(SystemExit) as done:
        module.main()
    return done.value.code


def test_each_has_a_line_and_none_stops_another(google, monkeypatch, capsys):
    put(google, b="2 damaged\n  at its end", a="1 NOT at parity", d="killed", c="ported", e="70 no")
    assert ended(monkeypatch) == 1
    seen = capsys.readouterr()
    assert seen.out.splitlines() == [
        "ported         checkpoints/google/c.tflite: out/x.pth; at parity",
        "not at parity  checkpoints/google/a.tflite: NOT at parity",
        "refused        checkpoints/google/b.tflite: damaged at its end",
        "refused        checkpoints/google/d.tflite: ended by signal 9",
        "refused        checkpoints/google/e.tflite: no",
        "1 ported, 1 not at parity, 3 refused",
    ]
    numbers, told = zip(*(line.split(" ", 1) for line in seen.err.splitlines()), strict=True)
    assert numbers == ("1/5", "2/5", "3/5", "4/5", "5/5")
    assert sorted(told) == [
        "not at parity: checkpoints/google/a.tflite",
        "ported: checkpoints/google/c.tflite",
        "refused: checkpoints/google/b.tflite",
        "refused: checkpoints/google/d.tflite",
        "refused: checkpoints/google/e.tflite",
    ]


@pytest.mark.parametrize(
    ("kinds", "code"),
    [
        ({"a": "ported", "b": "ported"}, 0),
        ({"a": "ported", "b": "2 damaged"}, 2),
        ({"a": "1 off", "b": "2 damaged"}, 1),
        ({"a": "70 a defect"}, 2),
    ],
)
def test_exit_codes(google, monkeypatch, kinds, code):
    put(google, **kinds)
    assert ended(monkeypatch) == code


def test_as_many_at_a_time_as_asked_each_with_one_thread(google, tmp_path, monkeypatch):
    put(google, **dict.fromkeys("abcd", "ported"))
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert ended(monkeypatch, "--jobs", "2") == 0
    times = []
    for name in "abcd":
        begun, over = tmp_path / "out" / f"{name}.begun", tmp_path / "out" / f"{name}.ended"
        held = json.loads(begun.read_text())
        assert set(held.values()) == {"1"}
        assert {"OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"} <= set(held)
        times += [(begun.stat().st_mtime_ns, 1), (over.stat().st_mtime_ns, -1)]
    running = most = 0
    for _, step in sorted(times):
        running += step
        most = max(most, running)
    assert most == 2


def test_a_file_that_is_not_what_was_first_seen_is_refused(google, monkeypatch, capsys):
    put(google, a="ported", b="ported")
    record = {"a.tflite": {"sha256": "0" * 64, "first_seen": "2020-01-01"}}
    (google / "catalog.lock.json").write_text(json.dumps(record))
    assert ended(monkeypatch) == 2
    out = capsys.readouterr().out
    assert "refused        checkpoints/google/a.tflite: its sha256 is" in out
    assert out.endswith("1 ported, 0 not at parity, 1 refused\n")


def test_other_folders_are_taken_too_and_no_place_twice(google, tmp_path, monkeypatch, capsys):
    put(google, a="ported")
    (tmp_path / "mine").mkdir()
    put(tmp_path / "mine", b="ported")
    assert ended(monkeypatch, "mine", str(tmp_path / "mine"), "mine/b.tflite") == 0
    assert "2 ported, 0 not" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], r"nothing to port in checkpoints/google; .* porting fetch NAME downloads it, make"),
        (["absent"], r"^absent: no such folder"),
    ],
)
def test_nothing_to_port(google, monkeypatch, words, message):
    monkeypatch.setattr(sys, "argv", ["port_all", *words])
    with pytest.raises(BadInput, match=message):
        module.main()


def test_what_counts_as_a_source(tmp_path):
    write_network(tmp_path / "loose.ckpt-3", "tf_mnasnet_small")
    (training := tmp_path / "training").mkdir()
    for step in (1, 2):
        write_network(training / f"model.ckpt-{step}", "tf_mnasnet_small")
    (training / "checkpoint").write_text('model_checkpoint_path: "model.ckpt-2"')
    (training / "as.tflite").write_bytes(b"damaged")
    (deep := tmp_path / "a" / "b").mkdir(parents=True)
    (deep / "k.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    (tmp_path / "x.tgz").write_bytes(archive_of(a=b"b"))
    for name in ("x.tgz.part", "x.tgz.refused", ".hidden.tgz", "notes.txt", "catalog.lock.json"):
        (tmp_path / name).write_bytes(archive_of(a=b"b") if "tgz" in name else b"{}")
    found = [str(place.relative_to(tmp_path)) for place in sources_in(tmp_path)]
    assert found == ["a/b/k.h5", "loose.ckpt-3", "training", "training/as.tflite", "x.tgz"]


def test_leaving_in_the_middle_ends_the_processes(google, tmp_path):
    put(google, a="ported", b="endless", c="endless", d="endless")
    outcomes = port_all(sorted(google.iterdir()), tmp_path / "out", 2)
    next(outcomes)
    wait_for(tmp_path / "out" / "b.begun", tmp_path / "out" / "c.begun")
    started = time.monotonic()
    outcomes.close()
    assert time.monotonic() - started < 10
    assert (tmp_path / "out" / "b.cleared").exists()
    assert (tmp_path / "out" / "c.cleared").exists()
    assert not (tmp_path / "out" / "d.begun").exists()


def test_an_interruption_ends_them_and_is_said_in_a_line(google, tmp_path):
    put(google, a="endless", b="endless", c="endless")
    code = (
        "import sys; from porting.catalog import port_all as m\n"
        "from porting.exits import end_with\n"
        f"m._COMMAND = (sys.executable, '-c', {STAND_IN!r}); end_with(m.main)"
    )
    words = [sys.executable, "-c", code, "--out", "out", "--jobs", "2"]
    with subprocess.Popen(
        words, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as process:  # fmt: skip
        wait_for(tmp_path / "out" / "a.begun", tmp_path / "out" / "b.begun")
        process.send_signal(signal.SIGINT)
        out, said = process.communicate(timeout=20)
    assert (process.returncode, out) == (2, "")
    assert said == "porting: interrupted; nothing half-written is left\n"
    assert {place.suffix for place in (tmp_path / "out").iterdir()} == {".begun", ".cleared"}
    assert not (tmp_path / "out" / "c.begun").exists()


def wait_for(*files: Path):
    deadline = time.monotonic() + 30
    while not all(file.exists() and file.read_text() for file in files):
        assert time.monotonic() < deadline, f"none of {files}"
        time.sleep(0.02)
    time.sleep(0.1)  # into its sleep


@pytest.mark.slow
def test_real_files_of_several_networks(tmp_path, small_rehearsal):
    google = tmp_path / "checkpoints" / "google"
    google.mkdir(parents=True)
    small = network_file(get_config("tf_mnasnet_small"), seed=4)
    (google / "mobilenet.tflite").write_bytes(network_file(get_config("tf_mobilenetv1_025")))
    (google / "small.tgz").write_bytes(archive_of(**{"m/small.tflite": small}))
    (google / "cut.tflite").write_bytes(small[:5000])
    done = subprocess.run(
        [sys.executable, "-m", "porting.catalog.port_all", small_rehearsal.checkpoint],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    lines = done.stdout.splitlines()
    assert lines[-1] == "3 ported, 0 not at parity, 1 refused"
    assert lines[-2].startswith("refused        checkpoints/google/cut.tflite: damaged or cut")
    assert all("at parity with" in line for line in lines[:3])
    made = sorted(place.name for place in (tmp_path / "checkpoints" / "ported").glob("*.pth"))
    assert [name.rsplit("-", 1)[0] for name in made] == [
        "tf_mnasnet_small", "tf_mnasnet_small-rehearsal", "tf_mobilenetv1_025",
    ]  # fmt: skip
