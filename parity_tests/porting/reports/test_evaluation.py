"""An invented evaluation as text and as JSON."""

from __future__ import annotations

import copy
import json

import jsonschema
import pytest

from parity_tests.building.browsing import PIXEL
from parity_tests.building.command import porting
from parity_tests.building.comparisons import report_of
from parity_tests.building.evaluations import (
    HOSTILE,
    PIPELINE,
    differing_image,
    evaluation_data,
    evaluation_of,
    explanation_data,
    side_of,
)
from porting.errors import BadInput
from porting.reports.documents import (
    EVALUATION,
    LISTED_IMAGES,
    page,
    read_report,
    read_together,
    schema,
    write_report,
)
from porting.reports.evaluation import print_evaluation

IMAGES = [differing_image(n, PIXEL, called=HOSTILE) for n in range(LISTED_IMAGES + 1)]
FAILED = ["a.jpg", "b.jpg"]
WHOLE = evaluation_data(IMAGES, failed=FAILED, explanation=explanation_data())
"""With something under every key."""


@pytest.fixture
def said(capsys, monkeypatch):
    """What is printed of a report at 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")

    def lines(report):
        print_evaluation(report)
        return capsys.readouterr().out.splitlines()

    return lines


def test_the_schema_knows_every_key():
    jsonschema.Draft202012Validator.check_schema(schema(EVALUATION))
    jsonschema.validate(WHOLE, schema(EVALUATION))
    without = {key: value for key, value in WHOLE.items() if key != "explanation"}
    jsonschema.validate(without, schema(EVALUATION))
    quantised = evaluation_data([differing_image(0, quantised=True)])
    jsonschema.validate(quantised, schema(EVALUATION))


def test_what_earlier_versions_wrote_is_read(tmp_path):
    """They say neither whether the two agree, nor anything of quantisation."""
    data = copy.deepcopy(WHOLE)
    del data["verdict"]["agrees"], data["agreement"]["quantisation"]
    for image in data["agreement"]["differing"]:
        del image["by_quantisation"]
    jsonschema.validate(data, schema(EVALUATION))
    write_report(data, tmp_path / "e.json")
    assert read_report(tmp_path / "e.json") == data


def test_there_and_back(tmp_path):
    write_report(WHOLE, tmp_path / "e.json")
    assert read_report(tmp_path / "e.json") == WHOLE


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("version",), 1, "a report of version 1; version 2 is read"),
        (("verdict", "differs"), "no", "verdict.differs: 'no' is not of type 'boolean'"),
        (("verdict", "agrees"), 1, "verdict.agrees: 1 is not of type 'boolean', 'null'"),
        (("agreement",), 5, "agreement: 5 is not valid"),
        (
            ("agreement", "differing", 1, "thumbnail"),
            7,
            r"differing\[1\].thumbnail: 7 is not",
        ),
        (
            ("agreement", "differing", 1, "port"),
            {},
            r"agreement.differing\[1\].port: 'answer' is a required",
        ),
        (
            ("sides", "port", "top1", "low"),
            None,
            "sides.port.top1.low: None is not of type",
        ),
        (("data", "failed", 0), "a.jpg", r"data.failed\[0\]: 'a.jpg' is not of type 'object'"),
        (("explanation", "changes", 2, "p"), "x", r"explanation.changes\[2\].p: 'x' is not"),
        (("made_from", "source"), {}, "made_from.source: 'file' is a required"),
    ],
)
def test_fields_of_another_type_are_refused(tmp_path, place, value, message):
    changed = copy.deepcopy(WHOLE)
    inner = changed
    for part in place[:-1]:
        inner = inner[part]
    inner[place[-1]] = value
    write_report(changed, tmp_path / "e.json")
    with pytest.raises(BadInput, match=rf"e.json: \S*{message}"):
        read_report(tmp_path / "e.json")


def test_a_page_from_either_or_both(tmp_path):
    write_report(WHOLE, tmp_path / "e.json")
    write_report(report_of(3), tmp_path / "c.json")
    assert porting("report", tmp_path / "e.json").returncode == 0
    assert (tmp_path / "e.html").read_text(encoding="utf-8") == page(WHOLE)
    both = ("--evaluation", tmp_path / "e.json", "--out", tmp_path / "both.html")
    assert porting("report", tmp_path / "c.json", *both).returncode == 0
    text = (tmp_path / "both.html").read_text(encoding="utf-8")
    assert text == page(report_of(3), WHOLE)
    result = porting("report", tmp_path / "e.json", *both)
    assert result.returncode == 2
    assert "e.json: not a report of `porting diff --json`" in " ".join(result.stderr.split())


def test_an_evaluation_of_something_else_is_refused(tmp_path):
    comparison = report_of(3)
    write_report(comparison, tmp_path / "c.json")
    for what, names in (("source", "source"), ("checkpoint", "network")):
        other = copy.deepcopy(WHOLE)
        other["made_from"][what]["sha256"] = "5" * 64
        write_report(other, tmp_path / "e.json")
        with pytest.raises(BadInput, match=rf"evaluates the {names} net\.\w+ \(SHA-256 5555"):
            read_together(tmp_path / "c.json", tmp_path / "e.json")
        del other["made_from"][what]
        write_report(other, tmp_path / "e.json")
        with pytest.raises(BadInput, match=f"e.json: evaluates no {names}; .*c.json: compares"):
            read_together(tmp_path / "c.json", tmp_path / "e.json")
    write_report(WHOLE, tmp_path / "e.json")
    in_memory = copy.deepcopy(comparison)
    in_memory["subject"] |= {"file": None, "sha256": None}
    write_report(in_memory, tmp_path / "m.json")
    with pytest.raises(BadInput, match=r"m\.json: compares a network that was in memory"):
        read_together(tmp_path / "m.json", tmp_path / "e.json")
    assert read_together(tmp_path / "c.json", tmp_path / "e.json") == (comparison, WHOLE)
    with pytest.raises(BadInput, match=r"e.json: not a report of `porting diff --json`"):
        read_together(tmp_path / "e.json", tmp_path / "c.json")


def test_names_end_no_script_and_take_no_place():
    text = page(evaluation_data([differing_image(0, called=HOSTILE)]))
    assert "<img src=x" not in text
    assert text.count('<script type="application/json"') == 1
    hostile = copy.deepcopy(WHOLE)
    hostile["made_from"]["checkpoint"]["file"] = "{{script}}"
    title = page(hostile).partition("</title>")[0]
    assert title.endswith("<title>{{script}}: 61 of 80 answers differ")
    assert json.loads(page(hostile).partition('id="data">')[2].partition("</script>")[0])


def test_text_fits_80_columns_and_says_no_pipeline_twice(said):
    lines = said(evaluation_of(IMAGES, failed=FAILED))
    assert max(map(len, lines)) <= 80
    words = " ".join(" ".join(lines).split())
    assert words.count(PIPELINE) == 1
    assert f"as its authors made them: {PIPELINE}" in words
    other = said(evaluation_of(sides=(side_of("port", 7, 80, "decode pillow"),)))
    words = " ".join(" ".join(other).split())
    assert f"of image files, as its authors have it: {PIPELINE} pixels decode pillow" in words


def test_text_lists_ten_images_and_counts_the_others(said):
    lines = said(evaluation_of([differing_image(n) for n in range(12)], failed=["a.jpg"]))
    at = next(number for number, line in enumerate(lines) if line.startswith("differ"))
    assert lines[at].split() == ["differ", "000.jpg,", "tench:"]
    assert lines[at + 1].strip() == "judge tench by 1.25, port sleeping bag by 0.0824"
    assert lines[at + 20].strip() == "and 2 more"
    assert "left out      a.jpg: cut short" in lines
    tie = said(evaluation_of([differing_image(0, near_tie=True)]))
    assert any(line.endswith("by 0.0824; a near tie") for line in tie)
    quantised = said(evaluation_of([differing_image(0, quantised=True)]))
    assert "sleeping bag by 0.0824; by quantisation" in " ".join(" ".join(quantised).split())


def test_answers_stay_under_their_image(said):
    lines = said(evaluation_of([differing_image(0, called="flat-coated retriever, long")]))
    at = next(number for number, line in enumerate(lines) if line.startswith("differ"))
    first, second = lines[at + 1 : at + 3]
    assert first.startswith(" " * 16 + "judge flat-coated")
    assert second == " " * 16 + "0.0824"
