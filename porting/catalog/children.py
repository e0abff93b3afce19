"""Processes that work side by side, and end together."""

from __future__ import annotations

import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence

GRACE = 10.0
"""Seconds that an interrupted process has to clear up after itself."""


class Children:
    """Processes run from several threads; once stopped, none is left and none is begun."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[str]] = set()
        self._stopped = False

    def run(
        self, words: Sequence[str], environment: Mapping[str, str]
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, and keep what it writes for itself.

        Raises:
            OSError: it cannot be run, or all were stopped.
        """
        with self._lock:
            if self._stopped:
                raise InterruptedError("stopped before it was begun")
            process = subprocess.Popen(
                words, env=environment, text=True, errors="replace",
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )  # fmt: skip
            self._running.add(process)
        try:
            out, said = process.communicate()
        finally:
            with self._lock:
                self._running.discard(process)
        return subprocess.CompletedProcess(words, process.returncode, out, said)

    def stop(self) -> None:
        """Interrupt those that run, so that they leave nothing half written; kill who will not."""
        with self._lock:
            self._stopped = True
            running = list(self._running)
        for process in running:
            process.send_signal(signal.SIGINT)
        for process in running:
            try:
                process.wait(GRACE)
            except subprocess.TimeoutExpired:
                process.kill()
