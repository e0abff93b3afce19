"""Evaluate a port with one thing changed at a time, and then with several that help.

What is changed are further sides of one evaluation, so that its processes, its
journal and its ranks serve them too. Several changes at once are further
evaluations, whose journals lie in the folder ``combined`` of the first one's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from porting.accuracy.evaluation.changes import (
    PARTS,
    PREPROCESSING,
    Change,
    Changes,
    answers_as,
    changes_of,
    combined,
    run_of,
)
from porting.accuracy.evaluation.effects import (
    Effect,
    Explanation,
    Outcome,
    SideAnswers,
    best_step,
    effect_of,
    side_answers,
    with_adjusted_p,
    within_chance,
)
from porting.accuracy.evaluation.journal import COMBINED
from porting.accuracy.evaluation.predictors import Side
from porting.accuracy.evaluation.preparing import Prepared
from porting.accuracy.evaluation.provenance import digest_of
from porting.accuracy.evaluation.running import Evaluation, Runner

Places = tuple[int, ...]
"""Changes by their places in the table, as ranks can exchange them."""


def evaluate_and_explain(prepared: Prepared, folder: Path, runner: Runner) -> Evaluation | None:
    """Evaluate the port as it is, with each change, and with several; the first rank gets it all.

    Of a source alone, the network ported anew from it is explained.
    """
    changes = changes_of(run_of(prepared))
    sides = prepared.sides
    if changes.base not in sides:
        sides = (*sides, changes.base)
    evaluation = runner.run(_with_sides(prepared, sides, changes.variants), folder)
    explanation = None if evaluation is None else _singly(evaluation, changes)
    search = None
    if evaluation is not None and explanation is not None:
        search = _Search(changes, explanation, evaluation)
    # The first rank chooses what is tried next, and all of them evaluate it.
    while trials := runner.ranks.gathered([] if search is None else search.trials())[0]:
        variants = {answers_as(side): side for side, _ in map(changes.at_once, trials)}
        # Which trials there are depends on the stated accuracy: each set has its own journal.
        place = folder / COMBINED / digest_of(side.to_json() for side in variants.values())
        second = runner.run(_with_sides(prepared, (), tuple(variants.values())), place)
        if search is not None and second is not None:
            search.take(trials, second)
    if evaluation is None or search is None or explanation is None:
        return evaluation
    return replace(evaluation, explanation=replace(explanation, combined=search.combined))


class _Search:
    """A greedy search for changes that together bring the port to the stated accuracy.

    It begins with the best single change. On top of that, each of the others that help alone is
    tried, and the best is kept, for as long as one helps. Where that leaves more than chance to
    the stated accuracy, every other topic is tried in the same way: a cause may show only where
    another is corrected.
    """

    def __init__(self, changes: Changes, explanation: Explanation, evaluation: Evaluation) -> None:
        helping = [effect.changes[0] for effect in explanation.best_by_topic()]
        self._changes, self._explanation = changes, explanation
        self._stated = explanation.stated
        self._base = _answers_with(evaluation, changes, None)
        self._candidates = [helping, list(changes.changes)]
        self.best: Outcome | None = None
        if helping:
            other = _answers_with(evaluation, changes, helping[0])
            effect = next(e for e in explanation.effects if e.changes == (helping[0],))
            self.best = Outcome(effect, other)

    @property
    def combined(self) -> Effect | None:
        """The effect of several changes, where they come nearer than the best single one."""
        single = self._explanation.best
        if self.best is None or self._stated is None or single is None:
            return None
        effect, stated = self.best.effect, self._stated
        nearer = effect.remaining(stated) < single.remaining(stated)
        return effect if len(effect.changes) > 1 and nearer else None

    def trials(self) -> list[Places]:
        """What is to be evaluated next; nothing where the search has ended."""
        if self.best is None:
            return []
        while self._candidates:
            if len(self._candidates) == 1 and within_chance(self.best.answers, self._stated):
                return []
            trials = on_top(self._changes, self.best.effect.changes, self._candidates[0])
            if trials:
                return trials
            del self._candidates[0]
        return []

    def take(self, trials: Sequence[Places], evaluation: Evaluation) -> None:
        """Keep the best of what was tried, or go on to the next candidates."""
        assert self.best is not None and self._stated is not None  # nothing is tried otherwise
        sides, others = [answers_as(side) for side in evaluation.provenance.changes or ()], []
        for trial in trials:
            side, shift = self._changes.at_once(trial)
            column = sides.index(answers_as(side))
            other = side_answers(evaluation.answers, evaluation.labels, column, shift)
            several = [self._changes.changes[place] for place in trial]
            effect = effect_of(several, self._base, other)
            if effect is not None:
                others.append(Outcome(effect, other))
        best = best_step(self.best, others, self._stated)
        if best is self.best:
            del self._candidates[0]
        self.best = best


def on_top(
    changes: Changes, several: Sequence[Change], candidates: Sequence[Change]
) -> list[Places]:
    """Several changes, and each candidate of another topic beside them where that means something.

    The preprocessing as a whole and its parts are one topic.
    """
    topics = {change.topic for change in several}
    if PREPROCESSING in topics:
        topics |= PARTS.keys()
    elif topics & PARTS.keys():
        topics.add(PREPROCESSING)

    def answers_of(trial: Sequence[Change]) -> tuple[Side, int] | None:
        both = combined(changes.base, trial)
        return None if both is None else (answers_as(both[0]), both[1])

    before = answers_of(several)
    trials = ((*several, change) for change in candidates if change.topic not in topics)
    return [
        tuple(map(changes.changes.index, trial))
        for trial in trials
        if answers_of(trial) not in (None, before)
    ]


def _with_sides(
    prepared: Prepared, sides: tuple[Side, ...], variants: tuple[Side, ...]
) -> Prepared:
    provenance = replace(prepared.provenance, sides=sides, changes=variants)
    return replace(prepared, sides=sides, variants=variants, provenance=provenance)


def _singly(evaluation: Evaluation, changes: Changes) -> Explanation | None:
    """The effect of each change alone; None where not one image could be used."""
    base = _answers_with(evaluation, changes, None)
    if not base.usable.any():
        return None
    effects = [
        effect_of([change], base, _answers_with(evaluation, changes, change))
        for change in changes.changes
    ]
    adjusted = with_adjusted_p([effect for effect in effects if effect is not None])
    return Explanation(
        100 * float(base.right()[base.usable].mean()), evaluation.stated,
        within_chance(base, evaluation.stated), adjusted, changes.left_out,
    )  # fmt: skip


def _answers_with(evaluation: Evaluation, changes: Changes, change: Change | None) -> SideAnswers:
    """The port's answers with a change, or, with None, as it is."""
    sides = [answers_as(side) for side in (*evaluation.sides, *changes.variants)]
    side = changes.base if change is None or change.side is None else change.side
    # Judge and port may be alike but for what runs them, which answers_as keeps.
    column = sides.index(answers_as(side))
    shift = 0 if change is None else change.shift
    return side_answers(evaluation.answers, evaluation.labels, column, shift)
