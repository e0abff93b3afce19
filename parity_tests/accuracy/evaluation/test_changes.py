"""Which changes there are of which run, what each alters, and which of them go together."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from parity_tests.building.photos import jpeg_of
from porting.accuracy.evaluation.changes import TOPICS, Run, changes_of
from porting.accuracy.evaluation.predictors import Side
from porting.accuracy.preprocessing import PIPELINES, parse_pipeline
from porting.mapping.families import IMAGENET, INCEPTION
from porting.mapping.input_spec import InputConvention

MNASNET, SLIM, PILLOW = (PIPELINES[name](96) for name in ("mnasnet", "slim", "pillow"))
OWN = "decode tf-accurate, resize tf2 bilinear 96, round"
BARE = "decode pillow, crop centre 96"


def run_of(pipeline, authors=MNASNET, affine=IMAGENET, weight_set="raw", sets=("ema", "raw")):
    convention = InputConvention(96, 3, 1000, *affine, "a test", authors)
    base = Side("port", "checkpoint", pipeline, *affine, 0)
    anew = {name: Side("port", "source", pipeline, *affine, 0, name) for name in sets}
    return Run(base, convention, weight_set, anew, "there is one set")


def laid(run, topic):
    """The pipelines that a topic's changes result in, by label."""
    return {c.words: c.side.pipeline for c in changes_of(run).changes if c.topic == topic}


EXPECTED = {
    MNASNET: {
        "preprocessing": [PILLOW],
        "decoder": ["decode tf-accurate, crop padded 96+32, resize legacy bicubic 96",
                    "decode pillow, crop padded 96+32, resize legacy bicubic 96"],
        "crop": ["decode-and-crop fraction 0.875, resize legacy bicubic 96",
                 "decode-and-crop square 0.875, resize legacy bicubic 96",
                 "decode tf, resize-shorter legacy bicubic 109, crop centre 96",
                 "decode tf, crop padded 96+32, resize legacy bicubic 96"],
        "resize": ["decode-and-crop padded 96+32, resize legacy bilinear 96"],
        "coordinates": ["decode-and-crop padded 96+32, resize tf2 bicubic 96"],
        "antialiasing": ["decode-and-crop padded 96+32, resize tf2-antialiased bicubic 96"],
        "rounding": ["decode-and-crop padded 96+32, resize legacy bicubic 96, round"],
        "channel order": ["decode-and-crop padded 96+32, resize legacy bicubic 96, swap-channels"],
    },
    SLIM: {
        "preprocessing": [MNASNET],
        "decoder": ["decode tf-accurate, crop fraction 0.875, resize legacy bilinear 96",
                    "decode pillow, crop fraction 0.875, resize legacy bilinear 96"],
        "crop": ["decode tf, crop padded 96+32, resize legacy bilinear 96",
                 "decode tf, crop square 0.875, resize legacy bilinear 96",
                 "decode tf, resize-shorter legacy bilinear 109, crop centre 96",
                 "decode-and-crop fraction 0.875, resize legacy bilinear 96"],
        "resize": ["decode tf, crop fraction 0.875, resize legacy bicubic 96"],
        "coordinates": ["decode tf, crop fraction 0.875, resize tf2 bilinear 96"],
        "antialiasing": [
            "decode tf, crop fraction 0.875, resize tf2-antialiased bilinear 96"],
        "rounding": ["decode tf, crop fraction 0.875, resize legacy bilinear 96, round"],
    },
    PILLOW: {
        "preprocessing": [MNASNET],
        "decoder": [PILLOW.replace("decode pillow", "decode tf"),
                    PILLOW.replace("decode pillow", "decode tf-accurate")],
        "crop": ["decode pillow, crop padded 96+32, resize pillow bicubic 96",
                 "decode pillow, crop fraction 0.875, resize pillow bicubic 96",
                 "decode pillow, crop square 0.875, resize pillow bicubic 96"],
        "resize": [PILLOW.replace("bicubic", "bilinear")],
        "coordinates": [],
        "antialiasing": [PILLOW.replace("pillow bicubic", "tf2 bicubic") + ", round"],
        "rounding": [],
    },
    OWN: {
        "preprocessing": [MNASNET],
        "decoder": ["decode tf, resize tf2 bilinear 96, round",
                    "decode pillow, resize tf2 bilinear 96, round"],
        "crop": ["decode tf-accurate, crop padded 96+32, resize tf2 bilinear 96, round",
                 "decode tf-accurate, crop fraction 0.875, resize tf2 bilinear 96, round",
                 "decode tf-accurate, crop square 0.875, resize tf2 bilinear 96, round",
                 "decode tf-accurate, resize-shorter tf2 bilinear 109, crop centre 96, round"],
        "resize": ["decode tf-accurate, resize tf2 bicubic 96, round"],
        "coordinates": ["decode tf-accurate, resize legacy bilinear 96, round"],
        "antialiasing": ["decode tf-accurate, resize tf2-antialiased bilinear 96, round"],
        "rounding": ["decode tf-accurate, resize tf2 bilinear 96"],
    },
    BARE: {"preprocessing": [MNASNET], "crop": [], "resize": [], "coordinates": [],
           "antialiasing": [], "rounding": []},
}  # fmt: skip


@pytest.mark.parametrize("pipeline", EXPECTED)
def test_changes_of_pixels(pipeline):
    run = run_of(pipeline)
    for topic, expected in EXPECTED[pipeline].items():
        assert list(laid(run, topic).values()) == expected, topic
    told = {left.topic for left in changes_of(run).left_out}
    assert told == {topic for topic, expected in EXPECTED[pipeline].items() if not expected}


@pytest.mark.parametrize("pipeline", EXPECTED)
def test_every_change_makes_other_pixels_of_the_same_size(pipeline):
    image = jpeg_of(211, 160, "4:2:0", quality=80)
    before = parse_pipeline(pipeline)(image)
    for change in changes_of(run_of(pipeline)).changes:
        if change.shift or change.topic in ("weights", "normalisation"):
            continue
        after = parse_pipeline(change.side.pipeline)(image)
        assert after.shape == before.shape == (96, 96, 3), change
        # The decoder's smoothing at a window's edge may reach beyond the sampled pixels, and
        # the two decoders may be different versions of one library.
        edge = "by the decoder" in change.words and "as a slice" in change.words
        alike = "accurate DCT" in change.words and "Pillow's decoder" in change.words
        assert edge or alike or not np.array_equal(after, before), change


def test_all_sides_have_one_thing_changed():
    run = run_of(MNASNET)
    actual = changes_of(run)
    assert {change.topic for change in actual.changes} == set(TOPICS)
    for change in actual.changes:
        if change.topic == "label offset":
            assert change.side == run.base and change.shift in (1, -1)
            continue
        fields = {"weights": ("runs", "weights"), "normalisation": ("mean", "std")}
        differ = [
            name for name in ("runs", "pipeline", "mean", "std", "background", "weights")
            if getattr(change.side, name) != getattr(run.base, name)
        ]  # fmt: skip
        assert tuple(differ) == fields.get(change.topic, ("pipeline",)), change
    assert len(set(actual.variants)) == len(actual.variants)
    assert run.base not in actual.variants
    assert all(change.shift or change.words in change.side.name for change in actual.changes)


def test_words_say_what_stands_for_what():
    run = run_of(PILLOW)
    assert list(laid(run, "preprocessing")) == ["the authors' for Pillow's"]
    assert list(laid(run_of(MNASNET), "preprocessing")) == ["Pillow's for the authors'"]
    assert list(laid(run_of(OWN), "preprocessing")) == ["the authors' for the given steps"]
    assert list(laid(run, "weights")) == ["ema for raw"]
    assert list(laid(run, "normalisation")) == [
        "mean 127.5 std 127.5 for mean 123.7 116.3 103.5 std 58.4 57.12 57.38"
    ]
    assert list(laid(run, "channel order")) == ["BGR for RGB"]


def test_the_authors_pipeline_is_at_the_size_of_the_runs_pixels():
    run = run_of(PIPELINES["pillow"](64), authors=SLIM)
    assert list(laid(run, "preprocessing").values()) == [PIPELINES["slim"](64)]


class TestWeights:
    def test_the_other_set_is_ported_anew(self):
        (change,) = (c for c in changes_of(run_of(MNASNET)).changes if c.topic == "weights")
        assert (change.side.runs, change.side.weights) == ("source", "ema")

    def test_both_where_it_is_not_known_which_the_port_is_of(self):
        words = laid(run_of(MNASNET, weight_set=None), "weights")
        assert list(words) == ["ema for the file's", "raw for the file's"]

    @pytest.mark.parametrize("sets", [(), ("raw",)])
    def test_none(self, sets):
        left = changes_of(run_of(MNASNET, sets=sets)).left_out
        assert [(one.topic, one.why) for one in left] == [("weights", "there is one set")]


def test_a_network_that_normalises_by_itself_has_no_other_normalisation():
    run = run_of(MNASNET, affine=((0.0,) * 3, (1.0,) * 3))
    (left,) = changes_of(run).left_out
    assert (left.topic, left.why) == ("normalisation", "the network normalises by itself")
    # With other weights the network does not.
    affine = dict(zip(("mean", "std"), INCEPTION, strict=True))
    anew = {name: replace(side, **affine) for name, side in run.anew.items()}
    (change,) = (c for c in changes_of(replace(run, anew=anew)).changes if c.topic == "weights")
    assert (change.side.mean, change.side.std) == INCEPTION


def test_whole_pixels_stay_whole_but_where_rounding_is_the_change():
    run = run_of(f"{SLIM}, round", authors=f"{SLIM}, round")
    for change in changes_of(run).changes:
        whole = parse_pipeline(change.side.pipeline).whole
        assert whole is (change.topic != "rounding"), change
    (unrounded,) = laid(run, "rounding").values()
    assert unrounded == SLIM


def test_a_source_that_takes_bytes_has_whole_pixels_for_its_authors():
    run = run_of(PIPELINES["pillow"](64), authors=f"{SLIM}, round")
    assert list(laid(run, "preprocessing").values()) == [f"{PIPELINES['slim'](64)}, round"]


class TestSeveralAtOnce:
    def pick(self, changes, *names):
        """The changes of these topics and words."""
        by_name = {(change.topic, change.words): change for change in changes.changes}
        return [by_name[name] for name in names]

    def test_each_has_its_part(self):
        changes = changes_of(run_of(PILLOW))
        order, preprocessing, weights, labels = self.pick(
            changes, ("channel order", "BGR for RGB"),
            ("preprocessing", "the authors' for Pillow's"), ("weights", "ema for raw"),
            ("label offset", "labels one down"),
        )  # fmt: skip
        trial = changes.together([labels, order, preprocessing, weights])
        assert trial.side.pipeline == f"{MNASNET}, swap-channels"
        assert (trial.side.runs, trial.side.weights, trial.shift) == ("source", "ema", -1)

    def test_what_means_nothing_together(self):
        changes = changes_of(run_of(MNASNET))
        pillow, coordinates, rounded, order = self.pick(
            changes, ("preprocessing", "Pillow's for the authors'"),
            ("coordinates", "TensorFlow 2's bicubic for TensorFlow 1's bicubic"),
            ("rounding", "rounded for unrounded"), ("channel order", "BGR for RGB"),
        )  # fmt: skip
        assert changes.together([pillow, coordinates]) is None
        assert changes.together([pillow, rounded]) is None
        assert changes.together([order, pillow]).side.pipeline == f"{PILLOW}, swap-channels"

    def on_top(self, changes, *several, candidates=None):
        """The topics and sides tried in addition to several changes."""
        trials = changes.on_top(several, changes.changes if candidates is None else candidates)
        return [([change.topic for change in trial.changes], trial.side) for trial in trials]

    def test_what_does_not_go_with_the_others_is_passed_over(self):
        changes = changes_of(run_of(MNASNET))
        whole, *others = self.pick(
            changes, ("preprocessing", "Pillow's for the authors'"),
            ("weights", "ema for raw"), ("rounding", "rounded for unrounded"),
            ("channel order", "BGR for RGB"),
        )  # fmt: skip
        trials = self.on_top(changes, whole, candidates=others)
        assert [topics for topics, _ in trials] == [
            ["preprocessing", "weights"], ["preprocessing", "channel order"],
        ]  # fmt: skip
        assert [(side.weights, side.pipeline) for _, side in trials] == [
            ("ema", PILLOW), (None, f"{PILLOW}, swap-channels"),
        ]  # fmt: skip

    def test_a_step_that_is_gone_already_is_not_put_back(self):
        changes = changes_of(run_of(f"{SLIM}, swap-channels", authors=SLIM))
        whole, order = self.pick(
            changes, ("preprocessing", "the authors' for the given steps"),
            ("channel order", "RGB for BGR"),
        )  # fmt: skip
        assert whole.side.pipeline == order.side.pipeline == SLIM
        assert changes.together([whole, order]) is None
        assert all("swap-channels" not in side.pipeline for _, side in self.on_top(changes, order))

    def test_what_changes_nothing_is_not_tried_on_top(self):
        changes = changes_of(run_of(MNASNET))
        # Antialiasing implies TensorFlow 2's coordinates.
        antialiased = "TensorFlow 2's antialiased bicubic for TensorFlow 1's bicubic"
        (change,) = self.pick(changes, ("antialiasing", antialiased))
        topics = {topics[-1] for topics, _ in self.on_top(changes, change)}
        assert "coordinates" not in topics and {"resize", "rounding"} <= topics

    def test_every_other_topic_is_tried_on_top(self):
        changes = changes_of(run_of(MNASNET))
        words = "fraction 0.875 by the decoder for padded 96+32 by the decoder"
        (crop,) = self.pick(changes, ("crop", words))
        trials = self.on_top(changes, crop)
        assert {topics[0] for topics, _ in trials} == {"crop"}
        assert {topics[1] for topics, _ in trials} == (set(TOPICS) - {"crop", "preprocessing"})
        decoder = next(side for topics, side in trials if topics[1] == "decoder")
        assert decoder.pipeline == (
            "decode tf-accurate, crop fraction 0.875, resize legacy bicubic 96"
        )
        (whole,) = self.pick(changes, ("preprocessing", "Pillow's for the authors'"))
        topics = {topics[1] for topics, _ in self.on_top(changes, whole)}
        assert topics == {"weights", "normalisation", "channel order", "label offset"}
