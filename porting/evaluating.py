"""The command ``porting evaluate``."""

from __future__ import annotations

import typer

from porting.options import (
    DataArgument,
    DeviceOption,
    ExplainOption,
    FreshOption,
    JournalOption,
    JsonFileOption,
    JudgeOption,
    LabelsOption,
    ModelOption,
    OnError,
    OnErrorOption,
    OntoOption,
    PortOption,
    PreprocessingOption,
    ReportOption,
    RowsOption,
    StatedOption,
    SynsetsOption,
    WeightsOption,
    WorkersOption,
)
from porting.reports.showing import show


def evaluate(
    data: DataArgument,
    source: JudgeOption = None,
    checkpoint: PortOption = None,
    model: ModelOption = None,
    weights: WeightsOption = None,
    onto: OntoOption = None,
    labels: LabelsOption = None,
    synsets: SynsetsOption = None,
    preprocessing: PreprocessingOption = None,
    stated: StatedOption = None,
    explain: ExplainOption = False,
    on_error: OnErrorOption = OnError.stop,
    journal: JournalOption = None,
    fresh: FreshOption = False,
    workers: WorkersOption = None,
    device: DeviceOption = "cpu",
    rows: RowsOption = None,
    report: ReportOption = None,
    json_file: JsonFileOption = None,
) -> None:
    """Count right answers of a source's judge and of a network, on the same pixels.

    Killed at any moment, the same command goes on where it was. Exits with 1
    where the two differ in accuracy beyond chance.
    """
    from porting.accuracy.evaluation.evaluate import evaluate as evaluate_images
    from porting.accuracy.evaluation.report import evaluation_report
    from porting.accuracy.evaluation.rows import check_rows_file, write_rows
    from porting.accuracy.evaluation.side import Inputs
    from porting.release.writing import check_file
    from porting.reports.diff import print_written
    from porting.reports.evaluation import print_evaluation
    from porting.reports.html import write_reports
    from porting.reports.progress import evaluation_bar

    printed = json_file is not None and str(json_file) == "-"
    data_file = None if printed else json_file
    if rows is not None:
        check_rows_file(rows)
    for file in filter(None, (rows, report, data_file)):
        check_file(file)
    inputs = Inputs(source, checkpoint, model, weights.value if weights else None, onto)
    with evaluation_bar() as progress:
        found = evaluate_images(
            data, inputs, labels=labels, synsets=synsets, preprocessing=preprocessing,
            stated=stated, on_error=on_error.value, journal=journal, fresh=fresh, workers=workers,
            device=device, explain=explain, progress=progress,
        )  # fmt: skip
    if found is None:
        return  # the first of torchrun's ranks reports
    told = evaluation_report(found)
    show(told, printed, print_evaluation)
    if rows is not None:
        write_rows(found, rows)
    written = [*([] if rows is None else [str(rows)]), *write_reports(told, report, data_file)]
    if not printed:
        show({"wrote": written}, False, print_written)
    if told["verdict"]["differs"]:
        raise typer.Exit(1)
