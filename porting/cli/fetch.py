"""The command ``porting fetch``."""

from pathlib import Path
from typing import Annotated

import typer

from porting.cli.options import JsonOption
from porting.folders import DOWNLOADED
from porting.reports.terminal import show


def fetch(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A published source, or a network that has one.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder for downloads.")] = DOWNLOADED,
    mirror: Annotated[
        str | None,
        typer.Option("--mirror", help="Address to use for https://storage.googleapis.com."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Download a published source; go on where an earlier download broke off.

    Its checksum is recorded at first sight, in catalog.lock.json beside it, and held from then on.
    """
    from porting.catalog import find_entry
    from porting.catalog.downloads import DownloadFailed
    from porting.catalog.downloads import fetch as fetch_source
    from porting.reports.fetch import print_download, summarise_download
    from porting.reports.progress import progress_bar

    entry = find_entry(name)
    try:
        with progress_bar(f"downloading {entry.name}") as progress:
            download = fetch_source(entry, out, mirror, progress)
    except DownloadFailed as error:
        raise DownloadFailed(
            f"{error}; a server that has it too can be named with --mirror, and a file that you "
            f"have goes into {out}"
        ) from error
    show(summarise_download(entry, download), as_json, print_download)
