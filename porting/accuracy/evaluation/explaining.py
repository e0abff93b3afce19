"""Evaluating a port with one thing changed at a time, and then with what helps changed at once.

What is changed are further sides of one evaluation, so that its processes, its
journal and its ranks serve them too. What several changes do at once are further
evaluations, whose journals lie in the first one's folder.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from porting.accuracy.evaluation.changes import (
    PARTS_OF_PREPROCESSING,
    PREPROCESSING,
    Change,
    Changes,
    answers_as,
    changes_of,
    combined,
    run_of,
)
from porting.accuracy.evaluation.explanation import (
    Answered,
    Explanation,
    among,
    answered,
    effect_of,
    within_chance,
)
from porting.accuracy.evaluation.journal import COMBINED
from porting.accuracy.evaluation.preparing import Prepared
from porting.accuracy.evaluation.ranks import Ranks
from porting.accuracy.evaluation.reaching import Reached, best_step, nearest
from porting.accuracy.evaluation.side import Side
from porting.accuracy.evaluation.told import digest_of

if TYPE_CHECKING:
    from porting.accuracy.evaluation.evaluate import Evaluation

Carried = Callable[[Prepared, Path], "Evaluation | None"]
"""Evaluate what is prepared, with its journal in a folder; None for all but the first rank."""

Several = tuple[tuple[Change, ...], Side, int]
"""Changes at once, the side that has them, and what is added to labels."""

Choose = Callable[[Reached, Sequence[Reached], float], Reached]
"""What is kept of what was reached and what more changes reach, at a stated accuracy in percent."""


def with_changes(prepared: Prepared) -> tuple[Prepared, Changes]:
    """The same with a variant for each change; of a source alone, with a port beside its judge."""
    changes = changes_of(run_of(prepared))
    sides = prepared.sides
    if changes.base not in sides:
        sides = (*sides, changes.base)
    return _with_sides(prepared, sides, changes.variants), changes


def explained(
    prepared: Prepared, changes: Changes, folder: Path, carried: Carried, ranks: Ranks
) -> Evaluation | None:
    """Carry out what is prepared, and then what helps at once; the first rank gets everything.

    Where that leaves more than chance to what is stated, every other topic's
    changes are tried on top, for as long as one helps: a cause may show only
    where another is mended.
    """
    found = carried(prepared, folder)
    explanation = None if found is None else _singly(found, changes)
    search = _Search(prepared, changes, folder, carried, found, explanation)
    reached = search.first()
    tried = at_once(changes, ranks.gathered(_places(explanation, changes))[0])
    reached = search.attempt(tried, reached, nearest)
    places = ranks.gathered(search.unexplained(reached))[0]
    while places:
        further = search.attempt(on_top(changes, places), reached, best_step)
        places = ranks.gathered([] if further is reached else search.unexplained(further))[0]
        reached = further
    if found is None:
        return None
    if explanation is not None and reached is not None and len(reached.effect.changes) > 1:
        explanation = replace(explanation, combined=reached.effect)
    return replace(found, explanation=explanation)


@dataclass(frozen=True)
class _Search:
    """For changes that bring the port to what is stated; all but the first rank evaluate alone."""

    prepared: Prepared
    changes: Changes
    folder: Path
    carried: Carried
    found: Evaluation | None
    explanation: Explanation | None

    def first(self) -> Reached | None:
        """The best single change."""
        best = None if self.explanation is None else self.explanation.best
        if best is None or self.found is None:
            return None
        return Reached(best, _of_change(self.found, self.changes, best.changes[0]))

    def attempt(
        self, tried: Sequence[Several], reached: Reached | None, choose: Choose
    ) -> Reached | None:
        """Evaluate several changes at once, and go by what they reach."""
        if not tried:
            return reached
        sides = {answers_as(side): side for _, side, _ in tried}
        # What is tried hangs on the stated accuracy: each set of sides has a journal of its own.
        there = self.folder / COMBINED / digest_of(side.to_json() for side in sides.values())
        second = self.carried(_with_sides(self.prepared, (), tuple(sides.values())), there)
        if second is None or reached is None or self.found is None:
            return reached
        base, columns = _of_change(self.found, self.changes, None), list(sides)
        others = []
        for several, side, shift in tried:
            column = columns.index(answers_as(side))
            other = answered(second.answers, second.labels, column, shift)
            effect = effect_of(several, base, other)
            if effect is not None:
                others.append(Reached(effect, other))
        return choose(reached, others, self._stated())

    def unexplained(self, reached: Reached | None) -> list[int]:
        """Places of the changes so far, where they leave more than chance; else none."""
        if reached is None or within_chance(reached.answers, self._stated()):
            return []
        return [self.changes.changes.index(change) for change in reached.effect.changes]

    def _stated(self) -> float:
        assert self.explanation is not None and self.explanation.stated is not None
        return self.explanation.stated  # nothing is reached otherwise


def _with_sides(
    prepared: Prepared, sides: tuple[Side, ...], variants: tuple[Side, ...]
) -> Prepared:
    told = {
        **prepared.told,
        "sides": {side.name: side.to_json() for side in sides},
        "changes": {side.name: side.to_json() for side in variants},
    }
    return replace(prepared, sides=sides, variants=variants, told=told)


def _singly(found: Evaluation, changes: Changes) -> Explanation | None:
    """What each change does alone; None where not one image could be used."""
    base = _of_change(found, changes, None)
    if not base.usable.any():
        return None
    effects = (effect_of((c,), base, _of_change(found, changes, c)) for c in changes.changes)
    return Explanation(
        100 * float(base.right()[base.usable].mean()), found.stated,
        within_chance(base, found.stated), among([e for e in effects if e is not None]),
        changes.left_out,
    )  # fmt: skip


def _of_change(found: Evaluation, changes: Changes, change: Change | None) -> Answered:
    """What the port answers with a change, or, with None, as it is."""
    sides = [answers_as(side) for side in (*found.sides, *changes.variants)]
    side = changes.base if change is None or change.side is None else change.side
    # Judge and port may be alike but for what runs them, which answers_as keeps.
    column = sides.index(answers_as(side))
    return answered(found.answers, found.labels, column, 0 if change is None else change.shift)


def _places(explanation: Explanation | None, changes: Changes) -> list[int]:
    """Places in the table of what is to be tried at once: numbers, which ranks can exchange."""
    chain = [] if explanation is None else explanation.chain()
    return [changes.changes.index(effect.changes[0]) for effect in chain]


def at_once(changes: Changes, places: Sequence[int]) -> list[Several]:
    """The first two changes at once, the first three, and so on, as far as they go together."""
    found: list[Several] = []
    kept = tuple(changes.changes[place] for place in places[:1])
    for place in places[1:]:
        more = (*kept, changes.changes[place])
        together = combined(changes.base, more)
        if together is not None:
            found.append((more, *together))
            kept = more
    return found


def on_top(changes: Changes, places: Sequence[int]) -> list[Several]:
    """Some changes, and each of another topic beside them, as far as they go together."""
    kept = tuple(changes.changes[place] for place in places)
    topics = {change.topic for change in kept}
    if PREPROCESSING in topics:
        topics |= PARTS_OF_PREPROCESSING
    elif topics & PARTS_OF_PREPROCESSING:
        topics.add(PREPROCESSING)
    before = combined(changes.base, kept)
    tried = ((*kept, change) for change in changes.changes if change.topic not in topics)
    together = ((several, combined(changes.base, several)) for several in tried)
    return [
        (several, *both) for several, both in together
        if both is not None and _answering(both) != _answering(before)
    ]  # fmt: skip


def _answering(both: tuple[Side, int] | None) -> tuple[Side, int] | None:
    """What answers hang on."""
    return None if both is None else (answers_as(both[0]), both[1])
