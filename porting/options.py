"""Arguments and options that several commands share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Weights(StrEnum):
    """Weight sets of a checkpoint."""

    ema = "ema"
    raw = "raw"


class Classes(StrEnum):
    """What becomes of a background class."""

    keep = "keep"
    drop_background = "drop-background"


class Readings(StrEnum):
    """Which readings of a tap are taken."""

    both = "both"
    accumulated = "accumulated"
    isolated = "isolated"


SourceArgument = Annotated[
    Path,
    typer.Argument(
        metavar="SOURCE",
        help="TFLite file; checkpoint: prefix, .index, directory or .tgz; or file of Keras.",
    ),
]
ModelOption = Annotated[
    str | None, typer.Option("--model", help="Network to port onto; by default the one that fits.")
]
WeightsOption = Annotated[
    Weights | None,
    typer.Option("--weights", help="Weight set; by default the averages where there are any."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
