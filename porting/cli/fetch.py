"""The command ``porting fetch``."""

from pathlib import Path
from typing import Annotated

import typer

from porting.cli.options import JsonOption
from porting.folders import DOWNLOADS
from porting.reports.terminal import progress_bar, show


def fetch(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A published source, or a network that has one.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder for downloads.")] = DOWNLOADS,
    mirror: Annotated[
        str | None,
        typer.Option("--mirror", help="Address to use for https://storage.googleapis.com."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Download a published source, resuming where an earlier download was interrupted.

    The first download's checksum is recorded in catalog.lock.json beside it, and later ones are
    compared with it.
    """
    from porting.catalog import find_entry
    from porting.catalog.downloads import DownloadFailed
    from porting.catalog.downloads import fetch as fetch_source
    from porting.reports.sources import download_json, print_download

    entry = find_entry(name)
    try:
        with progress_bar(f"downloading {entry.name}") as progress:
            download = fetch_source(entry, out, mirror, progress)
    except DownloadFailed as error:
        raise DownloadFailed(
            f"{error}; name another server with --mirror, or copy a file that you have into {out}"
        ) from error
    show(as_json, lambda: download_json(entry, download), lambda: print_download(entry, download))
