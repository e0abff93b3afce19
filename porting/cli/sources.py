"""The command ``porting sources``."""

from pathlib import Path
from typing import Annotated

import typer

from porting.cli.options import JsonOption
from porting.folders import DOWNLOADS
from porting.reports.terminal import show


def sources(
    pattern: Annotated[
        str | None,
        typer.Argument(metavar="PATTERN", help="Part of a name or a network, or a pattern with *."),
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", help="Only those of this network.")
    ] = None,
    folder: Annotated[Path, typer.Option("--folder", help="Folder of downloads.")] = DOWNLOADS,
    as_json: JsonOption = False,
) -> None:
    """List the published sources, their stated accuracies, and which are on disk."""
    from porting.catalog.published import find_entries
    from porting.reports.sources import list_sources, print_sources

    listing = list_sources(find_entries(pattern, model), folder)
    show(as_json, listing.to_json, lambda: print_sources(listing))
