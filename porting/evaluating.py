"""The command ``porting evaluate``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from porting.exits import NOT_AT_PARITY, Interrupted
from porting.options import (
    DataArgument,
    DeviceOption,
    ExplainOption,
    FreshOption,
    JournalOption,
    JsonFileOption,
    JudgeOption,
    LabelsOption,
    MeanOption,
    ModelOption,
    OnError,
    OnErrorOption,
    OntoOption,
    PortOption,
    PreprocessingOption,
    ReportOption,
    RowsOption,
    StatedOption,
    StdOption,
    SynsetsOption,
    WeightsOption,
    WorkersOption,
)
from porting.reports.terminal import show

if TYPE_CHECKING:
    from porting.accuracy.evaluation.running import Evaluation


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
    mean: MeanOption = None,
    std: StdOption = None,
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
    where answers of the two differ beyond a near tie, and not by quantisation
    alone, or accuracies beyond chance.
    """
    from porting.accuracy.evaluation.evaluate import evaluate as evaluate_images
    from porting.reports.progress import evaluation_bar

    wanted = _Wanted(rows, report, json_file)
    wanted.check(journal, (source, checkpoint, data, labels, synsets))
    with evaluation_bar() as progress, _kept():
        found = evaluate_images(
            data, source, checkpoint, model=model, weights=weights.value if weights else None,
            onto=onto, labels=labels, synsets=synsets, preprocessing=preprocessing, stated=stated,
            explain=explain, mean=mean, std=std, on_error=on_error.value, journal=journal,
            fresh=fresh, workers=workers, device=device, progress=progress,
        )  # fmt: skip
    # Of torchrun's ranks the first alone has anything to tell.
    if found is not None and wanted.tell(found):
        raise typer.Exit(NOT_AT_PARITY)


@contextmanager
def _kept() -> Iterator[None]:
    """An interruption says that nothing is lost."""
    try:
        yield
    except Interrupted:
        raise Interrupted("what is finished is kept: the same command goes on") from None


class _Wanted:
    """What an evaluation is to be told in: files, and standard output as text or JSON."""

    def __init__(self, rows: Path | None, page: Path | None, json_file: Path | None) -> None:
        self._rows, self._page = rows, page
        self._printed = json_file is not None and str(json_file) == "-"
        self._data = None if self._printed else json_file

    def check(self, journal: Path | None, read: Sequence[Path | None]) -> None:
        """See that the files can be written, before the work that they are to hold."""
        from porting.accuracy.evaluation.journal import check_apart
        from porting.accuracy.evaluation.rows import check_rows_file
        from porting.release.writing import check_files

        if self._rows is not None:
            check_rows_file(self._rows)
        files = [file for file in (self._rows, self._page, self._data) if file is not None]
        check_files(files, read)
        for file in files:
            check_apart(file, journal)

    def tell(self, found: Evaluation) -> bool:
        """Print and write all of it; whether the port is not the judge."""
        from porting.accuracy.evaluation.rows import write_rows
        from porting.reports.diff import print_written
        from porting.reports.evaluate import print_evaluation
        from porting.reports.evaluation_json import evaluation_report
        from porting.reports.html import write_reports

        told = evaluation_report(found)
        show(told, self._printed, print_evaluation)
        written = write_reports(told, self._page, self._data)
        if self._rows is not None:
            write_rows(found, self._rows)
            written = [str(self._rows), *written]
        if not self._printed:
            show({"wrote": written}, False, print_written)
        return told["verdict"]["agrees"] is False
