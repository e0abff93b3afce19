"""What an explanation finds where the cause is known, and what it costs to find it."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from parity_tests.accuracy.evaluation.conftest import write_labels
from porting.accuracy.evaluation import batch
from porting.accuracy.evaluation.evaluate import evaluate
from porting.accuracy.preprocessing import steps
from porting.errors import BadExample, BadInput
from porting.reports.evaluate import print_evaluation
from porting.reports.evaluation import evaluation_report
from porting.reports.reading import EVALUATION, read_report, write_report

IMAGES = 40
RED, BLUE = 10, 20
LABELS = np.tile([RED, BLUE], IMAGES // 2)
ALWAYS_RIGHT, WANTS_MEAN, WANTS_WHOLE = (3,), (0, 1), (2,)
"""Groups of images, by what a network that is taught to them needs."""


@pytest.fixture
def colours(tmp_path):
    """JPEGs of red and of blue, in turn; how green one is tells its group of four."""
    folder = tmp_path / "colours"
    folder.mkdir()
    generator = np.random.default_rng(5)
    for number in range(IMAGES):
        pixels = generator.integers(0, 40, (80, 70, 3), np.uint8)
        pixels[..., 1] += np.uint8(50 * (number // 2 % 4))
        pixels[..., 2 * (number % 2)] += 100
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG")
        (folder / f"{number:03}.jpg").write_bytes(file.getvalue())
    return folder


def by_colour(pixels, side):
    """Scores of what answers by the stronger of red and blue."""
    scores = np.zeros((len(pixels), 1000), np.float32)
    scores[:, RED], scores[:, BLUE] = (pixels[..., channel].mean((1, 2)) for channel in (0, 2))
    return scores


def by_group(pixels, side):
    """As above, but that one group wants another mean, and one wants whole pixels."""
    groups = np.rint((pixels[..., 1].mean((1, 2)) - 20) / 50)
    whole = np.array_equal(pixels, np.rint(pixels))
    known = np.isin(groups, ALWAYS_RIGHT)
    known |= np.isin(groups, WANTS_MEAN) & (side.mean[0] == 127.5)
    known |= np.isin(groups, WANTS_WHOLE) & whole
    return by_colour(pixels, side) * known[:, None]


@pytest.fixture
def explained(small, colours, tmp_path, monkeypatch):
    """Explain the answers of a function; ``built`` says for what something that answers was."""

    def run(answer=by_colour, labels=LABELS, files=None, **options):
        def predictor_of(files, side, device):
            run.built.append((side.runs, side.weights))
            return answer

        run.built = []
        monkeypatch.setattr(batch, "predictor_of", predictor_of)
        write_labels(colours, labels)
        options = {"stated": 100.0, "workers": 0, "explain": True, **options}
        options.setdefault("journal", tmp_path / "journal")
        files = files or {"checkpoint": small[1]}
        found = evaluate(colours, **files, labels=colours / "labels.csv", **options)
        return evaluation_report(found)

    return run


def change_of(report, topic):
    return next(one for one in report["explanation"]["changes"] if one["topic"] == topic)


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
            "+50.00 and preprocessing (Pillow's for the authors') +25.00, together +75.00: "
            in (told["sentence"])
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


class TestCost:
    def test_sides_that_differ_in_pixels_or_mean_share_a_network(self, explained):
        report = explained()
        assert len(report["explanation"]["changes"]) > 12
        assert explained.built == [("checkpoint", None)]

    def test_an_image_is_decoded_once_by_each_decoder(self, explained, monkeypatch):
        counts = dict.fromkeys(steps.DECODERS, 0)

        def counted(name, decode):
            def run(data):
                counts[name] += 1
                return decode(data)

            return run

        decoders = {name: counted(name, decode) for name, decode in steps.DECODERS.items()}
        monkeypatch.setattr(steps, "DECODERS", decoders)
        explained()
        assert counts == dict.fromkeys(steps.DECODERS, IMAGES)


class TestAnImageThatOneDecoderRefuses:
    @pytest.fixture
    def pillow_refuses(self, monkeypatch, colours):
        refused = (colours / "007.jpg").read_bytes()

        def decode(data):
            if data == refused:
                raise BadExample("refused")
            return kept(data)

        kept = steps.DECODERS["pillow"]
        monkeypatch.setitem(steps.DECODERS, "pillow", decode)

    def test_is_left_out_of_that_change_alone(self, pillow_refuses, explained):
        report = explained(labels=LABELS[::-1])
        assert (report["data"]["used"], report["data"]["failed"]) == (IMAGES, [])
        of = {one["change"]: one["of"] for one in report["explanation"]["changes"]}
        assert of["Pillow's decoder for TensorFlow's fast DCT"] == IMAGES - 1
        assert of["Pillow's for the authors'"] == IMAGES - 1
        assert of["TensorFlow's accurate DCT for TensorFlow's fast DCT"] == IMAGES

    def test_stops_a_run_that_goes_by_it(self, pillow_refuses, explained):
        with pytest.raises(BadExample, match=r"007.jpg: refused"):
            explained(preprocessing="pillow")


def test_the_text_fits_in_80_columns_and_the_data_their_schema(
    explained, tmp_path, capsys, monkeypatch
):
    monkeypatch.setenv("COLUMNS", "80")
    report = explained(by_group)
    print_evaluation(report)
    lines = capsys.readouterr().out.splitlines()
    assert max(len(line) for line in lines if str(tmp_path) not in line) <= 80
    said = " ".join(" ".join(lines).split())
    assert "left out weights: other weights would come from the source: give it with" in said
    assert report["explanation"]["sentence"] in said
    assert "channel order BGR for RGB" in said
    write_report(report, tmp_path / "report.json")
    assert read_report(tmp_path / "report.json", EVALUATION) == report


def test_without_it_there_is_none_and_its_journal_is_another_ones(explained):
    assert explained(explain=False)["explanation"] is None
    with pytest.raises(BadInput, match="is the journal of another evaluation: changes"):
        explained()
