"""The command ``porting report``."""

from pathlib import Path
from typing import Annotated

import typer

from porting.reports.terminal import print_output


def report(
    data: Annotated[
        Path,
        typer.Argument(
            metavar="FILE.json", help="What porting diff or porting evaluate wrote with --json."
        ),
    ],
    evaluation: Annotated[
        Path | None,
        typer.Option(
            "--evaluation",
            help="What porting evaluate --json wrote, for a section in a comparison's.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="HTML file; by default beside the JSON.")
    ] = None,
) -> None:
    """Make the HTML report from a comparison's or an evaluation's JSON, or one from both."""
    from porting.atomic_files import check_files
    from porting.reports.documents import read_report, read_together, write_page

    both = (read_report(data), None) if evaluation is None else read_together(data, evaluation)
    page = out or data.with_suffix(".html")
    check_files([page], (data, evaluation))
    write_page(both[0], page, both[1])
    print_output(lambda: typer.echo(page))
