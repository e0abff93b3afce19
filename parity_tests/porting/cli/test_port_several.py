"""Several sources ported in parallel: selection, messages, exit codes."""

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
from parity_tests.building.command import ROOT, porting_in
from parity_tests.building.tflite_networks import network_file
from porting.cli import app, processes
from porting.errors import BadInput

STAND_IN = """
import json, os, signal, sys, time
from pathlib import Path
out = Path(sys.argv[sys.argv.index("--out") + 1])
place = Path(sys.argv[-1])
def note(what, text=""):
    (out / f"{place.stem}.{what}").write_text(text)
kind = place.read_text()
note("begun", json.dumps({k: v for k, v in os.environ.items() if k.endswith("_THREADS")}))
if kind == "ported":
    time.sleep(0.3)
    note("ended")
    print(json.dumps({"weights": "out/x.pth", "verdict": {"summary": "at parity"}}))
elif kind == "off":
    print(json.dumps({"weights": None, "verdict": {"summary": "NOT at parity"}}))
    sys.exit(1)
elif kind == "words":
    print(json.dumps({"weights": " ".join(sys.argv[1:]), "verdict": {"summary": "as asked"}}))
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
    monkeypatch.setattr(processes, "PORTING", (sys.executable, "-c", STAND_IN))
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "checkpoints" / "google"
    folder.mkdir(parents=True)
    (tmp_path / "out").mkdir()
    return folder


def put(folder, **kinds):
    for name, kind in kinds.items():
        (folder / f"{name}.tflite").write_text(kind)


def ended(*words):
    """The exit code of a run."""
    with pytest.raises(SystemExit) as result:
        app(["port", "--all", "--out", "out", *words])
    return result.value.code


def test_each_has_a_line_and_none_stops_another(google, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    put(google, b="2 damaged\n  at its end", a="off", d="killed", c="ported", e="1 drew numbers")
    assert ended() == 1
    seen = capsys.readouterr()
    assert seen.out.splitlines() == [
        "ported         checkpoints/google/c.tflite: out/x.pth: at parity",
        "not at parity  checkpoints/google/a.tflite: NOT at parity",
        "not at parity  checkpoints/google/e.tflite: drew numbers",
        "refused        checkpoints/google/b.tflite: damaged at its end",
        "refused        checkpoints/google/d.tflite: ended by signal 9",
        "1 ported, 2 not at parity, 2 refused",
    ]
    numbers, told = zip(*(line[9:].split(" ", 1) for line in seen.err.splitlines()), strict=True)
    assert numbers == ("1/5", "2/5", "3/5", "4/5", "5/5")
    assert sorted(told) == [
        "not at parity: checkpoints/google/a.tflite",
        "not at parity: checkpoints/google/e.tflite",
        "ported: checkpoints/google/c.tflite",
        "refused: checkpoints/google/b.tflite",
        "refused: checkpoints/google/d.tflite",
    ]


def test_a_path_that_is_too_long_stops_no_other(google, capsys):
    put(google, a="ported")
    with pytest.raises(SystemExit):
        app(["port", "x" * 5000, "checkpoints/google/a.tflite", "--out", "out"])
    text = capsys.readouterr().out
    assert "File name too long" in text
    assert text.endswith("1 ported, 0 not at parity, 1 refused\n")


def test_sources_are_named_one_by_one_and_each_gets_the_options(google, capsys):
    put(google, a="words", b="2 damaged")
    places = [f"checkpoints/google/{name}.tflite" for name in "ab"]
    with pytest.raises(SystemExit) as result:
        app(
            ["port", *places, "--out", "out", "--no-verify", "--bn=calibrate", "--json", "--jobs=1"]
        )
    assert result.value.code == 2
    data = json.loads(capsys.readouterr().out)
    assert data["counts"] == {"ported": 1, "not at parity": 0, "refused": 1}
    first, second = data["outcomes"]
    assert first["result"] == (f"port --json --out out --no-verify --bn calibrate -- {places[0]}")
    assert second == {
        "file": places[1], "code": 2, "text": "damaged", "result": None, "outcome": "refused",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("kinds", "code"),
    [
        ({"a": "ported", "b": "ported"}, 0),
        ({"a": "ported", "b": "2 damaged"}, 2),
        ({"a": "off", "b": "2 damaged"}, 1),
        ({"a": "off", "b": "70 a defect"}, 70),
    ],
)
def test_the_worst_outcome_gives_the_exit_code(google, kinds, code):
    put(google, **kinds)
    assert ended() == code


def test_as_many_at_a_time_as_asked_each_with_one_thread(google, tmp_path, monkeypatch):
    put(google, **dict.fromkeys("abcd", "ported"))
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert ended("--jobs", "2") == 0
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


def test_a_file_that_is_not_what_was_first_seen_is_refused(google, capsys):
    put(google, a="ported", b="ported")
    record = {"a.tflite": {"sha256": "0" * 64, "first_seen": "2020-01-01"}}
    (google / "catalog.lock.json").write_text(json.dumps(record))
    assert ended() == 2
    out = capsys.readouterr().out
    assert "refused        checkpoints/google/a.tflite: its sha256 is" in out
    assert out.endswith("1 ported, 0 not at parity, 1 refused\n")


def test_other_folders_are_taken_too_and_no_place_twice(google, tmp_path, capsys):
    put(google, a="ported")
    (tmp_path / "mine").mkdir()
    put(tmp_path / "mine", b="ported")
    places = ["checkpoints/google", "mine", str(tmp_path / "mine"), "mine/b.tflite"]
    assert ended(*places) == 0
    assert "2 ported, 0 not" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--all"], r"nothing to port in checkpoints/google; .* porting fetch NAME downloads it"),
        (["--all", "absent"], r"^absent: no such folder"),
        ([], r"^nothing to port: name a SOURCE"),
    ],
)
def test_nothing_to_port(google, words, message):
    with pytest.raises(BadInput, match=message):
        app(["port", *words])


def test_an_interruption_ends_them_and_is_said_in_a_line(google, tmp_path):
    put(google, a="endless", b="endless", c="endless")
    code = (
        "import sys; from porting.cli import processes\n"
        "from porting.__main__ import main\n"
        f"processes.PORTING = (sys.executable, '-c', {STAND_IN!r}); main()"
    )
    words = [sys.executable, "-c", code, "port", "--all", "--out", "out", "--jobs", "2"]
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
    deadline = time.monotonic() + 60
    while not all(file.exists() and file.read_text() for file in files):
        assert time.monotonic() < deadline, f"none of {files}"
        time.sleep(0.02)
    time.sleep(0.1)  # into its sleep


@pytest.mark.slow
def test_real_files_of_several_networks(tmp_path, small_synthetic):
    google = tmp_path / "checkpoints" / "google"
    google.mkdir(parents=True)
    small = network_file(get_config("tf_mnasnet_small"), seed=4)
    (google / "mobilenet.tflite").write_bytes(network_file(get_config("tf_mobilenetv1_025")))
    (google / "small.tgz").write_bytes(archive_of(**{"m/small.tflite": small}))
    (google / "cut.tflite").write_bytes(small[:5000])
    result = porting_in(tmp_path, "port", "--all", "checkpoints/google", small_synthetic.checkpoint)
    assert result.returncode == 2, result.stderr
    lines = result.stdout.splitlines()
    assert lines[-1] == "3 ported, 0 not at parity, 1 refused"
    text = " ".join(result.stdout.split())
    assert "refused checkpoints/google/cut.tflite: damaged or cut" in text
    assert text.count("at parity with") == 3
    # Paths are not wrapped, whatever the length of the test's folder.
    beyond = [line for line in lines if len(line) > 80]
    assert all(str(small_synthetic.checkpoint) in line for line in beyond)
    made = sorted(place.name for place in (tmp_path / "checkpoints" / "ported").glob("*.pth"))
    assert [name.rsplit("-", 1)[0] for name in made] == [
        "tf_mnasnet_small", "tf_mnasnet_small-synthetic", "tf_mobilenetv1_025",
    ]  # fmt: skip
