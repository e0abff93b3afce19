"""A comparison as JSON: by its schema, and back."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import jsonschema
import pytest

from genmobilenet import get_config
from parity_tests.building.tflite_networks import network_file
from porting.diff import diff
from porting.errors import BadInput, OutputError
from porting.parity import verify
from porting.plain_json import encoded
from porting.reports.comparison import diff_json, print_diff
from porting.reports.documents import page, read_report, schema, write_page, write_report
from porting.sources import open_source
from porting.subject import subject_from_module

MODEL = "tf_mnasnet_small"
STEPS = {"act1": 0.5, "classifier": 0.125}


@pytest.fixture(scope="module")
def sides(tmp_path_factory):
    import porting
    from genmobilenet.factory import build

    path = tmp_path_factory.mktemp("report") / "small.tflite"
    path.write_bytes(network_file(get_config(MODEL), weights="int8"))
    port = porting.port(path, MODEL, verify=False)
    source = open_source(path)
    return source, subject_from_module(source, build(port.config, port.state_dict), MODEL)


class InSteps:
    """A judge that holds two of its taps in integers."""

    def __init__(self, judge):
        self.judge = judge

    def run(self, inputs, taps):
        return replace(self.judge.run(inputs, taps), steps=STEPS)


@pytest.fixture(scope="module")
def compared(sides):
    return diff(*sides, count=2)


@pytest.fixture(scope="module")
def data(compared):
    return diff_json(compared)


def test_it_keeps_to_its_schema(data):
    jsonschema.Draft202012Validator.check_schema(schema())
    jsonschema.validate(data, schema())
    assert data["agrees"] is True
    assert len(data["taps"]) > 50
    assert len(data["inputs"]["thumbnails"]) == 2


def test_a_run_with_quantised_weights_alone_has_no_steps(compared, data, capsys):
    quantised = data["quantised"]
    assert quantised["judge"] in ("LiteRT", "tflite-runtime")
    assert data["judge"]["name"].endswith("on dequantised weights")
    logits = next(tap for tap in quantised["taps"] if tap["tap"] == "classifier")
    assert 0 < logits["relative"] < 1
    assert (logits["step"], logits["steps"], logits["mean_steps"]) == (None, None, None)
    print_diff(compared)
    said = " ".join(capsys.readouterr().out.split())
    assert f"classifier within {logits['relative']:.2g} of its scale, the worst is" in said


def test_a_tap_in_integers_is_in_steps_of_its_own_tensor(sides, monkeypatch, capsys):
    real = verify.judges_of

    def with_steps(source, match):
        judge_set = real(source, match)
        in_float, as_is = judge_set.judges
        return replace(judge_set, judges=(in_float, replace(as_is, judge=InSteps(as_is.judge))))

    monkeypatch.setattr(verify, "judges_of", with_steps)
    compared = diff(*sides, count=1)
    data = diff_json(compared)
    jsonschema.validate(data, schema())
    taps = {tap["tap"]: tap for tap in data["quantised"]["taps"]}
    for tap, step in STEPS.items():
        assert taps[tap]["step"] == step
        assert taps[tap]["steps"] == pytest.approx(taps[tap]["max_abs"] / step)
        assert 0 < taps[tap]["mean_steps"] < taps[tap]["steps"]
    assert sum(tap["step"] is not None for tap in taps.values()) == 2
    print_diff(compared)
    said = " ".join(capsys.readouterr().out.split())
    assert f"classifier within {taps['classifier']['steps']:.1f} quantisation steps" in said


def test_there_and_back(data, tmp_path):
    write_report(data, tmp_path / "deep" / "r.json")
    assert read_report(tmp_path / "deep" / "r.json") == data
    write_page(read_report(tmp_path / "deep" / "r.json"), tmp_path / "r.html")
    assert (tmp_path / "r.html").read_text(encoding="utf-8") == page(data)
    assert (tmp_path / "r.html").stat().st_size < 6_000_000


def test_numbers_that_json_does_not_have():
    coded = encoded({"a": [math.inf, -math.inf, math.nan, 1.5]})
    assert coded == {"a": ["Infinity", "-Infinity", "NaN", 1.5]}
    json.dumps(coded, allow_nan=False)
    assert float(coded["a"][0]) == math.inf


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not a readable report"),
        ("[]", "not a report of `porting diff --json` or `porting evaluate --json`"),
        ('{"schema": "genmobilenet.comparison", "version": 1}', "a report of version 1"),
        ('{"schema": "genmobilenet.comparison", "version": 2}', "a report of version 2"),
        (
            '{"schema": "genmobilenet.comparison", "version": 3}',
            "the report: 'agrees' is",
        ),
    ],
)
def test_other_files_are_refused(tmp_path, text, message):
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(BadInput, match=message):
        read_report(tmp_path / "r.json")
    with pytest.raises(BadInput, match="no such file"):
        read_report(tmp_path / "absent.json")


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("judge",), None, "judge: None is not of type 'object'"),
        (("agrees",), "yes", "agrees: 'yes' is not of type 'boolean'"),
        (("taps",), {}, r"taps: \{\} is not of type 'array'"),
        (("taps", 3, "accumulated", "max_abs"), [], r"taps\[3\].accumulated.max_abs: \[\] is not"),
        (("weights", "keys"), None, "weights.keys: None is not of type"),
        (("taps", 0, "depth"), True, r"taps\[0\].depth: True is not of type 'integer'"),
        (("inputs", "convention", "mean"), None, "inputs.convention.mean: None is not of type"),
        (("source",), {}, "source: 'file' is a required property"),
        (("quantised",), 5, "quantised: 5 is not valid"),
        (("versions", "torch"), 2, "versions.torch: 2 is not of type 'string'"),
    ],
)
def test_fields_of_another_type_are_refused(data, tmp_path, place, value, message):
    changed = json.loads(json.dumps(data))
    inner = changed
    for part in place[:-1]:
        inner = inner[part]
    inner[place[-1]] = value
    write_report(changed, tmp_path / "r.json")
    with pytest.raises(BadInput, match=f"r.json: {message}"):
        read_report(tmp_path / "r.json")


def test_a_report_from_before_the_plan_was_kept_is_read(data, tmp_path):
    write_report({k: v for k, v in data.items() if k != "plan"}, tmp_path / "r.json")
    assert "plan" not in read_report(tmp_path / "r.json")


def test_a_report_from_before_weights_were_compared_is_read(data, tmp_path):
    assert data["weights"]["agrees"] is True
    write_report({k: v for k, v in data.items() if k != "weights"}, tmp_path / "r.json")
    read = read_report(tmp_path / "r.json")
    assert "weights" not in read
    page(read)


def test_a_path_that_cannot_be_written(data, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        write_page(data, tmp_path / "file" / "r.html")


def test_the_page_names_no_host(data):
    text = page(data)
    own = text.replace("http://www.w3.org", "").partition('<script type="application/json"')[0]
    assert "http" not in own.replace("Content-Security-Policy", "").replace("http-equiv", "")
