"""How commands end: exit codes, messages, closed pipes, interruptions."""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from parity_tests.building.command import left_after_a_line, porting, with_code
from porting.exits import shown

DEFECT = """
import porting.sources.opening as o
def broken(*_): raise RuntimeError("something\\nunforeseen")
o._READERS = {broken: broken}
"""


def test_an_unexpected_error_is_one_line_and_a_code_of_its_own(small, monkeypatch):
    result = with_code(DEFECT, "inspect", small[0])
    assert result.returncode == 70
    [line] = result.stderr.splitlines()
    assert line == (
        "porting: unexpected RuntimeError: something unforeseen "
        "(a defect; PORTING_TRACEBACK=1 shows where)"
    )
    monkeypatch.setenv("PORTING_TRACEBACK", "1")
    result = with_code(DEFECT, "inspect", small[0])
    assert "Traceback" in result.stderr
    assert "in broken" in result.stderr
    assert result.returncode == 70


def test_little_is_imported_before_interrupts_are_caught():
    """Ctrl-C while a module is imported shows a traceback, where nothing catches it yet."""
    text = "import sys, porting.__main__; print(*sys.modules)"
    command = [sys.executable, "-S", "-c", text]
    actual = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    own = {module for module in actual if module.startswith("porting")}
    assert own == {"porting", "porting.__main__", "porting.exits"}
    assert not {"typing", "re", "dataclasses", "pathlib", "typer", "numpy"} & set(actual)


def test_threads_that_wait_do_not_spin_unless_the_user_says_so(small, monkeypatch):
    show = "import atexit, os; atexit.register(lambda: print(os.environ['OMP_WAIT_POLICY']))"
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    assert with_code(show, "inspect", small[0]).stdout.splitlines()[-1] == "PASSIVE"
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    assert with_code(show, "inspect", small[0]).stdout.splitlines()[-1] == "ACTIVE"


@pytest.mark.parametrize("words", [["inspect", "SMALL"], ["inspect", "SMALL", "--json"]])
def test_a_reader_that_has_seen_enough_is_no_error(small, words):
    words = [small[0] if word == "SMALL" else word for word in words]
    assert left_after_a_line(*words) == (0, b"")


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="there is no full disk here")
def test_a_full_disk_is_no_defect(small):
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "porting", "inspect", small[0]]
        result = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, check=False)
    said = b"porting: standard output: cannot be written: No space left on device\n"
    assert (result.returncode, result.stderr) == (2, said)


def test_what_diff_found_is_its_code_whoever_reads(small, faulty):
    assert left_after_a_line("diff", *small, "--random", 1) == (0, b"")
    suggestion = f"porting: the cause: porting diagnose -- {small[0]} {faulty}\n".encode()
    assert left_after_a_line("diff", small[0], faulty, "--random", 1) == (1, suggestion)


def test_a_report_is_written_whoever_reads(small, tmp_path):
    data = tmp_path / "r.json"
    porting("diff", *small, "--random", 1, "--json", data)
    assert left_after_a_line("report", data) == (0, b"")
    assert (tmp_path / "r.html").is_file()


@pytest.mark.parametrize("closed", ["2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_streams_that_are_closed_are_not_missed(small, tmp_path, closed):
    words = [sys.executable, "-m", "porting", "diff", *small, "--random", "1", "--json"]
    command = shlex.join(map(str, [*words, tmp_path / "d.json"]))
    result = subprocess.run(f"{command} {closed}", shell=True, check=False, capture_output=True)
    assert (result.returncode, result.stderr) == (0, b"")
    assert (tmp_path / "d.json").is_file()


STARTED = """
import multiprocessing, os, sys
from porting.exits import end_with
def main():
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        found = pool.map(os.readlink, [f"/proc/self/fd/{number}" for number in range(3)])
    with open(sys.argv[1], "w") as file:
        file.write(" ".join(found))
if __name__ == "__main__":
    end_with(main)
"""
SILENT = """
import os, sys
from porting.judges.quiet_stderr import stderr_silenced
with stderr_silenced():
    os.write(2, b"nobody sees this")
    inside = os.readlink("/proc/self/fd/2")
print(inside, os.path.exists("/proc/self/fd/2"))
"""


def closed(code, *words):
    """Run some Python with all but standard output closed."""
    command = shlex.join([sys.executable, *map(str, (code, *words))])
    return subprocess.run(
        f"{command} <&- 2>&-", shell=True, check=True, stdout=subprocess.PIPE, text=True
    ).stdout


def test_processes_that_are_begun_get_no_file_in_a_streams_place(tmp_path):
    (tmp_path / "started.py").write_text(STARTED)
    closed(tmp_path / "started.py", tmp_path / "found")
    first, _, third = (tmp_path / "found").read_text().split()
    assert first == third == "/dev/null"


def test_silence_where_standard_error_is_closed(tmp_path):
    (tmp_path / "silent.py").write_text(SILENT)
    assert closed(tmp_path / "silent.py") == "/dev/null False\n"


@pytest.mark.parametrize(
    "words",
    [
        ["inspect", "LONG"],
        ["port", "LONG"],
        ["port", "--all", "LONG"],
        ["check", "LONG"],
        ["reproduce", "LONG", "LONG"],
        ["port", "SMALL", "--out", "LONG"],
        ["diff", "SMALL", "LONG"],
        ["diff", "LONG", "WEIGHTS"],
        ["diff", "SMALL", "WEIGHTS", "--images", "LONG"],
        ["report", "LONG"],
        ["synthesize", "mnasnet_small", "--out", "LONG"],
        ["fetch", "mnasnet_small", "--mirror", "http://127.0.0.1:9", "--out", "LONG"],
    ],
)
def test_a_path_that_is_too_long(small, words):
    places = {"LONG": "x" * 5000, "SMALL": small[0], "WEIGHTS": small[1]}
    result = porting(*(places.get(word, word) for word in words))
    assert result.returncode == 2, result.stderr
    assert result.stderr.startswith("porting: ")
    assert "File name too long" in result.stderr


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


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain, ünïcode and 日本語\n  two lines", "plain, ünïcode and 日本語\n  two lines"),
        ("a\x1b]0;owned\x07b\r\x9bc\x7f", "a\\x1b]0;owned\\x07b\\r\\x9bc\\x7f"),
        ("photo\u202egpj.exe", "photo\\u202egpj.exe"),
        ("key " + "x" * 20_000 + " end", "key " + "x" * 200 + "... (20,000 characters) end"),
    ],
)
def test_names_from_files_do_nothing_to_the_terminal(text, expected):
    assert shown(text) == expected


def test_a_long_message_is_cut():
    text = shown("ab " * 100_000)
    assert len(text) < 20_100
    assert text.endswith("... (300,000 characters)")


def test_a_path_with_an_escape_is_shown_escaped():
    result = porting("inspect", "missing\x1b]0;owned\x07.tflite")
    assert result.returncode == 2
    assert "\x1b" not in result.stderr
    assert "missing\\x1b]0;owned\\x07.tflite: no such file" in result.stderr
