"""Processes side by side: what they write is kept apart, and none outlives a stop."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

import pytest

from porting.catalog import children as module
from porting.catalog.children import Children

STUBBORN = """
import signal, sys, time
from pathlib import Path
signal.signal(signal.SIGINT, signal.SIG_IGN)
Path(sys.argv[1]).write_text("ready")
time.sleep(60)
"""


def test_what_one_writes_is_its_own():
    done = Children().run(
        [sys.executable, "-c", "import sys; print('out'); sys.stderr.buffer.write(b'\\xff said')"],
        os.environ,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "out\n", "\ufffd said")


def test_once_stopped_none_is_begun():
    children = Children()
    children.stop()
    with pytest.raises(InterruptedError):
        children.run([sys.executable, "-c", ""], os.environ)


def test_who_will_not_end_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "GRACE", 0.3)
    children, ended, ready = Children(), [], tmp_path / "ready"
    words = [sys.executable, "-c", STUBBORN, str(ready)]
    thread = threading.Thread(target=lambda: ended.append(children.run(words, os.environ)))
    thread.start()
    while not ready.exists():
        time.sleep(0.01)
    children.stop()
    thread.join(10)
    assert [done.returncode for done in ended] == [-signal.SIGKILL]
