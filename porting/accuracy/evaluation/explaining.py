"""Explain the gap between a port's top-1 and the stated one by changes: one, then several.

A change's effect is counted on the images that the port answers with and without it. It *helps*
where it is significant among so many changes, and brings the port nearer to the stated top-1: at
the end of its interval the port is no further off. ``explanation`` in
``porting/reports/evaluation_schema.json`` describes the JSON.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from porting.accuracy.evaluation.batch import NO_ANSWER, USABLE, Answers
from porting.accuracy.evaluation.changes import PARTS, PREPROCESSING, Change, Changes, LeftOut
from porting.accuracy.evaluation.predictors import Side
from porting.accuracy.evaluation.significance import (
    SIGNIFICANT,
    Difference,
    difference,
    holm,
    right,
    share,
)


@dataclass(frozen=True)
class SideAnswers:
    """The five best classes of one side (N, 5), the labels (N,), and which are ``usable`` (N,)."""

    best: np.ndarray
    labels: np.ndarray
    usable: np.ndarray

    @classmethod
    def of(cls, answers: Answers, labels: np.ndarray, column: int, shift: int = 0) -> SideAnswers:
        """The answers in a column, with ``shift`` added to the labels."""
        best = answers.best[:, column]
        usable = (answers.state == USABLE) & (best[:, 0] != NO_ANSWER)
        return cls(best, np.where(labels < 0, NO_ANSWER, labels + shift), usable)

    def right(self) -> np.ndarray:
        """(N,) whether the first answer is the label."""
        return right(self.best, self.labels, 1)

    @property
    def top1(self) -> float:
        """Top-1 in percent of the usable images, of which there must be one."""
        return 100 * float(self.right()[self.usable].mean())


@dataclass(frozen=True)
class Effect:
    """How one change, or several at once, move the port's top-1 of ``base`` percent.

    ``p`` is McNemar's; of a single change it is adjusted by :func:`with_adjusted_p`.
    ``answers`` are the port's with the changes.
    """

    changes: tuple[Change, ...]
    base: float
    difference: Difference
    p: float
    answers: SideAnswers = field(repr=False, compare=False)

    @property
    def top1(self) -> float:
        """The port's top-1 in percent as it would be with the changes."""
        return min(max(self.base + self.difference.points, 0.0), 100.0)

    def remaining(self, target: float) -> float:
        """How many points are then left to the target."""
        return abs(target - self.top1)

    def helps(self, target: float | None) -> bool:
        """Whether it comes nearer to the target, beyond chance."""
        if target is None:
            return False
        return self.p < SIGNIFICANT and self.difference.comes_nearer(target - self.base)

    def to_json(self) -> dict[str, Any]:
        """Its figures as plain data."""
        change = self.difference
        return {"top1": self.top1, "points": change.points, **asdict(change)}


@dataclass(frozen=True)
class Explanation:
    """Effects of single changes and of a combination, and the stated top-1, ``target``, in percent.

    ``chance`` is whether the target is within the confidence interval of the port's top-1.
    """

    base: float
    target: float | None
    chance: bool
    effects: tuple[Effect, ...]
    left_out: tuple[LeftOut, ...]
    combination: Effect | None = None

    @property
    def best(self) -> Effect | None:
        """The single change that explains most."""
        return next(iter(self.helping()), None)

    def helping(self) -> list[Effect]:
        """Single changes that help, the one that leaves the least first."""
        target = self.target
        if target is None:
            return []
        helping = (effect for effect in self.effects if effect.helps(target))
        return sorted(helping, key=lambda effect: effect.remaining(target))

    def best_by_topic(self) -> list[Effect]:
        """The best change of each topic that helps, the best of all first.

        The preprocessing as a whole stands for its parts: the authors' is what
        the stated accuracy was measured with, and a part helps for its sake.
        """
        helping = self.helping()
        whole = any(effect.changes[0].topic == PREPROCESSING for effect in helping)
        best: dict[str, Effect] = {}
        for effect in helping:
            topic = effect.changes[0].topic
            if not (whole and topic in PARTS):
                best.setdefault(topic, effect)
        return list(best.values())

    def to_json(self) -> dict[str, Any]:
        """The explanation as plain data, for the report."""
        target, best, several = self.target, self.best, self.combination
        data: dict[str, Any] = {
            "base": self.base,
            "stated": target,
            "changes": [
                {
                    **_names(effect),
                    **effect.to_json(),
                    "adjusted_p": effect.p,
                    "helps": effect.helps(target),
                }
                for effect in self.effects
            ],
            "left_out": [asdict(topic) for topic in self.left_out],
            "best": None,
            "combined": None,
            "sentence": self.sentence,
        }
        if best is not None and target is not None:
            data["best"] = {
                **_names(best),
                "points": best.difference.points,
                "top1": best.top1,
                "remaining": best.remaining(target),
            }
        if several is not None and target is not None:
            data["combined"] = {
                "changes": [
                    {**_names(effect), "points": effect.difference.points}
                    for effect in self._single_effects(several)
                ],
                **several.to_json(),
                "remaining": several.remaining(target),
            }
        return data

    @property
    def sentence(self) -> str:
        """What explains the gap, in words."""
        if self.target is None:
            return "no accuracy is stated to explain the distance to; give it with --stated"
        gap = f"{abs(self.target - self.base):.2f} points between the port's {self.base:.2f} and"
        chance = "; so few images leave that distance within chance" if self.chance else ""
        of_stated = f"the stated {self.target:.2f}"
        best, several = self.best, self.combination
        if best is None:
            return f"no single change explains the {gap} {of_stated} beyond chance{chance}"
        if several is None:
            return f"{_words(best)}: {best.top1:.2f} of {of_stated}{chance}"
        parts = " and ".join(f"{_words(effect)} alone" for effect in self._single_effects(several))
        together = f"together {several.difference.points:+.2f}"
        return f"{parts}, {together}: {several.top1:.2f} of {of_stated}{chance}"

    def _single_effects(self, several: Effect) -> list[Effect]:
        alone = {effect.changes[0]: effect for effect in self.effects}
        return [alone[change] for change in several.changes]


def explain(
    changes: Changes, sides: Sequence[Side], answers: Answers, labels: np.ndarray,
    target: float | None, answers_of: Callable[[tuple[Side, ...]], Answers],
) -> Explanation | None:  # fmt: skip
    """Compare a port with each change of it alone, and then with several of those that help.

    ``answers`` are those of ``sides``, among them the port, and behind them of the changes'
    variants; ``labels`` (N,) are the images'. ``answers_of`` has further sides answer the same
    images. None where the port answers no image.
    """
    columns = (*sides, *changes.variants)
    base = SideAnswers.of(answers, labels, columns.index(changes.base))
    if not base.usable.any():
        return None
    effects = []
    for change in changes.changes:
        other = SideAnswers.of(answers, labels, columns.index(change.side), change.shift)
        effects.append(effect_of([change], base, other))
    explanation = Explanation(
        base.top1, target, within_chance(base, target),
        with_adjusted_p([effect for effect in effects if effect is not None]), changes.left_out,
    )  # fmt: skip
    return replace(explanation, combination=combine(changes, explanation, base, answers_of))


def combine(
    changes: Changes,
    explanation: Explanation,
    base: SideAnswers,
    answers_of: Callable[[tuple[Side, ...]], Answers],
) -> Effect | None:
    """Search for several changes that come nearer to the target than the best single one.

    The search begins with the best single change. On top of it, each of the others that help alone
    is tried, and the best is kept, for as long as one helps. Where that leaves more than chance to
    the stated accuracy, every other topic is tried in the same way: a cause may show only where
    another is corrected.
    """
    target, single, helping = explanation.target, explanation.best, explanation.best_by_topic()
    if target is None or single is None:
        return None
    best = helping[0]
    for candidates in ([effect.changes[0] for effect in helping], changes.changes):
        while trials := changes.on_top(best.changes, candidates):
            if candidates is changes.changes and within_chance(best.answers, target):
                break
            sides = tuple(dict.fromkeys(trial.side for trial in trials))
            answers, effects = answers_of(sides), []
            for trial in trials:
                column = sides.index(trial.side)
                other = SideAnswers.of(answers, base.labels, column, trial.shift)
                effects.append(effect_of(trial.changes, base, other))
            nearer = best_step(best, [effect for effect in effects if effect is not None], target)
            if nearer is best:
                break
            best = nearer
    nearer_than_single = best.remaining(target) < single.remaining(target)
    return best if len(best.changes) > 1 and nearer_than_single else None


def effect_of(changes: Sequence[Change], base: SideAnswers, other: SideAnswers) -> Effect | None:
    """The effect on the images that both answer; None where there is no such image."""
    both = base.usable & other.usable
    if not both.any():
        return None
    change = difference(base.right()[both], other.right()[both])
    return Effect(tuple(changes), base.top1, change, change.p, other)


def with_adjusted_p(effects: Sequence[Effect]) -> tuple[Effect, ...]:
    """The same effects, with Holm-adjusted p-values."""
    p_values = holm([effect.p for effect in effects])
    return tuple(replace(effect, p=p) for effect, p in zip(effects, p_values, strict=True))


def within_chance(base: SideAnswers, target: float | None) -> bool:
    """Whether the stated top-1 in percent is in the confidence interval of the measured one."""
    if target is None:
        return False
    top1 = share(int(base.right()[base.usable].sum()), int(base.usable.sum()))
    return top1.low <= target <= top1.high


def best_step(before: Effect, others: Sequence[Effect], target: float) -> Effect:
    """Of effects, each with one change more, the nearest that is so beyond chance; else the same.

    Each is compared with what was reached before, on the images that both answer.
    """
    steps = []
    for other in others:
        both = other.answers.usable & before.answers.usable
        steps.append(difference(before.answers.right()[both], other.answers.right()[both]))
    p_values = holm([step.p for step in steps])
    gap = target - before.top1
    nearer = [
        other for other, step, p in zip(others, steps, p_values, strict=True)
        if p < SIGNIFICANT and step.comes_nearer(gap)
    ]  # fmt: skip
    return min(nearer, key=lambda other: other.remaining(target), default=before)


def _names(effect: Effect) -> dict[str, str]:
    (change,) = effect.changes
    return {"topic": change.topic, "change": change.words}


def _words(effect: Effect) -> str:
    (change,) = effect.changes
    return f"{change.topic} ({change.words}) {effect.difference.points:+.2f}"
