"""Evaluating a port with one thing changed at a time, and then with what helps changed at once.

What is changed are further sides of one evaluation, so that its processes, its
journal and its ranks serve them too. What several changes do at once is a second
evaluation, whose journal lies in the first one's folder.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from porting.accuracy.evaluation.changes import (
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
    answered,
    effect_of,
    nearest,
    within_chance,
)
from porting.accuracy.evaluation.journal import COMBINED
from porting.accuracy.evaluation.preparing import Prepared
from porting.accuracy.evaluation.ranks import Ranks
from porting.accuracy.evaluation.side import Side
from porting.plain_json import encoded

if TYPE_CHECKING:
    from porting.accuracy.evaluation.evaluate import Evaluation

Carried = Callable[[Prepared, Path], "Evaluation | None"]
"""Evaluate what is prepared, with its journal in a folder; None for all but the first rank."""

Several = tuple[tuple[Change, ...], Side, int]
"""Changes at once, the side that has them, and what is added to labels."""


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
    """Carry out what is prepared, and then what helps at once; the first rank gets everything."""
    found = carried(prepared, folder)
    explanation = None if found is None else _singly(found, changes)
    places = _places(explanation, changes)
    several = list(at_once(changes, ranks.gathered(places)[0]))
    if several:
        sides = tuple(side for _, side, _ in several)
        there = folder / COMBINED / _digest(sides)
        second = carried(_with_sides(prepared, (), sides), there)
        if found is not None and second is not None and explanation is not None:
            explanation = _at_best(explanation, changes, found, second, several)
    return None if found is None else replace(found, explanation=explanation)


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
        within_chance(base, found.stated), tuple(e for e in effects if e is not None),
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


def _at_best(
    explanation: Explanation, changes: Changes, found: Evaluation, second: Evaluation,
    several: list[Several],
) -> Explanation:  # fmt: skip
    base, best = _of_change(found, changes, None), explanation.chain()[0]
    longer = []
    for column, (more, _, shift) in enumerate(several):
        other = answered(second.answers, second.labels, column, shift)
        effect = effect_of(more, base, other)
        if effect is not None:
            longer.append((effect, other))
    assert explanation.stated is not None  # nothing helps otherwise
    first = best, _of_change(found, changes, best.changes[0])
    return replace(explanation, combined=nearest(first, longer, explanation.stated))


def _digest(sides: tuple[Side, ...]) -> str:
    """Short and the same for the same sides: what is at once hangs on the stated accuracy."""
    text = json.dumps(encoded([side.to_json() for side in sides]))
    return hashlib.sha256(text.encode()).hexdigest()[:8]
