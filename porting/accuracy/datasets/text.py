"""Small text files, by lines."""

from __future__ import annotations

from pathlib import Path

from porting.errors import BadInput


def text_of(path: Path) -> str:
    """The text of a UTF-8 file.

    Raises:
        BadInput: it cannot be read, or is no such text.
    """
    try:
        return path.read_text("utf-8-sig")
    except FileNotFoundError:
        raise BadInput(f"{path}: no such file") from None
    except OSError as error:
        raise BadInput(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadInput(f"{path}: is not UTF-8 text (byte {error.start})") from None


def lines_of(path: Path) -> list[str]:
    """The lines of a UTF-8 file, stripped, without the empty ones at its end.

    Raises:
        BadInput: it cannot be read, is empty, or has an empty line before its end.
    """
    lines = [line.strip() for line in text_of(path).split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    if not lines:
        raise BadInput(f"{path}: the file is empty; expected a line for each entry")
    if "" in lines:
        raise BadInput(f"{path}: line {lines.index('') + 1} is empty; expected an entry")
    return lines
