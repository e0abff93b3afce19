"""The command as a user runs it."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest.mock import patch

from porting.exits import exit_code_of

ROOT = Path(__file__).resolve().parents[2]


def porting(*words, columns=80):
    """Run the command in this process, which spares it the imports; it shows no traceback."""
    from porting.cli import app

    words = list(map(str, words))
    with (
        patch.dict(os.environ, COLUMNS=str(columns)),
        redirect_stdout(io.StringIO()) as output,
        redirect_stderr(io.StringIO()) as complaint,
    ):
        code = exit_code_of(lambda: app(words, prog_name="porting"))
    assert "Traceback" not in complaint.getvalue()
    return subprocess.CompletedProcess(words, code, output.getvalue(), complaint.getvalue())


def porting_process(*words, **environment):
    """Run the command in a process of its own, with more in its environment."""
    result = subprocess.run(
        [sys.executable, "-m", "porting", *map(str, words)],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "80", **environment},
        check=False,
    )
    assert "Traceback" not in result.stderr
    return result


def porting_in(folder, *words):
    """Run the command in the folder in which it looks for ``checkpoints/``."""
    return subprocess.run(
        [sys.executable, "-m", "porting", *map(str, words)], cwd=folder, capture_output=True,
        text=True, env={**os.environ, "COLUMNS": "80", "PYTHONPATH": str(ROOT)}, check=False,
    )  # fmt: skip


def with_code(code, *words):
    """Run the command after some Python code."""
    code = f"{code}\nfrom porting.__main__ import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True, check=False
    )


def left_after_a_line(*words):
    """Exit code and standard error of the command if the reader closes the pipe at once."""
    command = [sys.executable, "-m", "porting", *map(str, words)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        complaint = process.stderr.read()
        return process.wait(), complaint
