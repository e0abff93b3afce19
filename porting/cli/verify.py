"""The command ``porting verify``: a release folder, checked again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from porting.cli.options import JsonOption, resolve_source
from porting.reports.terminal import print_lines, progress_bar, show


def verify(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A release folder.")],
    source: Annotated[
        Path | None,
        typer.Option(
            "--source", help="The TensorFlow source, to have its judge run.",
            callback=resolve_source,
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Check a release: checksums, card against weights, and all figures against each other.

    Nothing is downloaded, and no code of a file is run. With --source the parity is judged again.
    """
    from porting.release.verification import verify_release

    with progress_bar("verifying") as progress:
        result = verify_release(folder, source, progress)
    pairs = [
        ("release", str(folder)),
        ("weights", result.weights.name),
        ("files", f"{result.files}, and none contradicts another"),
        ("card says", str(result.card.verdict["summary"])),
        *(("note", note) for note in result.notes),
        ("judged now", result.parity or "no; --source FILE has the judge run again"),
    ]
    data = {
        "folder": str(folder),
        "weights": result.weights.name,
        "verified": bool(result.card.verdict["verified"]),
        "summary": result.card.verdict["summary"],
        "notes": list(result.notes),
        "judged_now": result.parity,
    }
    show(as_json, lambda: data, lambda: print_lines(pairs))
