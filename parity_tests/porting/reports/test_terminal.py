"""Progress on a terminal, and none without a terminal."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

MOVING = """
import sys, time
from porting.judges.quiet_stderr import stderr_silenced
from porting.reports.terminal import progress_bar
with progress_bar("judging") as progress:
    with stderr_silenced():  # as during TensorFlow's start
        time.sleep(1)
print(progress is not None)
"""


def run(stderr):
    return subprocess.run(
        [sys.executable, "-c", MOVING], stdout=subprocess.PIPE, stderr=stderr, check=True,
        env={**os.environ, "TERM": "xterm"},
    )  # fmt: skip


def test_it_moves_also_while_standard_error_leads_elsewhere():
    watched, terminal = pty.openpty()
    assert run(terminal).stdout == b"True\n"
    os.close(terminal)
    shown = os.read(watched, 1 << 16)
    assert shown.count(b"judging") >= 3


def test_quiet_without_a_terminal():
    result = run(subprocess.PIPE)
    assert (result.stdout, result.stderr) == (b"False\n", b"")
