"""Evaluate judge and port on a data set, from Python."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from os import PathLike
from pathlib import Path

from porting.accuracy.evaluation.agreement import quantisation_on, tie_on
from porting.accuracy.evaluation.batch import Answers, Work, labels_of
from porting.accuracy.evaluation.changes import changes_of, run_of
from porting.accuracy.evaluation.explaining import explain as explain_gap
from porting.accuracy.evaluation.journal import COMBINATIONS
from porting.accuracy.evaluation.predictors import Inputs, Side
from porting.accuracy.evaluation.preparing import prepare
from porting.accuracy.evaluation.provenance import digest_of
from porting.accuracy.evaluation.ranks import join_ranks, use_device
from porting.accuracy.evaluation.results import Evaluation
from porting.accuracy.evaluation.running import BATCH, Progress, Runner
from porting.errors import BadInput
from porting.folders import EVALUATIONS
from porting.mapping.input_spec import parse_affine

AnyPath = str | PathLike[str]


def evaluate(  # noqa: PLR0913 - by keyword, each what an option of the command is
    data: AnyPath,
    source: AnyPath | None = None,
    checkpoint: AnyPath | None = None,
    *,
    model: str | None = None,
    weights: str | None = None,
    onto: str | None = None,
    labels: AnyPath | None = None,
    synsets: AnyPath | None = None,
    preprocessing: str | None = None,
    stated: float | None = None,
    explain: bool = False,
    mean: str | float | Sequence[float] | None = None,
    std: str | float | Sequence[float] | None = None,
    signature: str | None = None,
    on_error: str = "stop",
    journal: AnyPath | None = None,
    fresh: bool = False,
    workers: int | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
) -> Evaluation | None:
    """Count right answers of a source's judge and of a network's file, or of one of the two.

    Both get the same pixels, made by ``preprocessing``: a name, steps, or None
    for what the network's authors did. ``stated`` is their top-1 in percent, by
    default the published one. ``on_error`` is ``"stop"`` or ``"skip"``
    for images that cannot be read. What is finished is in ``journal``, from
    which the same call goes on. ``mean`` and ``std`` say how pixels 0..255 become
    what the network's first layer takes, where neither source nor card does. ``signature`` names
    that of a source with several.
    ``explain`` evaluates the port with one thing changed at a time as well; of a
    source alone, the network ported anew from it.

    ``workers`` are processes, by default as many as there are cores, so that a
    script has to call this below ``if __name__ == "__main__"``; 0 works in this
    one. Under ``torchrun`` the ranks share the work, and all but the first get None.

    Raises:
        BadInput: something cannot be read or does not fit; BadExample: an image.
        WorkerDied: a process was killed; RankEnded: another rank ended, and why.
    """
    if on_error not in ("stop", "skip"):
        raise BadInput(f"on_error {on_error!r}: expected 'stop' or 'skip'")
    if stated is not None and not 0 <= stated <= 100:
        raise BadInput(f"stated {stated}: expected percent, 0 to 100")
    if workers is not None and not (isinstance(workers, int) and workers >= 0):
        raise BadInput(f"workers {workers!r}: expected a number of processes, 0 for none")
    inputs = Inputs(
        _path(source), _path(checkpoint), model, weights, onto, parse_affine(mean, std), signature
    )
    options = inputs, Path(data), _path(labels), _path(synsets), preprocessing
    with join_ranks() as ranks:
        ranks.together(partial(use_device, device, ranks))
        setup = ranks.together(partial(prepare, *options))
        dataset, sides, changes = setup.dataset, setup.sides, None
        if stated is None:
            stated = setup.published_top1
        if explain:
            changes = changes_of(run_of(setup))
            if changes.base not in sides:  # of a source alone, the network ported anew from it
                sides = (*sides, changes.base)
        variants = None if changes is None else changes.variants
        work = Work(dataset, setup.inputs, sides, BATCH, device, variants or ())
        provenance = replace(
            setup.provenance, sides=sides, changes=variants, batch=BATCH, device=device
        )
        if journal is None:
            # Named by what is evaluated on what, and by a digest of the options.
            files = [
                p.stem for p in (inputs.source, inputs.checkpoint, Path(data)) if p is not None
            ]
            digest = digest_of([inputs, Path(data).resolve(), *options[2:]])
            journal = EVALUATIONS / "-".join([*files, *(["explained"] if explain else []), digest])
        folder = Path(journal)
        runner = Runner(ranks, fresh, workers, on_error, progress)
        answers, numbers = runner.run(work, provenance.to_json(), folder), labels_of(dataset)

        def answers_of(variants: tuple[Side, ...]) -> Answers:
            """Answers with several changes at once, which have a journal for themselves."""
            several = replace(provenance, sides=(), changes=variants)
            place = folder / COMBINATIONS / digest_of(side.to_json() for side in variants)
            return runner.run(replace(work, sides=(), variants=variants), several.to_json(), place)

        explanation = None
        if changes is not None:
            explanation = explain_gap(changes, sides, answers, numbers, stated, answers_of)
        if not ranks.first:
            return None
        evaluation = Evaluation(
            dataset, setup.inputs, sides, setup.convention, numbers, answers, provenance,
            stated, explanation=explanation,
        )  # fmt: skip
        if not evaluation.differing:
            return evaluation
        evaluation = replace(evaluation, tie=tie_on(work, evaluation.differing))
        beyond = [n for n in evaluation.differing if not evaluation.near_tie(n)]
        if not beyond:
            return evaluation
        quantisation = quantisation_on(work, answers, beyond, evaluation.tie)
        return replace(evaluation, quantisation=quantisation)


def _path(place: AnyPath | None) -> Path | None:
    try:
        return None if place is None else Path(place)
    except TypeError:
        raise BadInput(
            f"{type(place).__name__} is not a path; expected the path of a file"
        ) from None
