"""Limits of memory and time for code that reads damaged input."""

from __future__ import annotations

import re
import resource
import signal
from contextlib import contextmanager
from pathlib import Path


class TookTooLong(Exception):
    """The code ran longer than allowed."""


@contextmanager
def within(*, mebibytes, seconds):
    """Limit the additional memory and the time that code in a ``with`` statement may take."""
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
