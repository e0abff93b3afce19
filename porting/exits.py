"""How every command ends: its message on standard error and its exit code.

0: success; 1: not at parity; 2: wrong use, bad input or an interruption; 70: a defect of this
package.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import Any, NoReturn

SUCCESS, NOT_AT_PARITY, WRONG_USE, DEFECT = 0, 1, 2, 70
"""70 is what ``sysexits.h`` calls EX_SOFTWARE."""

MOST_SHOWN = 20_000
"""Characters of a message that are shown."""

_UNPRINTABLE = r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]"
_LONG_WORD = r"(\S{200})\S{100,}"

TRACEBACK = "PORTING_TRACEBACK"
"""Environment variable; where it is 1, an error shows its traceback as well."""


class Interrupted(BaseException):
    """Ctrl-C or SIGTERM; typer and TensorFlow would catch Python's KeyboardInterrupt."""


def end_with(command: Callable[[], object]) -> NoReturn:
    """Run a command and end the process with the exit code of its outcome."""
    _open_closed_streams()
    # PyTorch's threads else spin without end while they wait for each other: beside other busy
    # processes a comparison then takes ten times as long. A short spin is faster than none.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    try:
        _on_interruption(_interrupt)
        from porting.temporary import remove_stale_folders

        remove_stale_folders()
        code = exit_code_of(command)
        # The work is done: a late Ctrl-C must not turn it into a failure.
        _on_interruption(signal.SIG_IGN)
    except (Interrupted, KeyboardInterrupt) as error:
        _on_interruption(signal.SIG_IGN)
        say(f"interrupted; {str(error) or 'nothing half-written is left'}")
        code = WRONG_USE
    if code == SUCCESS:
        # The system frees all memory at once. Collecting PyTorch's objects first takes a fifth
        # of a short command's time.
        gc.freeze()
    sys.exit(code)


def say(text: str) -> None:
    """Write a message to standard error, if that is open; see :func:`shown`."""
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(f"porting: {shown(text)}\n")
        sys.stderr.flush()


def shown(text: str) -> str:
    """A text that may hold names from a file, as a terminal may show it.

    Control characters, which could move the cursor or set the window's title, and those that turn
    the direction of writing are escaped; a word of over 300 characters, and a text of over 20,000,
    are shortened.
    """
    import re

    text = re.sub(_UNPRINTABLE, lambda match: match[0].encode("unicode_escape").decode(), text)
    text = re.sub(_LONG_WORD, lambda match: f"{match[1]}... ({len(match[0]):,} characters)", text)
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}... ({len(text):,} characters)"


def discard_output() -> None:
    """Send the rest of standard output nowhere, since its reader has closed it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _open_closed_streams() -> None:
    """Open ``/dev/null`` for a stream that was closed before the start (``2>&-``).

    Else the next file to be opened gets its number, and what C++ libraries write to the stream,
    here and in child processes.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        # The lowest free number is the stream's own, unless a library has opened a file before.
        if getattr(sys, name) is None and (handle := os.open(os.devnull, os.O_RDWR)) == number:
            os.set_inheritable(handle, True)
            setattr(sys, name, os.fdopen(handle, "r" if number == 0 else "w"))


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    _on_interruption(signal.SIG_IGN)  # a second one would interrupt the cleaning up
    raise Interrupted


def _on_interruption(handler: Any) -> None:
    """What Ctrl-C and a request to terminate do."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handler)


def exit_code_of(command: Callable[[], object]) -> int:
    """Run a command; what it raises becomes a line on standard error and an exit code."""
    try:
        command()
        sys.stdout.flush()
    except BrokenPipeError:
        discard_output()
    except SystemExit as exit_request:
        return exit_request.code if isinstance(exit_request.code, int) else SUCCESS
    except Exception as error:
        from genmobilenet.errors import GenMobileNetError
        from porting.errors import NotAtParity, PortingError

        if os.environ.get(TRACEBACK) == "1":
            import traceback

            traceback.print_exc()
        if isinstance(error, (PortingError, GenMobileNetError)):
            say(str(error))
            return NOT_AT_PARITY if isinstance(error, NotAtParity) else WRONG_USE
        text = " ".join(str(error).split()) or "no more is known"
        say(f"unexpected {type(error).__name__}: {text} (a defect; {TRACEBACK}=1 shows where)")
        return DEFECT
    return SUCCESS
