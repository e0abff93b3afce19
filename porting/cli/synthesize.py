"""The command ``porting synthesize``."""

from pathlib import Path
from typing import Annotated

import typer

from porting.cli.options import JsonOption
from porting.reports.terminal import print_lines, progress_bar, show


def synthesize(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Network to make files of.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the files; must be new.")],
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the weights.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Make a synthetic TensorFlow checkpoint and TFLite files of a network, to port offline.

    The weights are seeded and mean nothing; names, formats and scales are those of the real ones.
    """
    from porting.judges.reference.synthesize import synthesize as make_files

    with progress_bar(f"synthesizing {model}"):
        files = make_files(model, out, seed)
    data = {name: str(value) for name, value in vars(files).items()}
    show(as_json, lambda: data, lambda: print_lines(list(data.items())))
