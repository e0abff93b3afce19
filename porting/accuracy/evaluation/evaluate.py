"""Evaluating from Python: a data set in, answers of judge and port out."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from porting.accuracy.datasets import DataSet
from porting.accuracy.evaluation.answers import ANSWERED, Answers
from porting.accuracy.evaluation.batch import Work
from porting.accuracy.evaluation.explaining import explained, with_changes
from porting.accuracy.evaluation.explanation import Explanation
from porting.accuracy.evaluation.figures import right
from porting.accuracy.evaluation.journal import Journal, discard
from porting.accuracy.evaluation.preparing import Prepared, prepare
from porting.accuracy.evaluation.quantisation import Quantisation, quantisation_on
from porting.accuracy.evaluation.ranks import Ranks, joined, use_device
from porting.accuracy.evaluation.side import Inputs, Side
from porting.accuracy.evaluation.tally import Progress, Tally
from porting.accuracy.evaluation.ties import tie_on
from porting.accuracy.evaluation.told import digest_of
from porting.accuracy.evaluation.workers import evaluated
from porting.errors import BadInput
from porting.folders import EVALUATED
from porting.mapping.convention import InputConvention, parse_affine
from porting.one_thread import cores

BATCH = 16
"""Images in a batch: more make a network on one core no faster, and are lost with a kill."""


AnyPath = str | PathLike[str]


@dataclass(frozen=True, repr=False)
class Evaluation:
    """Answers on a data set, and what they rest on.

    ``labels`` (N,) are the images', -1 where one has none; ``answers`` those of
    ``sides``. ``told`` is plain data by topic, ``inputs`` the files, ``stated``
    the authors' top-1 in percent where it is published. Where judge and port
    differ on an image, ``tie`` is the margin in logits up to which rounding may
    decide; see :mod:`porting.accuracy.evaluation.ties`. Where they do beyond that and
    the source is quantised, ``quantisation`` says what it answers in float32. Where it
    was asked for, ``explanation`` takes the distance to what is stated apart; its variants'
    answers stand behind those of the sides.
    """

    dataset: DataSet
    inputs: Inputs
    sides: tuple[Side, ...]
    convention: InputConvention
    labels: np.ndarray
    answers: Answers
    told: dict[str, Any]
    stated: float | None = None
    tie: float | None = None
    quantisation: Quantisation | None = None
    explanation: Explanation | None = None

    def __repr__(self) -> str:
        names = " and ".join(side.name for side in self.sides)
        return f"Evaluation({names} on {self.dataset!r})"

    @property
    def usable(self) -> np.ndarray:
        """(N,) whether an image was answered by every side."""
        return np.asarray(self.answers.state == ANSWERED)

    @property
    def compares(self) -> bool:
        """Whether judge and port both answered."""
        return [side.name for side in self.sides[:2]] == ["judge", "port"]

    @property
    def differing(self) -> list[int]:
        """Numbers of the images on which judge and port answer something else."""
        if not self.compares:
            return []
        best = self.answers.best
        return np.flatnonzero(self.usable & (best[:, 0, 0] != best[:, 1, 0])).tolist()

    def near_tie(self, number: int) -> bool:
        """Whether a differing image's best two are so near for both that rounding may decide."""
        return self.tie is not None and bool((self.answers.margin[number, :2] <= self.tie).all())

    def right(self, side: int, among: int = 1) -> np.ndarray:
        """Of the usable images, whether the label is among a side's best so many."""
        usable = self.usable
        return right(self.answers.best[usable, side], self.labels[usable], among)


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
    what the network's first layer takes, where neither source nor card does.
    ``explain`` evaluates the port with one thing changed at a time as well; of a
    source alone, the network ported anew from it.

    ``workers`` are processes, by default as many as there are cores, so that a
    script has to call this below ``if __name__ == "__main__"``; 0 works in this
    one. Under ``torchrun`` the ranks share the work, and all but the first get None.

    Raises:
        BadInput: something cannot be read or does not fit; BadExample: an image.
        WorkerDied: a process was killed; RankEnded: another rank ended, and why.
    """
    _check(on_error, stated, workers)
    normalisation = parse_affine(mean, std)
    inputs = Inputs(_path(source), _path(checkpoint), model, weights, onto, normalisation)
    asked = inputs, Path(data), _path(labels), _path(synsets), preprocessing
    with joined() as ranks:
        ranks.together(partial(use_device, device, ranks))
        prepared = ranks.together(partial(prepare, *asked))
        if stated is not None:
            prepared = replace(prepared, stated=stated)
        folder = _default_journal(*asked, explain) if journal is None else Path(journal)
        carried = partial(
            carry_out, fresh=fresh, ranks=ranks, workers=workers, device=device,
            on_error=on_error, progress=progress,
        )  # fmt: skip
        if explain:
            return explained(*with_changes(prepared), folder, carried, ranks)
        return carried(prepared, folder)


def carry_out(
    prepared: Prepared, folder: Path, fresh: bool, ranks: Ranks, workers: int | None,
    device: str, on_error: str, progress: Progress | None,
) -> Evaluation | None:  # fmt: skip
    """Evaluate what is not in the journal yet; the first rank gets everything."""
    work = Work(
        prepared.dataset, prepared.inputs, prepared.sides, BATCH, device, prepared.variants
    )  # fmt: skip
    told = {**prepared.told, "batch": BATCH, "device": device}
    tally = Tally(work, ranks.size, progress if ranks.first else None)
    ranks.check_alike(told)
    if fresh:
        # By the first of each machine, before any of them looks at what is there.
        ranks.together(partial(discard, folder) if ranks.first_here else lambda: None)
    with ranks.together(partial(Journal, folder, told)) as kept:
        mine = {batch.number: batch for batch in kept.finished()}
        finished = set().union(*ranks.gathered(set(mine)))
        left = ranks.share(b for b in range(work.batches) if b not in finished)
        ranks.together(partial(tally.begin, mine.values(), left, on_error))
        count = max(cores() // ranks.local, 1) if workers is None else workers
        # Closed at once where an image stops the evaluation, so that its processes end.
        with closing(evaluated(work, left, min(count, len(left)))) as batches:
            for batch in batches:
                tally.add(batch, on_error)
                kept.add(batch)
                mine[batch.number] = batch
                ranks.check()
    for batch in itertools.chain(*ranks.gathered(list(mine.values()))):
        tally.fill(batch)
    if not ranks.first:
        return None
    found = Evaluation(
        prepared.dataset, prepared.inputs, prepared.sides, prepared.convention,
        tally.labels, tally.answers, told, prepared.stated,
    )  # fmt: skip
    if not found.differing:
        return found
    found = replace(found, tie=tie_on(work, found.differing))
    beyond = [number for number in found.differing if not found.near_tie(number)]
    if not beyond:
        return found
    asked = quantisation_on(work, found.answers, beyond, found.tie)
    return replace(found, quantisation=asked)


def _path(place: AnyPath | None) -> Path | None:
    try:
        return None if place is None else Path(place)
    except TypeError:
        raise BadInput(f"{type(place).__name__}: is no path; expected that of a file") from None


def _check(on_error: str, stated: float | None, workers: int | None) -> None:
    if on_error not in ("stop", "skip"):
        raise BadInput(f"on_error {on_error!r}: expected 'stop' or 'skip'")
    if stated is not None and not 0 <= stated <= 100:
        raise BadInput(f"stated {stated}: expected percent, 0 to 100")
    if workers is not None and not (isinstance(workers, int) and workers >= 0):
        raise BadInput(f"workers {workers!r}: expected a number of processes, 0 for none")


def _default_journal(
    inputs: Inputs, data: Path, labels: Path | None, synsets: Path | None,
    preprocessing: str | None, explain: bool,
) -> Path:  # fmt: skip
    """A folder named by what is evaluated on what, and by how that was asked for."""
    files = [path.stem for path in (inputs.source, inputs.checkpoint, data) if path is not None]
    asked = digest_of([inputs, data.resolve(), labels, synsets, preprocessing])
    return EVALUATED / "-".join([*files, *(["explained"] if explain else []), asked])
