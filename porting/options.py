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


class OnError(StrEnum):
    """What becomes of an image that cannot be read."""

    stop = "stop"
    skip = "skip"


def _named_or_lying(source: Path | None) -> Path | None:
    from porting.catalog.at_hand import source_path

    return None if source is None else source_path(source, DOWNLOADED)


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
MeanOption = Annotated[
    str | None,
    typer.Option(
        "--mean",
        metavar="R,G,B",
        help="Mean of RGB 0..255 for the network's first layer, behind what a graph normalises, "
        "where the file does not say it: one number, or one a channel.",
    ),
]
StdOption = Annotated[
    str | None,
    typer.Option("--std", metavar="R,G,B", help="Deviation by which that is then divided."),
]
ImagesOption = Annotated[
    Path | None, typer.Option("--images", help="Folder of images; by default built-in ones.")
]
RandomOption = Annotated[
    int | None,
    typer.Option(
        "--random",
        min=1,
        help="Number of random images, in place of 8 photographs and 2 random images.",
    ),
]
ModeOption = Annotated[Readings, typer.Option("--mode", help="Which readings of each tap to take.")]
ReportOption = Annotated[Path | None, typer.Option("--report", help="HTML file to write.")]
JsonFileOption = Annotated[
    Path | None, typer.Option("--json", help="JSON file to write; - prints it.")
]
EvaluationOption = Annotated[
    Path | None,
    typer.Option(
        "--evaluation", help="What porting evaluate --json wrote, for a section in a comparison's."
    ),
]
AtolOption = Annotated[
    float | None, typer.Option("--atol", min=0, help="Absolute tolerance, in place of the noise.")
]
RtolOption = Annotated[
    float | None, typer.Option("--rtol", min=0, help="Relative tolerance, in place of the noise.")
]

DataArgument = Annotated[
    Path,
    typer.Argument(
        metavar="DATA",
        help="Folder of images, by synset or with a file of labels; .tar; TFRecord or WebDataset "
        "shards.",
    ),
]
JudgeOption = Annotated[
    Path | None,
    typer.Option("--source", help="Source whose judge answers.", callback=_named_or_lying),
]
PortOption = Annotated[
    Path | None, typer.Option("--checkpoint", help="File of the network that answers.")
]
LabelsOption = Annotated[
    Path | None, typer.Option("--labels", help="File of labels, where it is not beside the images.")
]
SynsetsOption = Annotated[
    Path | None, typer.Option("--synsets", help="File of classes in order, if not ImageNet's.")
]
PreprocessingOption = Annotated[
    str | None,
    typer.Option(
        "--preprocessing",
        help="mnasnet, slim, tflite, pillow, ... or steps; by default what the authors did.",
    ),
]
OnErrorOption = Annotated[
    OnError, typer.Option("--on-error", help="Stop at an image that cannot be read, or skip it.")
]
JournalOption = Annotated[
    Path | None,
    typer.Option("--journal", help="Folder that a killed evaluation goes on from."),
]
FreshOption = Annotated[bool, typer.Option("--fresh", help="Begin anew, whatever is finished.")]
WorkersOption = Annotated[
    int | None, typer.Option("--workers", min=0, help="Processes; by default one a core.")
]
DeviceOption = Annotated[
    str, typer.Option("--device", help="Where the network runs: cpu, cuda, cuda:1.")
]
StatedOption = Annotated[
    float | None,
    typer.Option("--stated", min=0, max=100, help="Top-1 in percent that the authors state."),
]
ExplainOption = Annotated[
    bool,
    typer.Option(
        "--explain",
        help="Take the gap to the stated accuracy apart: evaluate the port with one thing "
        "changed at a time (weights, decoder, crop, resize, ...), each another forward pass.",
    ),
]
RowsOption = Annotated[
    Path | None, typer.Option("--rows", help="File for a row an image: .parquet or .csv.")
]
