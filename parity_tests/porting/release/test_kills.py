"""What a kill leaves on disk, and what the next run makes of that."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import signal
import subprocess
import sys
import time

import pytest

from porting.release.writing import write_text

KILLED_AT = """
import os, signal, sys
from pathlib import Path
import porting
from porting.release import write_release
ported = porting.port(sys.argv[1], verify=False)
left = int(sys.argv[3])

def counted(act):
    def acted(*args, **options):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return act(*args, **options)
    return acted

os.replace, os.fsync = counted(os.replace), counted(os.fsync)
Path.replace, Path.unlink = counted(Path.replace), counted(Path.unlink)
Path.chmod = counted(Path.chmod)
write_release(ported, Path(sys.argv[2]))
"""

SLOWLY = """
import sys
from pathlib import Path
import porting
from porting.release import write_release
ported = porting.port(sys.argv[1], verify=False)
for number in range(1000):
    print(number, flush=True)
    write_release(ported, Path(sys.argv[2], str(number)))
"""


def names(out):
    return sorted(place.name for place in out.iterdir())


def check_whole(out):
    """Weights never lack their card, and both are whole."""
    for weights in out.rglob("[!.]*.pth"):
        digest = hashlib.sha256(weights.read_bytes()).hexdigest()
        assert weights.stem.endswith(digest[:8])
        assert json.loads(weights.with_suffix(".json").read_text())["weights"]["sha256"] == digest
    for card in out.rglob("[!.]*.json"):
        json.loads(card.read_text())


@pytest.mark.slow
def test_the_next_run_clears_up_after_a_kill_at_any_step(small, tmp_path):
    source, lone = small[0], 0
    for step in range(30):
        out = tmp_path / "out"
        command = [sys.executable, "-c", KILLED_AT, str(source), str(out)]
        killed = subprocess.run([*command, str(step)], check=False).returncode
        if killed == 0:
            break
        assert killed == -signal.SIGKILL
        check_whole(out)
        shown = [name for name in names(out) if not name.startswith(".")]
        lone += len(shown) == 1
        assert len(shown) in (0, 2) or shown[0].endswith(".json")
        # Another port to the same folder: only what is whole may stay.
        code = "from porting.release import files; import sys, pathlib; " \
               "p = pathlib.Path(sys.argv[1]); files._remove_lone_cards(p); " \
               "from porting.release.writing import remove_stale; remove_stale(p)"  # fmt: skip
        subprocess.run([sys.executable, "-c", code, str(out)], check=True)
        assert len(names(out)) in (0, 2)
        subprocess.run([*command, "99"], check=True)
        assert [name.rpartition(".")[2] for name in names(out)] == ["json", "pth"]
        for place in out.iterdir():
            place.unlink()
    assert step > 5
    assert lone <= 1


@pytest.mark.slow
def test_a_kill_at_any_moment_leaves_whole_files_or_none(small, tmp_path):
    for delay in (0.0, 0.004, 0.009, 0.013, 0.02, 0.035):
        out = tmp_path / str(delay)
        command = [sys.executable, "-c", SLOWLY, str(small[0]), str(out)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        process.stdout.readline()
        time.sleep(delay)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        check_whole(out)


def test_temporaries_of_the_dead_go_and_of_the_living_stay(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    here = platform.node()
    stale = tmp_path / f".porting-{here}-{dead.pid}-abc"
    kept = [
        tmp_path / f".porting-{here}-{os.getpid()}-abc",
        tmp_path / f".porting-elsewhere-{dead.pid}-abc",
        tmp_path / ".porting-mine",
    ]
    for place in (stale, *kept):
        place.write_text("")
    write_text(tmp_path / "r.html", "whole")
    assert names(tmp_path) == sorted([*(place.name for place in kept), "r.html"])
