"""Temporary files and folders: named by the process that owns them, removed once it has ended.

A killed process removes nothing. So the name tells the machine, the process and the time at which
it started, and each later command removes what no living process owns.
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
import shutil
import tempfile
from pathlib import Path

_NAME = re.compile(
    r"\.?porting-(?P<machine>.*)-(?P<process>\d+)(?:\.(?P<start>\d+))?-[^-]*(?:\.former)?"
)


def own_prefix() -> str:
    """The beginning of the names of this process's temporary files."""
    return f"porting-{platform.node()}-{os.getpid()}.{_start_of(os.getpid())}-"


def temporary_folder() -> Path:
    """A new folder where the system keeps temporary files."""
    return Path(tempfile.mkdtemp(prefix=own_prefix()))


def is_temporary(name: str) -> bool:
    """Whether a name is that of a temporary file or folder."""
    return name.startswith(".") and _NAME.fullmatch(name) is not None


def is_stale(name: str) -> bool:
    """Whether a temporary name is that of a process of this machine that has ended."""
    match = _NAME.fullmatch(name)
    if match is None or match["machine"] != platform.node():
        return False
    try:
        os.kill(int(match["process"]), 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        return False
    # The number may be another process's by now.
    return match["start"] is not None and int(match["start"]) != _start_of(int(match["process"]))


def remove_stale(folder: Path, pattern: str = ".porting-*") -> None:
    """Remove what processes that have ended left in a folder."""
    for place in folder.glob(pattern):
        if not is_stale(place.name):
            continue
        if place.is_dir() and not place.is_symlink():
            shutil.rmtree(place, ignore_errors=True)
        else:
            place.unlink(missing_ok=True)


def remove_stale_folders() -> None:
    """Remove what killed commands left where the system keeps temporary files."""
    with contextlib.suppress(OSError):  # a file of another user, or removed meanwhile
        remove_stale(Path(tempfile.gettempdir()), "porting-*")


def _start_of(process: int) -> int:
    """When a process started, in ticks since the system did; 0 where the system does not say."""
    try:
        text = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
        return int(text.rpartition(")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return 0
