"""The command ``porting evaluate``."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from porting.cli.options import (
    JsonFileOption,
    MeanOption,
    ModelOption,
    OntoOption,
    ReportOption,
    SignatureOption,
    StdOption,
    WeightsOption,
    resolve_source,
)
from porting.exits import NOT_AT_PARITY, Interrupted
from porting.reports.terminal import evaluation_bar, print_output, show


def evaluate(
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA",
            help="Folder of images, by synset or with a file of labels; .tar; TFRecord or "
            "WebDataset shards.",
        ),
    ],
    source: Annotated[
        Path | None,
        typer.Option("--source", help="Source whose judge answers.", callback=resolve_source),
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option("--checkpoint", help="File of the network that answers.")
    ] = None,
    model: ModelOption = None,
    weights: WeightsOption = None,
    onto: OntoOption = None,
    labels: Annotated[
        Path | None,
        typer.Option("--labels", help="File of labels, where it is not beside the images."),
    ] = None,
    synsets: Annotated[
        Path | None, typer.Option("--synsets", help="File of classes in order, if not ImageNet's.")
    ] = None,
    preprocessing: Annotated[
        str | None,
        typer.Option(
            "--preprocessing",
            help="mnasnet, slim, tflite, pillow, ... or steps; by default what the authors did.",
        ),
    ] = None,
    stated_top1: Annotated[
        float | None,
        typer.Option("--stated", min=0, max=100, help="Top-1 in percent that the authors state."),
    ] = None,
    explain: Annotated[
        bool,
        typer.Option(
            "--explain",
            help="Take the gap to the stated accuracy apart: evaluate the port with one thing "
            "changed at a time (weights, decoder, crop, resize, ...), each another forward pass.",
        ),
    ] = False,
    mean: MeanOption = None,
    std: StdOption = None,
    signature: SignatureOption = None,
    on_error: Annotated[
        Literal["stop", "skip"],
        typer.Option("--on-error", help="Stop at an image that cannot be read, or skip it."),
    ] = "stop",
    journal: Annotated[
        Path | None,
        typer.Option("--journal", help="Folder that a killed evaluation goes on from."),
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Begin anew, whatever is finished.")
    ] = False,
    workers: Annotated[
        int | None, typer.Option("--workers", min=0, help="Processes; by default one a core.")
    ] = None,
    device: Annotated[
        str, typer.Option("--device", help="Where the network runs: cpu, cuda, cuda:1.")
    ] = "cpu",
    rows: Annotated[
        Path | None, typer.Option("--rows", help="File for a row an image: .parquet or .csv.")
    ] = None,
    report: ReportOption = None,
    json_file: JsonFileOption = None,
) -> None:
    """Count right answers of a source's judge and of a network, on the same pixels.

    If it is killed, the same command resumes where it stopped. Exits with 1 where answers of the
    two differ by more than a near tie, and not because of quantisation alone, or where their
    accuracies differ significantly.
    """
    from porting.accuracy.evaluation.evaluate import evaluate as evaluate_images
    from porting.accuracy.evaluation.journal import check_apart
    from porting.accuracy.evaluation.results import check_rows_file, write_rows
    from porting.atomic_files import check_files
    from porting.reports.documents import print_files, write_reports
    from porting.reports.evaluation import evaluation_report, print_evaluation

    as_json = json_file is not None and str(json_file) == "-"
    data_file = None if as_json else json_file
    if rows is not None:
        check_rows_file(rows)
    files = [file for file in (rows, report, data_file) if file is not None]
    check_files(files, (source, checkpoint, data, labels, synsets))
    for file in files:
        check_apart(file, journal)
    try:
        with evaluation_bar() as progress:
            evaluation = evaluate_images(
                data, source, checkpoint, model=model, weights=weights,
                onto=onto, labels=labels, synsets=synsets, preprocessing=preprocessing,
                stated=stated_top1, explain=explain, mean=mean, std=std, signature=signature,
                on_error=on_error, journal=journal, fresh=fresh, workers=workers, device=device,
                progress=progress,
            )  # fmt: skip
    except Interrupted:
        raise Interrupted("what is finished is kept: the same command goes on") from None
    if evaluation is None:
        return  # of torchrun's ranks the first alone reports
    summary = evaluation_report(evaluation)
    report_data = summary.to_json()
    show(as_json, lambda: report_data, lambda: print_evaluation(summary))
    write_reports(report_data, report, data_file)
    if rows is not None:
        write_rows(evaluation, rows)
    if not as_json:
        print_output(lambda: print_files(rows, report, data_file))
    if summary.verdict.agrees is False:
        raise typer.Exit(NOT_AT_PARITY)
