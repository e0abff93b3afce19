"""The command ``porting diagnose``."""

from pathlib import Path
from typing import Annotated

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
)
from porting.exits import NOT_AT_PARITY
from porting.reports.terminal import print_output, progress_bar, show


def diagnose(
    source: SourceArgument,
    checkpoint: CheckpointArgument,
    model: ModelOption = None,
    weights: WeightsOption = None,
    onto: OntoOption = None,
    images: ImagesOption = None,
    mean: MeanOption = None,
    std: StdOption = None,
    signature: SignatureOption = None,
    report: ReportOption = None,
    json_file: JsonFileOption = None,
    fix: Annotated[
        Path | None,
        typer.Option("--fix", metavar="FILE.pth", help="File for the mended state dict."),
    ] = None,
) -> None:
    """Name what makes a network disagree with its source, and prove it by mending a copy.

    A cause is named only if the network agrees with the judge once it is mended, on images that
    were not used to find it. Exits with 0 where there is nothing to mend, with 1 where source and
    network disagree.
    """
    from porting.atomic_files import check_files
    from porting.catalog.local import open_published
    from porting.diagnosing import check_mendable, diagnose_subject, write_mended
    from porting.diff import diff as diff_source
    from porting.mapping.input_spec import parse_affine
    from porting.reports.comparison import diff_json
    from porting.reports.diagnosis import diagnosis_json, print_diagnosis
    from porting.reports.documents import print_files, write_page, write_report
    from porting.subject import subject_from_file

    as_json = json_file is not None and str(json_file) == "-"
    data_file = None if as_json else json_file
    files = [file for file in (report, data_file, fix) if file is not None]
    check_files(files, (source, checkpoint))
    affine = parse_affine(mean, std)
    model_source = open_published(source, signature)
    subject = subject_from_file(model_source, checkpoint, model, weights, onto)
    with progress_bar("diagnosing"):
        result = diagnose_subject(model_source, subject, images, affine=affine)
        page = None
        if report is not None:
            page = diff_json(diff_source(model_source, subject, images, affine=affine))
    data = diagnosis_json(result)
    show(as_json, lambda: data, lambda: print_diagnosis(result))
    if report is not None and page is not None:
        write_page({**page, "diagnosis": data}, report)
    if data_file is not None:
        write_report(data, data_file)
    if fix is not None and not result.diagnosis.at_parity:
        check_mendable(result)
        write_mended(result, fix)
    if not as_json:
        written = None if result.diagnosis.at_parity else fix
        print_output(lambda: print_files(report, data_file, written))
    if not result.diagnosis.at_parity:
        raise typer.Exit(NOT_AT_PARITY)
