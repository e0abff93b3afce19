"""Parallel processes: separate outputs, and none outlives an interruption."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from porting.cli import processes
from porting.cli.processes import Outcome, Wording, run_each
from porting.exits import Interrupted

WORDING = Wording("trying", "done", "refused")

STUBBORN = """
import os, signal, sys, time
from pathlib import Path
signal.signal(signal.SIGINT, signal.SIG_IGN)
Path(sys.argv[1]).write_text(str(os.getpid()))
time.sleep(60)
"""


def run(monkeypatch, jobs=2, **codes):
    monkeypatch.setattr(processes, "PORTING", (sys.executable, "-c"))
    commands = {Path(name): [code] for name, code in codes.items()}
    return run_each(commands, jobs, lambda _, printed: (printed.strip(), None), WORDING)


def test_what_one_writes_is_its_own(monkeypatch, capsys):
    outcomes = run(
        monkeypatch,
        good="print('out')",
        bad="import sys; sys.stderr.buffer.write(b'porting: bad: \\xff said'); sys.exit(2)",
        defect="import sys; sys.stderr.write('porting: a\\n  defect'); sys.exit(70)",
        odd="import sys; sys.exit(3)",
        killed="import os; os.kill(os.getpid(), 9)",
    )
    assert outcomes == [
        Outcome(Path("good"), 0, "out"),
        Outcome(Path("bad"), 2, "\ufffd said"),
        Outcome(Path("defect"), 70, "a defect"),
        Outcome(Path("odd"), 2, "ended with 3 and said nothing"),
        Outcome(Path("killed"), 2, "ended by signal 9"),
    ]
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[1] for line in lines] == ["1/5", "2/5", "3/5", "4/5", "5/5"]
    assert "done: good" in " ".join(lines)


def test_who_will_not_end_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "GRACE", 0.3)
    ready = tmp_path / "ready"

    def interrupt():
        while not (ready.exists() and ready.read_text()):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(Interrupted):
        run(monkeypatch, stubborn=STUBBORN.replace("sys.argv[1]", repr(str(ready))))
    thread.join(10)
    assert signal.getsignal(signal.SIGINT) is before
    with pytest.raises(ProcessLookupError):
        for _ in range(100):
            os.kill(int(ready.read_text()), 0)
            time.sleep(0.05)
