"""Which changes count as helping, and which of them are combined."""

from __future__ import annotations

import numpy as np
import pytest

from parity_tests.accuracy.evaluation.test_changes import MNASNET, run_of
from porting.accuracy.evaluation.batch import NO_ANSWER, UNREADABLE, USABLE, Answers
from porting.accuracy.evaluation.changes import Change, changes_of
from porting.accuracy.evaluation.explaining import (
    Explanation,
    SideAnswers,
    best_step,
    effect_of,
    explain,
    with_adjusted_p,
    within_chance,
)
from porting.accuracy.evaluation.significance import holm

OF = 1000


def right_on(count):
    """Answers of which the first ``count`` are right."""
    best = np.ones((OF, 5), np.int16)
    best[:count, 0] = 0
    return SideAnswers(best, np.zeros(OF, int), np.ones(OF, bool))


def effect(topic, count, words="this for that", base=500):
    return effect_of([Change(topic, words, lambda side: side, None)], right_on(base),
                     right_on(count))  # fmt: skip


def explanation(*effects, stated=70.0, combined=None):
    return Explanation(50.0, stated, False, effects, (), combined)


def test_the_best_leaves_the_least_on_either_side():
    helping = explanation(
        effect("weights", 560), effect("crop", 760), effect("decoder", 650), effect("resize", 430),
        effect("rounding", 502),
    ).helping()  # fmt: skip
    assert [one.changes[0].topic for one in helping] == ["decoder", "crop", "weights"]


@pytest.mark.parametrize(
    ("count", "helps"), [(502, False), (520, True), (840, True), (880, False), (901, False)]
)
def test_what_helps_is_beyond_chance_and_nearer(count, helps):
    assert effect("weights", count).helps(70.0) is helps


def test_the_best_of_each_topic_comes_the_best_of_all_first():
    chain = explanation(
        effect("weights", 560), effect("crop", 600, "a"), effect("crop", 650, "b"),
        effect("decoder", 570),
    ).best_by_topic()  # fmt: skip
    assert [one.changes[0].words for one in chain] == ["b", "this for that", "this for that"]
    assert [one.changes[0].topic for one in chain] == ["crop", "decoder", "weights"]


def test_the_whole_preprocessing_stands_for_its_parts():
    chain = explanation(
        effect("weights", 560), effect("crop", 690), effect("preprocessing", 600),
        effect("channel order", 540),
    ).best_by_topic()  # fmt: skip
    assert [one.changes[0].topic for one in chain] == ["preprocessing", "weights", "channel order"]


def effects(*counts):
    return [effect("weights", count) for count in counts]


class TestBestStep:
    def test_the_same_where_others_overshoot_or_do_nothing(self):
        first, overshot, same = effects(690, 790, 690)
        assert best_step(first, [overshot, same], 70.0) is first

    def test_the_nearest_of_all(self):
        kept, less, most, overshot = effects(600, 620, 680, 790)
        assert best_step(kept, [less, most, overshot], 70.0) is most

    def test_none_by_chance_among_so_many(self):
        kept, seven, *others = effects(600, 607, *[600] * 9)
        assert best_step(kept, [seven], 70.0) is seven  # p = 2 / 2 ** 7
        assert best_step(kept, [seven, *others], 70.0) is kept


def test_what_may_be_further_off_beyond_the_stated_is_not_nearer():
    few = effect("crop", 540)  # 4 points, with an interval of 1.2 to both sides
    assert few.difference.low > 2.5 and few.difference.high < 5.5
    assert few.helps(54.0) and few.helps(52.8)
    assert not few.helps(52.5)
    assert not few.helps(52.1)
    assert not few.helps(49.0)
    many = effect("crop", 460)
    assert many.helps(46.0) and not many.helps(47.5) and not many.helps(51.0)


def test_of_many_changes_the_least_p_is_held_against_all():
    alone = effect("weights", 507)
    assert alone.helps(70.0)
    adjusted = with_adjusted_p([alone, *(effect("crop", 500) for _ in range(9))])
    assert [one.p for one in adjusted] == [pytest.approx(10 * 2 / 2**7)] + [1.0] * 9
    assert not adjusted[0].helps(70.0)
    assert adjusted[0].difference == alone.difference
    # By R's p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm").
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_only_images_that_both_answer_are_counted():
    answers = Answers.none_of(6, 2)
    answers.state[:] = USABLE, USABLE, USABLE, USABLE, UNREADABLE, USABLE
    answers.best[:, 0, 0] = 3, 3, 3, 0, 3, -1
    answers.best[:, 1, 0] = 3, 0, NO_ANSWER, 3, 3, 3
    labels = np.array([3, 3, 3, 3, 3, -1])
    base, other = (SideAnswers.of(answers, labels, column) for column in (0, 1))
    assert base.usable.tolist() == [True, True, True, True, False, True]
    assert not base.right()[5]  # an image without a label is not of the background class
    actual = effect_of([], base, other)
    assert (actual.difference.of, actual.difference.gained, actual.difference.lost) == (4, 1, 1)
    assert actual.base == pytest.approx(60)
    assert effect_of([], base, SideAnswers(other.best, labels, ~base.usable)) is None


def test_labels_are_shifted():
    answers = Answers.none_of(3, 1)
    answers.state[:], answers.best[:, 0, 0] = USABLE, (4, 3, -1)
    labels = np.array([3, 3, 0])
    for shift, right in ((0, [False, True, False]), (1, [True, False, False]),
                         (-1, [False, False, True])):  # fmt: skip
        assert SideAnswers.of(answers, labels, 0, shift).right().tolist() == right


def test_a_stated_accuracy_within_chance_is_said_to_be():
    assert within_chance(right_on(700), 72.0)
    assert not within_chance(right_on(700), 74.0)
    assert not within_chance(right_on(700), None)
    text = Explanation(50.0, 52.0, True, (effect("weights", 520),), ()).sentence
    assert text == (
        "weights (this for that) +2.00: 52.00 of the stated 52.00; so few images leave that "
        "distance within chance"
    )


class TestSearch:
    """Over made-up answers: of 1,000 images, so many are right with each side."""

    def answers(self, sides, right_on):
        answers = Answers.none_of(OF, len(sides))
        answers.state[:] = USABLE
        for column, side in enumerate(sides):
            answers.best[:, column] = 1
            answers.best[: right_on(side), column, 0] = 0
        return answers

    def explain(self, *counts_together, **counts):
        """The explanation where changes of these topics alone move the port, and what was tried.

        ``counts_together`` are right with any several changes, by how many evaluations came before.
        """
        changes = changes_of(run_of(MNASNET))
        alone = {
            side: counts.get(side.name.split(":")[0].replace(" ", "_"), 500)
            for side in changes.variants
        }
        further = []

        def answers_of(sides):
            names = ((part.split(":")[0] for part in side.name.split(" and ")) for side in sides)
            further.append([list(topics) for topics in names])
            return self.answers(sides, lambda side: counts_together[len(further) - 1])

        answers = self.answers((changes.base, *changes.variants), lambda side: alone.get(side, 500))
        labels = np.zeros(OF, int)
        return explain(changes, (changes.base,), answers, labels, 70.0, answers_of), further

    def test_what_helps_alone_is_added_before_all_else(self):
        explanation, further = self.explain(650, 650, weights=600, channel_order=560)
        assert further[0] == [["weights", "channel order"]]
        assert len(further) == 2 and len(further[1]) > 5
        assert all({"weights", "channel order"} < set(topics) for topics in further[1])
        combination = explanation.combination
        assert [change.topic for change in combination.changes] == ["weights", "channel order"]
        assert combination.top1 == 65

    def test_it_ends_where_chance_explains_the_rest(self):
        explanation, further = self.explain(700, weights=600, channel_order=560)
        assert len(further) == 1
        assert explanation.combination.remaining(70.0) == 0

    def test_nothing_is_combined_where_nothing_helps(self):
        explanation, further = self.explain()
        assert (explanation.combination, further) == (None, [])

    def test_several_that_come_no_nearer_than_a_single_one_are_not_named(self):
        explanation, further = self.explain(650, 650, crop=690, preprocessing=600, weights=580)
        # In the table's order.
        assert further[0] == [["weights", "preprocessing"]]
        assert explanation.best.changes[0].topic == "crop"
        assert explanation.combination is None
