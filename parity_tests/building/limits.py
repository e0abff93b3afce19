"""Bounds that damaged input must not break: memory and time."""

from __future__ import annotations

import re
import resource
import signal
from contextlib import contextmanager
from pathlib import Path


class TookTooLong(Exception):
    """The guarded code ran past its time."""


@contextmanager
def within(*, mebibytes, seconds):
    """Let code take so much memory beyond what the process has, and so much time."""
    held = re.search(r"VmData:\s+(\d+) kB", Path("/proc/self/status").read_text())
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)

    def ring(*_):
        raise TookTooLong(f"over {seconds} s")

    before = signal.signal(signal.SIGALRM, ring)
    resource.setrlimit(resource.RLIMIT_DATA, (int(held[1]) * 1024 + (mebibytes << 20), hard))
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
