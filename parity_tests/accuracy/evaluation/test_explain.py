"""Explanations of gaps whose cause is known."""

from __future__ import annotations

import numpy as np
import pytest

from parity_tests.accuracy.evaluation.colours import (
    ALWAYS_RIGHT,
    IMAGES,
    LABELS,
    WANTS_MEAN,
    WANTS_WHOLE,
    by_colour,
    by_group,
    change_of,
)
from porting.errors import BadInput
from porting.reports.documents import EVALUATION, read_report, write_report
from porting.reports.evaluation import print_evaluation


class TestOneCause:
    @pytest.mark.parametrize(("shift", "words"), [(-1, "labels one up"), (1, "labels one down")])
    def test_labels_off_by_one(self, shift, words, explained):
        told = explained(labels=LABELS + shift)["explanation"]
        assert (told["base"], told["best"]["remaining"]) == (0, 0)
        assert (told["best"]["topic"], told["best"]["change"]) == ("label offset", words)
        assert told["combined"] is None
        assert told["sentence"] == (
            f"label offset ({words}) +100.00: 100.00 of the stated 100.00"
        )  # fmt: skip

    def test_channels_in_the_wrong_order(self, explained):
        report = explained(labels=LABELS[::-1])
        best, change = report["explanation"]["best"], change_of(report, "channel order")
        assert (best["topic"], best["change"]) == ("channel order", "BGR for RGB")
        assert (change["gained"], change["lost"], change["of"]) == (IMAGES, 0, IMAGES)
        assert change["points"] == change["top1"] == 100
        assert 85 < change["low"] < 100 and change["p"] < 1e-9 and change["helps"]

    def test_another_familys_normalisation(self, explained):
        def answer(pixels, side):
            return by_colour(pixels, side) * (side.mean[0] == 127.5)

        best = explained(answer)["explanation"]["best"]
        assert best["topic"] == "normalisation"
        assert best["change"].startswith("mean 127.5 std 127.5 for mean 123.7")

    def test_none(self, explained):
        report = explained(lambda pixels, side: by_colour(pixels, side) * 0)
        told = report["explanation"]
        assert (told["best"], told["combined"]) == (None, None)
        assert told["sentence"] == (
            "no single change explains the 100.00 points between the port's 0.00 and the stated "
            "100.00 beyond chance"
        )

    def test_nothing_stated(self, explained):
        report = explained(labels=LABELS[::-1], stated=None)
        assert report["explanation"]["stated"] is None
        assert "give it with --stated" in report["explanation"]["sentence"]
        assert change_of(report, "channel order")["points"] == 100
        assert not change_of(report, "channel order")["helps"]

    def test_what_overshoots_as_far_does_not_help(self, explained):
        told = explained(labels=LABELS[::-1], stated=40.0)["explanation"]
        assert told["best"] is None  # 0 is nearer to 40 than 100 is


def test_of_a_source_alone_the_network_ported_anew_is_explained(explained, small):
    report = explained(labels=LABELS[::-1], files={"source": small[0]})
    assert list(report["sides"]) == ["judge", "port"]
    assert report["explanation"]["best"]["topic"] == "channel order"
    assert explained.built == [("judge", None), ("source", "as stored")]


class TestSeveralCauses:
    def test_they_are_evaluated_together(self, explained, tmp_path):
        told = explained(by_group)["explanation"]
        assert told["base"] == 25
        assert (told["best"]["topic"], told["best"]["top1"]) == ("normalisation", 75)
        combined = told["combined"]
        assert [(one["topic"], one["points"]) for one in combined["changes"]] == [
            ("normalisation", 50), ("preprocessing", 25),
        ]  # fmt: skip
        assert (combined["top1"], combined["remaining"], combined["gained"]) == (100, 0, 30)
        assert (
            "+50.00 alone and preprocessing (Pillow's for the authors') +25.00 alone, "
            "together +75.00: " in told["sentence"]
        )
        assert told["sentence"].endswith("100.00 of the stated 100.00")
        (second,) = (tmp_path / "journal" / "combined").iterdir()
        assert list(second.glob("batches-*"))

    def test_both_evaluations_go_on_from_their_journals(self, explained):
        first = explained(by_group)
        assert explained.built == [("checkpoint", None)] * 2  # one for each evaluation
        assert explained(by_group) == first
        assert explained.built == []

    def test_another_stated_accuracy_needs_no_other_answers(self, explained):
        explained(by_group)
        told = explained(by_group, stated=60.0)["explanation"]
        assert told["best"]["topic"] in ("preprocessing", "antialiasing", "rounding")
        assert told["best"]["remaining"] == 10
        assert told["combined"] is None  # 100 is further from 60
        assert explained.built == []


def test_what_one_of_so_many_does_by_chance_does_not_help(explained):
    def answer(pixels, side):
        """Of one group six images more where their channels are swapped."""
        groups = np.rint((pixels[..., 1].mean((1, 2)) - 20) / 50)
        known = np.isin(groups, (1, 2, 3))
        swapped = side.pipeline.endswith("swap-channels")
        scores = by_colour(pixels[..., ::-1] if swapped else pixels, side)
        return scores * (known | ((groups == 0) & (np.cumsum(groups == 0) <= 2) & swapped))[:, None]

    report = explained(answer)
    change = change_of(report, "channel order")
    assert (change["gained"], change["lost"]) == (6, 0)
    assert change["low"] > 0 and change["p"] == 2 / 2**6
    assert change["adjusted_p"] > 0.05
    assert not change["helps"]
    assert report["explanation"]["best"] is None


def by_two_at_once(pixels, side):
    """As by_group, but that the last group wants another mean and BGR, which alone does nothing."""
    groups = np.rint((pixels[..., 1].mean((1, 2)) - 20) / 50)
    swapped, mended = side.pipeline.endswith("swap-channels"), side.mean[0] == 127.5
    known = np.isin(groups, ALWAYS_RIGHT) | (np.isin(groups, WANTS_MEAN) & mended)
    known |= np.isin(groups, WANTS_WHOLE) & mended & swapped
    return by_colour(pixels[..., ::-1] if swapped else pixels, side) * known[:, None]


def test_a_cause_that_shows_only_where_another_is_mended_is_found(explained, tmp_path):
    report = explained(by_two_at_once)
    told = report["explanation"]
    assert change_of(report, "channel order")["points"] == 0
    assert (told["best"]["topic"], told["best"]["top1"]) == ("normalisation", 75)
    assert [(one["topic"], one["points"]) for one in told["combined"]["changes"]] == [
        ("normalisation", 50), ("channel order", 0),
    ]  # fmt: skip
    assert told["combined"]["top1"] == 100
    assert len(list((tmp_path / "journal" / "combined").iterdir())) == 1


def test_the_text_fits_in_80_columns_and_the_data_their_schema(
    explained, tmp_path, capsys, monkeypatch
):
    monkeypatch.setenv("COLUMNS", "80")
    report = explained(by_group)
    print_evaluation(explained.report)
    lines = capsys.readouterr().out.splitlines()
    assert max(len(line) for line in lines if str(tmp_path) not in line) <= 80
    text = " ".join(" ".join(lines).split())
    assert "left out weights: other weights would come from the source: give it with" in text
    assert report["explanation"]["sentence"] in text
    assert "channel order BGR for RGB" in text
    write_report(report, tmp_path / "report.json")
    assert read_report(tmp_path / "report.json", EVALUATION) == report


def test_without_it_there_is_none_and_its_journal_is_another_ones(explained):
    assert explained(explain=False)["explanation"] is None
    with pytest.raises(BadInput, match="is the journal of another evaluation: changes"):
        explained()
