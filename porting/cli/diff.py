"""The command ``porting diff``."""

import shlex
from typing import Annotated, Literal

import typer

from porting.cli.options import (
    CheckpointArgument,
    ImagesOption,
    JsonFileOption,
    MeanOption,
    ModelOption,
    OntoOption,
    ReportOption,
    SignatureOption,
    SourceArgument,
    StdOption,
    WeightsOption,
    given_options,
)
from porting.exits import NOT_AT_PARITY, say
from porting.reports.terminal import print_output, progress_bar, show

NOT_OF_DIAGNOSE = ("random", "mode", "report", "json_file", "atol", "rtol")
"""Parameters that :mod:`porting.cli.diagnose` does not have, or that name files of this one."""


def diff(
    context: typer.Context,
    source: SourceArgument,
    checkpoint: CheckpointArgument,
    model: ModelOption = None,
    weights: WeightsOption = None,
    onto: OntoOption = None,
    images: ImagesOption = None,
    random: Annotated[
        int | None,
        typer.Option(
            "--random",
            min=1,
            help="Number of random images, in place of 8 photographs and 2 random images.",
        ),
    ] = None,
    mode: Annotated[
        Literal["both", "accumulated", "isolated"],
        typer.Option("--mode", help="Which readings of each tap to take."),
    ] = "both",
    report: ReportOption = None,
    json_file: JsonFileOption = None,
    atol: Annotated[
        float | None,
        typer.Option("--atol", min=0, help="Absolute tolerance, in place of the noise."),
    ] = None,
    rtol: Annotated[
        float | None,
        typer.Option("--rtol", min=0, help="Relative tolerance, in place of the noise."),
    ] = None,
    mean: MeanOption = None,
    std: StdOption = None,
    signature: SignatureOption = None,
) -> None:
    """Compare a source and a PyTorch network, tap by tap.

    Accumulated: both run on the same images. Isolated: each piece of the network gets the
    judge's input of that piece, so that a tap shows only the error that arises there. Dense: each
    piece of both gets the same random values, so that channels that are 0 on all images are
    compared too. Exits with 1 where they disagree.
    """
    from porting.atomic_files import check_files
    from porting.catalog.local import open_published
    from porting.diff import diff as diff_source
    from porting.mapping.input_spec import parse_affine
    from porting.parity.noise import Tolerance
    from porting.reports.comparison import diff_json, print_diff
    from porting.reports.documents import print_files, write_reports
    from porting.subject import subject_from_file

    as_json = json_file is not None and str(json_file) == "-"
    data_file = None if as_json else json_file
    files = [file for file in (report, data_file) if file is not None]
    check_files(files, (source, checkpoint))
    affine = parse_affine(mean, std)
    model_source = open_published(source, signature)
    subject = subject_from_file(model_source, checkpoint, model, weights, onto)
    with progress_bar("comparing") as progress:
        result = diff_source(
            model_source, subject, images, count=random, mode=mode,
            tolerance=Tolerance(atol=atol, rtol=rtol), affine=affine, progress=progress,
        )  # fmt: skip
    data = diff_json(result)
    show(as_json, lambda: data, lambda: print_diff(result))
    write_reports(data, report, data_file)
    if not as_json:
        print_output(lambda: print_files(report, data_file))
    if not result.comparison:
        words = ["porting", "diagnose", *given_options(context, *NOT_OF_DIAGNOSE)]
        say(f"the cause: {shlex.join([*words, '--', str(source), str(checkpoint)])}")
        raise typer.Exit(NOT_AT_PARITY)
