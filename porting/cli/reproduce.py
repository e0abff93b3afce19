"""The command ``porting reproduce``."""

import os
from pathlib import Path
from typing import Annotated

import typer

from porting.cli.fetch import fetch
from porting.cli.options import (
    ModelOption,
    OntoOption,
    ReportsOption,
    WeightsOption,
    given_options,
)
from porting.errors import BadInput
from porting.folders import DOWNLOADS, PORTS, REPORTS
from porting.reports.terminal import progress_bar


def reproduce(
    context: typer.Context,
    data: Annotated[
        Path,
        typer.Argument(metavar="DATA", help="Labelled images, as porting evaluate takes them."),
    ],
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="A published source or network, or a path.")
    ],
    labels: Annotated[
        Path | None, typer.Option("--labels", help="File of labels, if not beside the images.")
    ] = None,
    model: ModelOption = None,
    weights: WeightsOption = None,
    onto: OntoOption = None,
    out: Annotated[Path, typer.Option("--out", help="Folder for the port.")] = PORTS,
    reports: ReportsOption = REPORTS,
) -> None:
    """Reproduce a stated accuracy: fetch a source, port it, evaluate both on the same images.

    Further options, behind DATA and SOURCE, are passed to porting evaluate, which gives the exit
    code.
    """
    from porting.accuracy.evaluation.provenance import digest_of
    from porting.api import port
    from porting.catalog.local import on_disk, source_exists, source_path
    from porting.catalog.published import find_entry
    from porting.cli.processes import PORTING
    from porting.release import write_release

    further = context.args
    for name, value in (("DATA", str(data)), ("SOURCE", source)):
        if value.startswith("-"):
            raise BadInput(f"{name} is {value}: options of porting evaluate go behind DATA SOURCE")
    if not source_exists(Path(source)):
        source = find_entry(source).name
        if on_disk(find_entry(source), DOWNLOADS).state != "yes":
            fetch(source)
    with progress_bar("judging") as progress:
        path = source_path(Path(source), DOWNLOADS)
        result = port(path, model, weights=weights, onto=onto, progress=progress)
    weights_file = write_release(result, out).weights
    print(f"ported        {weights_file}, at parity with its judge", flush=True)
    name = f"{weights_file.stem}-on-{data.name}"
    if further:
        name += f"-{digest_of(further)}"
    # Evaluating replaces this process, so that nothing of the port stays in memory. The options
    # that choose the network are for both.
    words = [
        "evaluate", data, "--source", source, "--checkpoint", weights_file,
        "--json", reports / f"{name}.json", "--report", reports / f"{name}.html",
        *given_options(context, "out", "reports"), *further,
    ]  # fmt: skip
    os.execv(PORTING[0], [*PORTING, *map(str, words)])
