"""The command as a user runs it."""

from __future__ import annotations

import os
import subprocess
import sys


def porting(*words, **environment):
    """Run the command; it must never show a traceback."""
    done = subprocess.run(
        [sys.executable, "-m", "porting", *map(str, words)],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "80", **environment},
        check=False,
    )
    assert "Traceback" not in done.stderr
    return done


def with_code(code, *words):
    """Run the command after some Python of a test's own."""
    code = f"{code}\nfrom porting.__main__ import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True, check=False
    )


def left_after_a_line(*words):
    """Run the command with a reader that closes the pipe at once; exit code and complaint."""
    command = [sys.executable, "-m", "porting", *map(str, words)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        complaint = process.stderr.read()
        return process.wait(), complaint
