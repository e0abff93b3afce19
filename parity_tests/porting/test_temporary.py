"""Temporary folders of processes that have ended are removed, and no others."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
import time

from porting.temporary import is_stale, own_prefix, remove_stale

HERE = platform.node()


def _ended_process():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_the_owner_is_a_process_of_this_machine_since_its_start():
    dead, alive = _ended_process(), os.getpid()
    assert not is_stale(f"{own_prefix()}abc")
    assert not is_stale(f".porting-{HERE}-{alive}-abc")
    assert is_stale(f"porting-{HERE}-{dead}.123-abc")
    assert is_stale(f"porting-{HERE}-{alive}.1-abc")  # the number is another process's now
    assert not is_stale(f"porting-elsewhere-{dead}.123-abc")
    assert not is_stale("porting-notes-2024-abc")
    assert not is_stale("porting-mine")


def test_only_those_are_removed(tmp_path):
    stale, own = tmp_path / f"porting-{HERE}-{_ended_process()}.5-abc", tmp_path / "porting-mine"
    for folder in (stale, own, tmp_path / f"{own_prefix()}abc"):
        folder.mkdir()
        (folder / "file").touch()
    target = tmp_path / "elsewhere"
    target.mkdir()
    link = tmp_path / f"porting-{HERE}-{_ended_process()}.5-def"
    link.symlink_to(target)
    remove_stale(tmp_path, "porting-*")
    assert not stale.exists()
    assert not link.is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        ["elsewhere", "porting-mine", f"{own_prefix()}abc"]
    )


CODE = """
import sys, time
from porting.exits import end_with
from porting.temporary import temporary_folder
from porting.sources.archive import remove_with

class Owner: pass

def command():
    owner = Owner()
    remove_with(owner, temporary_folder())
    print("ready", flush=True)
    time.sleep(60)

end_with(command)
"""


def _interrupted_by(number, folder):
    process = subprocess.Popen(
        [sys.executable, "-c", CODE], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "TMPDIR": str(folder)},
    )  # fmt: skip
    process.stdout.readline()
    process.send_signal(number)
    _, complaint = process.communicate(timeout=30)
    return process.returncode, complaint


def test_a_request_to_terminate_cleans_up_like_an_interruption(tmp_path):
    code, complaint = _interrupted_by(signal.SIGTERM, tmp_path)
    assert (code, complaint) == (2, "porting: interrupted; nothing half-written is left\n")
    assert list(tmp_path.iterdir()) == []


def test_the_next_command_removes_what_a_killed_one_left(tmp_path):
    _interrupted_by(signal.SIGKILL, tmp_path)
    assert len(list(tmp_path.iterdir())) == 1
    time.sleep(0.1)
    subprocess.run(
        [sys.executable, "-m", "porting", "sources", "nothing-like-it"], check=False,
        capture_output=True, env={**os.environ, "TMPDIR": str(tmp_path)},
    )  # fmt: skip
    assert list(tmp_path.iterdir()) == []
