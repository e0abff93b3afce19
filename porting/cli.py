"""The commands, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from porting.errors import NotAtParity, PortingError
from porting.evaluating import evaluate
from porting.folders import DOWNLOADED, PORTED
from porting.options import (
    AtolOption,
    CalibrationOption,
    CheckpointArgument,
    Classes,
    EvaluationOption,
    ImagesOption,
    JsonFileOption,
    JsonOption,
    MeanOption,
    ModelOption,
    ModeOption,
    Normalisation,
    NormalisationOption,
    Norms,
    NormsOption,
    OntoOption,
    PatternArgument,
    RandomOption,
    Readings,
    ReportOption,
    RtolOption,
    SourceArgument,
    StdOption,
    WeightsOption,
)
from porting.reports.terminal import show

app = typer.Typer(
    name="porting",
    help="Port mobile networks from TensorFlow to PyTorch, with proof.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command()
def inspect(source: SourceArgument, as_json: JsonOption = False) -> None:
    """Say what a source holds and which networks it fits."""
    from porting.catalog.at_hand import open_published
    from porting.reports.inspection import inspect_source, print_inspection

    show(inspect_source(open_published(source)), as_json, print_inspection)


@app.command()
def port(
    source: SourceArgument,
    model: ModelOption = None,
    weights: WeightsOption = None,
    classes: Annotated[
        Classes, typer.Option("--classes", help="Keep all classes, or drop class 0 of 1001.")
    ] = Classes.keep,
    onto: OntoOption = None,
    normalisation: NormalisationOption = Normalisation.stripped,
    out: Annotated[Path, typer.Option("--out", help="Folder for the results.")] = PORTED,
    verify: Annotated[
        bool, typer.Option("--verify/--no-verify", help="Have the judge compare every tap.")
    ] = True,
    bn: NormsOption = Norms.identity,
    images: CalibrationOption = None,
    mean: MeanOption = None,
    std: StdOption = None,
    as_json: JsonOption = False,
) -> None:
    """Port a source to PyTorch; write the weights and their card.

    Exits with 1, and writes nothing, where the judge disagrees.
    """
    from porting.api import port as port_source
    from porting.release import write_release
    from porting.release.writing import check_folder
    from porting.reports.port import print_port, summarise_port
    from porting.reports.progress import progress_bar

    check_folder(out)
    with progress_bar("judging" if images is None else "calibrating, judging") as progress:
        ported = port_source(
            source, model, weights=weights.value if weights else None, classes=classes.value,
            onto=onto, normalisation=normalisation.value, verify=verify, bn=bn.value,
            images=images, mean=mean, std=std, progress=progress,
        )  # fmt: skip
    try:
        files = write_release(ported, out)
    except PortingError as error:
        # The verdict took minutes, and is worth having whatever became of the files.
        if as_json or not isinstance(error, NotAtParity):
            show(summarise_port(ported, None), as_json, print_port)
        raise
    show(summarise_port(ported, files), as_json, print_port)


@app.command()
def diff(
    source: SourceArgument,
    checkpoint: CheckpointArgument,
    model: ModelOption = None,
    weights: WeightsOption = None,
    onto: OntoOption = None,
    images: ImagesOption = None,
    random: RandomOption = None,
    mode: ModeOption = Readings.both,
    report: ReportOption = None,
    json_file: JsonFileOption = None,
    atol: AtolOption = None,
    rtol: RtolOption = None,
    mean: MeanOption = None,
    std: StdOption = None,
) -> None:
    """Compare a source and a PyTorch network, tap by tap.

    Accumulated: both run on the same images. Isolated: each piece of the
    network is fed what the judge fed its own, so that a tap shows only the
    error born there. Dense: each piece of both is fed the same random values,
    so that channels that no image wakes are compared too. Exits with 1 where
    they disagree.
    """
    from porting.catalog.at_hand import open_published
    from porting.diff import diff as diff_source
    from porting.mapping.convention import parse_affine
    from porting.parity.noise import Tolerance
    from porting.release.writing import check_files
    from porting.reports.comparison_json import comparison_report
    from porting.reports.diff import print_diff, print_written
    from porting.reports.html import write_reports
    from porting.reports.progress import progress_bar
    from porting.subject import subject_from_file

    printed = json_file is not None and str(json_file) == "-"
    data_file = None if printed else json_file
    files = [file for file in (report, data_file) if file is not None]
    check_files(files, (source, checkpoint))
    affine = parse_affine(mean, std)
    opened = open_published(source)
    chosen = weights.value if weights else None
    subject = subject_from_file(opened, checkpoint, model, chosen, onto)
    with progress_bar("comparing") as progress:
        found = diff_source(
            opened, subject, images, count=random, mode=mode.value,
            tolerance=Tolerance(atol=atol, rtol=rtol), affine=affine, progress=progress,
        )  # fmt: skip
    data = comparison_report(found)
    show(data, printed, print_diff)
    written = write_reports(data, report, data_file)
    if not printed:
        show({"wrote": written}, False, print_written)
    if not data["agrees"]:
        raise typer.Exit(1)


app.command()(evaluate)


@app.command()
def report(
    data: Annotated[
        Path,
        typer.Argument(
            metavar="FILE.json", help="What porting diff or porting evaluate wrote with --json."
        ),
    ],
    evaluation: EvaluationOption = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="HTML file; by default beside the JSON.")
    ] = None,
) -> None:
    """Make the HTML report from a comparison's or an evaluation's JSON, or one from both."""
    from porting.release.writing import check_files
    from porting.reports.html import print_page, write_page
    from porting.reports.report_files import read_report, read_together

    both = (read_report(data), None) if evaluation is None else read_together(data, evaluation)
    page = out or data.with_suffix(".html")
    check_files([page], (data, evaluation))
    write_page(both[0], page, both[1])
    show({"report": str(page)}, False, print_page)


@app.command()
def rehearse(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Network to rehearse.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the source; must be new.")],
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the weights.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Make a TensorFlow checkpoint and TFLite files of a network, to port without a download.

    The weights are seeded and mean nothing; names, formats and scales are those of the real ones.
    """
    from porting.judges.reference.rehearse import rehearse as rehearse_model
    from porting.reports.progress import progress_bar
    from porting.reports.rehearsal import print_rehearsal, summarise_rehearsal

    with progress_bar(f"rehearsing {model}"):
        made = rehearse_model(model, out, seed)
    show(summarise_rehearsal(made), as_json, print_rehearsal)


@app.command()
def sources(
    pattern: PatternArgument = None,
    model: Annotated[
        str | None, typer.Option("--model", help="Those that hold this network alone.")
    ] = None,
    folder: Annotated[Path, typer.Option("--folder", help="Folder of downloads.")] = DOWNLOADED,
    as_json: JsonOption = False,
) -> None:
    """List what is published, its stated accuracy, and what of it is on disk."""
    from porting.catalog.registry import find_entries
    from porting.reports.sources import print_sources, summarise_sources

    show(summarise_sources(find_entries(pattern, model), folder), as_json, print_sources)


@app.command()
def fetch(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A published source, or a network that has one.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder for downloads.")] = DOWNLOADED,
    mirror: Annotated[
        str | None,
        typer.Option("--mirror", help="Address to use for https://storage.googleapis.com."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Download a published source; go on where an earlier download broke off.

    Its checksum is recorded at first sight, in catalog.lock.json beside it, and held from then on.
    """
    from porting.catalog import find_entry
    from porting.catalog.fetch import DownloadFailed
    from porting.catalog.fetch import fetch as fetch_source
    from porting.reports.fetch import print_download, summarise_download
    from porting.reports.progress import progress_bar

    entry = find_entry(name)
    try:
        with progress_bar(f"downloading {entry.name}") as progress:
            download = fetch_source(entry, out, mirror, progress)
    except DownloadFailed as error:
        raise DownloadFailed(
            f"{error}; a server that has it too can be named with --mirror, and a file that you "
            f"have goes into {out}"
        ) from error
    show(summarise_download(entry, download), as_json, print_download)
