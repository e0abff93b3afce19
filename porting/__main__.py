"""``porting`` on the command line: the commands, and what their exit codes mean.

0 done, 1 not at parity, 2 wrong use, bad input or an interruption.
"""

from __future__ import annotations

import signal
import sys
from types import FrameType

from porting.errors import NotAtParity, PortingError

NOT_AT_PARITY, WRONG_USE = 1, 2


class Interrupted(BaseException):
    """Ctrl-C. Of our own, since the command line library and TensorFlow catch Python's."""


def main() -> None:
    """Run a command and exit; see the codes above."""
    signal.signal(signal.SIGINT, _interrupt)
    try:
        code = _run()
    except Interrupted:
        sys.stderr.write("porting: interrupted; nothing half-written is left\n")
        code = WRONG_USE
    # What was asked for is done: a late Ctrl-C must not turn it into a failure.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.exit(code)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise Interrupted


def _run() -> int:
    from genmobilenet.errors import GenMobileNetError
    from porting.cli import app

    try:
        app()
    except NotAtParity as error:
        sys.stderr.write(f"porting: {error}\n")
        return NOT_AT_PARITY
    except (PortingError, GenMobileNetError) as error:
        sys.stderr.write(f"porting: {error}\n")
        return WRONG_USE
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else 0
    return 0


if __name__ == "__main__":
    main()
