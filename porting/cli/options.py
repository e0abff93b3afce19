"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from porting.folders import DOWNLOADS


def resolve_source(source: Path | None) -> Path | None:
    """The path of a published source that is given by name; any other path unchanged."""
    from porting.catalog.local import source_path

    return None if source is None else source_path(source, DOWNLOADS)


SOURCE_HELP = (
    "TFLite file; checkpoint: prefix, .index, directory or .tgz; SavedModel; frozen graph (.pb); "
    "file of Keras; model.json of TensorFlow.js; .zip of these; or the name of a published source "
    "on disk."
)
SourceArgument = Annotated[
    Path, typer.Argument(metavar="SOURCE", help=SOURCE_HELP, callback=resolve_source)
]
CheckpointArgument = Annotated[
    Path, typer.Argument(metavar="CHECKPOINT", help="A ported file, or any state dict.")
]
ImagesOption = Annotated[
    Path | None, typer.Option("--images", help="Folder of images; by default built-in ones.")
]
ModelOption = Annotated[
    str | None, typer.Option("--model", help="Network to port onto; by default the one that fits.")
]
SignatureOption = Annotated[
    str | None,
    typer.Option(
        "--signature",
        help="Signature of a SavedModel or a TFLite file with several; by default "
        "serving_default, else default (a module of TF Hub), else the only one.",
    ),
]
WeightsOption = Annotated[
    Literal["ema", "raw"] | None,
    typer.Option("--weights", help="Weight set; by default the averages where there are any."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
JobsOption = Annotated[
    int | None,
    typer.Option("--jobs", min=1, help="Processes side by side; by default one a core."),
]
ReportsOption = Annotated[Path, typer.Option("--reports", help="Folder for the reports.")]
OntoOption = Annotated[
    str | None, typer.Option("--onto", help="module:callable that builds a network of your own.")
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
ReportOption = Annotated[Path | None, typer.Option("--report", help="HTML file to write.")]
JsonFileOption = Annotated[
    Path | None, typer.Option("--json", help="JSON file to write; - prints it.")
]


def given_options(context: typer.Context, *without: str) -> list[str]:
    """The options on the command line, as words for another command."""
    words: list[str] = []
    for option in context.command.params:
        source = context.get_parameter_source(option.name or "")
        if option.param_type_name == "option" and option.name not in without and source:
            value = context.params[option.name or ""]
            if source.name == "COMMANDLINE" and isinstance(value, bool):
                words.append((option.opts if value else option.secondary_opts)[0])
            elif source.name == "COMMANDLINE":
                words += [option.opts[0], str(value)]
    return words
