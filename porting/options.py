"""Arguments and options: those that several commands share, and those of ``diff``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from porting.folders import DOWNLOADED


class Weights(StrEnum):
    """Weight sets of a checkpoint."""

    ema = "ema"
    raw = "raw"


class Classes(StrEnum):
    """What becomes of a background class."""

    keep = "keep"
    drop_background = "drop-background"


class Norms(StrEnum):
    """What becomes of batch norms that the source has folded."""

    identity = "identity"
    calibrate = "calibrate"


class Normalisation(StrEnum):
    """What becomes of a normalisation inside a source's graph."""

    kept = "keep"
    stripped = "strip"


class Readings(StrEnum):
    """Which readings of a tap are taken."""

    both = "both"
    accumulated = "accumulated"
    isolated = "isolated"


def _named_or_lying(source: Path) -> Path:
    from porting.catalog.at_hand import source_path

    return source_path(source, DOWNLOADED)


SourceArgument = Annotated[
    Path,
    typer.Argument(
        metavar="SOURCE",
        help="TFLite file; checkpoint: prefix, .index, directory or .tgz; SavedModel; frozen "
        "graph (.pb); file of Keras; or the name of a published source on disk.",
        callback=_named_or_lying,
    ),
]
PatternArgument = Annotated[
    str | None,
    typer.Argument(metavar="PATTERN", help="Part of a name or a network, or a pattern with *."),
]
ModelOption = Annotated[
    str | None, typer.Option("--model", help="Network to port onto; by default the one that fits.")
]
WeightsOption = Annotated[
    Weights | None,
    typer.Option("--weights", help="Weight set; by default the averages where there are any."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]

NormsOption = Annotated[
    Norms,
    typer.Option(
        "--bn", help="Make folded batch norms identities, or give them the statistics of images."
    ),
]
CalibrationOption = Annotated[
    Path | None, typer.Option("--images", help="Folder of images for --bn calibrate.")
]

CheckpointArgument = Annotated[
    Path, typer.Argument(metavar="CHECKPOINT", help="A ported file, or any state dict.")
]
OntoOption = Annotated[
    str | None, typer.Option("--onto", help="module:callable that builds a network of your own.")
]
NormalisationOption = Annotated[
    Normalisation,
    typer.Option("--normalisation", help="Keep what normalises in the graph, or move it out."),
]
ImagesOption = Annotated[
    Path | None, typer.Option("--images", help="Folder of images; by default random ones.")
]
RandomOption = Annotated[int, typer.Option("--random", min=1, help="Number of random images.")]
ModeOption = Annotated[Readings, typer.Option("--mode", help="Which readings of each tap to take.")]
ReportOption = Annotated[Path | None, typer.Option("--report", help="HTML file to write.")]
JsonFileOption = Annotated[
    Path | None, typer.Option("--json", help="JSON file to write; - prints it.")
]
AtolOption = Annotated[
    float | None, typer.Option("--atol", min=0, help="Absolute tolerance, in place of the noise.")
]
RtolOption = Annotated[
    float | None, typer.Option("--rtol", min=0, help="Relative tolerance, in place of the noise.")
]
