"""Several changes at once: which are tried, and what a side with them is."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from parity_tests.accuracy.evaluation.test_changes import MNASNET, PILLOW, SLIM, run_of
from porting.accuracy.evaluation.batch import ANSWERED, Answers
from porting.accuracy.evaluation.changes import TOPICS, answers_as, changes_of, combined
from porting.accuracy.evaluation.explaining import _Search, _singly, on_top

OF = 1000


class TestSeveralAtOnce:
    def chosen(self, run, *wanted):
        return [self.places(changes_of(run), one)[1][0] for one in wanted]

    def places(self, found, *wanted):
        """Places of changes among all, and the changes."""
        names = [(change.topic, change.words) for change in found.changes]
        places = [names.index(one) for one in wanted]
        return places, [found.changes[place] for place in places]

    def test_each_has_its_part(self):
        run = run_of(PILLOW)
        order, preprocessing, weights, labels = self.chosen(
            run, ("channel order", "BGR for RGB"), ("preprocessing", "the authors' for Pillow's"),
            ("weights", "ema for raw"), ("label offset", "labels one down"),
        )  # fmt: skip
        side, shift = combined(run.base, [labels, order, preprocessing, weights])
        assert side.pipeline == f"{MNASNET}, swap-channels"
        assert (side.runs, side.weights, shift) == ("source", "ema", -1)

    def test_what_means_nothing_together(self):
        run = run_of(MNASNET)
        pillow, coordinates, rounded, order = self.chosen(
            run, ("preprocessing", "Pillow's for the authors'"),
            ("coordinates", "TensorFlow 2's bicubic for TensorFlow 1's bicubic"),
            ("rounding", "rounded for unrounded"), ("channel order", "BGR for RGB"),
        )  # fmt: skip
        assert combined(run.base, [pillow, coordinates]) is None
        assert combined(run.base, [pillow, rounded]) is None
        side, _ = combined(run.base, [order, pillow])
        assert side.pipeline == f"{PILLOW}, swap-channels"

    def tried(self, found, *several, candidates=None):
        """What is tried on top of several changes: topics and sides."""
        trials = on_top(found, several, found.changes if candidates is None else candidates)
        return [
            ([found.changes[place].topic for place in trial], found.at_once(trial)[0])
            for trial in trials
        ]

    def test_what_does_not_go_with_the_others_is_passed_over(self):
        found = changes_of(run_of(MNASNET))
        whole, *others = self.places(
            found, ("preprocessing", "Pillow's for the authors'"),
            ("weights", "ema for raw"), ("rounding", "rounded for unrounded"),
            ("channel order", "BGR for RGB"),
        )[1]  # fmt: skip
        tried = self.tried(found, whole, candidates=others)
        assert [topics for topics, _ in tried] == [
            ["preprocessing", "weights"], ["preprocessing", "channel order"],
        ]  # fmt: skip
        assert [(side.weights, side.pipeline) for _, side in tried] == [
            ("ema", PILLOW), (None, f"{PILLOW}, swap-channels"),
        ]  # fmt: skip

    def test_a_step_that_is_gone_already_is_not_put_back(self):
        run = run_of(f"{SLIM}, swap-channels", authors=SLIM)
        whole, order = self.chosen(
            run, ("preprocessing", "the authors' for the given steps"),
            ("channel order", "RGB for BGR"),
        )  # fmt: skip
        assert whole.side.pipeline == order.side.pipeline == SLIM
        assert combined(run.base, [whole, order]) is None
        found = changes_of(run)
        (order,) = self.places(found, (order.topic, order.words))[1]
        assert all("swap-channels" not in side.pipeline for _, side in self.tried(found, order))

    def test_what_changes_nothing_is_not_tried_on_top(self):
        found = changes_of(run_of(MNASNET))
        # Antialiasing brings TensorFlow 2's coordinates with it.
        antialiased = "TensorFlow 2's antialiased bicubic for TensorFlow 1's bicubic"
        (change,) = self.places(found, ("antialiasing", antialiased))[1]
        topics = {topics[-1] for topics, _ in self.tried(found, change)}
        assert "coordinates" not in topics and {"resize", "rounding"} <= topics

    def test_every_other_topic_is_tried_on_top(self):
        found = changes_of(run_of(MNASNET))
        words = "fraction 0.875 by the decoder for padded 96+32 by the decoder"
        (crop,) = self.places(found, ("crop", words))[1]
        tried = self.tried(found, crop)
        assert {topics[0] for topics, _ in tried} == {"crop"}
        assert {topics[1] for topics, _ in tried} == (set(TOPICS) - {"crop", "preprocessing"})
        decoder = next(side for topics, side in tried if topics[1] == "decoder")
        assert decoder.pipeline == (
            "decode tf-accurate, crop fraction 0.875, resize legacy bicubic 96"
        )
        (whole,) = self.places(found, ("preprocessing", "Pillow's for the authors'"))[1]
        topics = {topics[1] for topics, _ in self.tried(found, whole)}
        assert topics == {"weights", "normalisation", "channel order", "label offset"}


class TestSearch:
    """Over made-up answers: of 1,000 images, so many are right with each side."""

    def evaluation(self, sides, right_on):
        answers = Answers.none_of(OF, len(sides))
        answers.state[:] = ANSWERED
        for column, side in enumerate(sides):
            answers.best[:, column] = 1
            answers.best[: right_on(side), column, 0] = 0
        return SimpleNamespace(
            answers=answers, labels=np.zeros(OF, int), sides=sides[:1], stated=70.0,
            provenance=SimpleNamespace(changes=sides),
        )  # fmt: skip

    def search(self, **right_on):
        """A search in which changes of these topics, and of no others, move the port."""
        changes = changes_of(run_of(MNASNET))
        alone = {side.name.split(":")[0]: side for side in changes.variants}
        counts = {alone[topic.replace("_", " ")]: count for topic, count in right_on.items()}
        sides = (changes.base, *changes.variants)
        evaluation = self.evaluation(sides, lambda side: counts.get(side, 500))
        return changes, _Search(changes, _singly(evaluation, changes), evaluation)

    def topics(self, changes, trials):
        return [[changes.changes[place].topic for place in trial] for trial in trials]

    def step(self, changes, search, right_on):
        trials = search.trials()
        sides = tuple({answers_as(side): side for side, _ in map(changes.at_once, trials)}.values())
        search.take(trials, self.evaluation(sides, right_on))
        return self.topics(changes, trials)

    def test_what_helps_alone_is_added_before_all_else(self):
        changes, search = self.search(weights=600, channel_order=560)
        assert self.step(changes, search, lambda side: 650) == [["weights", "channel order"]]
        tried = self.step(changes, search, lambda side: 650)
        assert len(tried) > 5 and all(
            topics[:2] == ["weights", "channel order"] for topics in tried
        )
        assert search.trials() == []
        assert [change.topic for change in search.combined.changes] == ["weights", "channel order"]
        assert search.combined.top1 == 65

    def test_it_ends_where_chance_explains_the_rest(self):
        changes, search = self.search(weights=600, channel_order=560)
        self.step(changes, search, lambda side: 700)
        assert search.trials() == []
        assert search.combined.remaining(70.0) == 0

    def test_nothing_is_combined_where_nothing_helps(self):
        _, search = self.search()
        assert (search.trials(), search.combined) == ([], None)

    def test_several_that_come_no_nearer_than_a_single_one_are_not_named(self):
        changes, search = self.search(crop=690, preprocessing=600, weights=580)
        assert self.step(changes, search, lambda side: 650) == [["preprocessing", "weights"]]
        assert search.best.effect.top1 == 65
        assert search.combined is None
