"""Files left by a killed process, and how the next run cleans them up."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import porting
from porting.atomic_files import write_text
from porting.release import write_release

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
    """Check that weights always have their card, and that both files are complete."""
    for weights in out.rglob("[!.]*.pth"):
        digest = hashlib.sha256(weights.read_bytes()).hexdigest()
        assert weights.stem.endswith(digest[:8])
        assert json.loads(weights.with_suffix(".json").read_text())["weights"]["sha256"] == digest
    for card in out.rglob("[!.]*.json"):
        json.loads(card.read_text())


def killed_at(step, ported, out):
    """Write a release in a process that is killed at its n-th step on disk; whether it was."""
    child = os.fork()
    if child == 0:
        left = step

        def counted(act):
            def acted(*args, **options):
                nonlocal left
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return act(*args, **options)

            return acted

        os.fsync = counted(os.fsync)
        for name in ("replace", "unlink", "chmod"):
            setattr(Path, name, counted(getattr(Path, name)))
        write_release(ported, out)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def test_the_next_run_clears_up_after_a_kill_at_any_step(small, tmp_path):
    ported, step, left_behind = porting.port(small[0], verify=False), 0, []
    other = porting.port(small[0], weights=None, verify=False)
    other.state_dict["classifier.bias"][0] += 1
    while killed_at(step, ported, tmp_path / str(step)):
        out = tmp_path / str(step)
        check_whole(out)
        left_behind.append(names(out))
        write_release(other, out)
        # Both files of the interrupted port, or none.
        assert len(names(out)) in (2, 4)
        assert sum(name.endswith(".pth") for name in names(out)) == len(names(out)) // 2
        assert not any(name.startswith(".") for name in names(out))
        step += 1
    assert step > 5
    assert any(name.startswith(".porting-") for name in left_behind[2])


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
