"""A comparison as JSON: by its schema, and back."""

from __future__ import annotations

import json
import math

import jsonschema
import pytest

from genmobilenet import get_config
from parity_tests.building.tflite_networks import network_file
from porting.diff import diff
from porting.errors import BadInput, OutputError
from porting.reports.comparison import (
    comparison_report,
    encoded,
    read_report,
    schema,
    write_report,
)
from porting.reports.html import page, write_page
from porting.sources import open_source
from porting.subject import subject_from_module


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    import porting

    path = tmp_path_factory.mktemp("report") / "small.tflite"
    path.write_bytes(network_file(get_config("tf_mnasnet_small"), weights="int8"))
    from genmobilenet.factory import build

    port = porting.port(path, verify=False)
    source = open_source(path)
    subject = subject_from_module(source, build(port.config, port.state_dict))
    return comparison_report(diff(source, subject, count=2))


def test_it_keeps_to_its_schema(data):
    jsonschema.Draft202012Validator.check_schema(schema())
    jsonschema.validate(data, schema())
    assert data["agrees"] is True
    assert len(data["taps"]) > 50
    assert len(data["inputs"]["thumbnails"]) == 2


def test_a_quantised_run_is_in_steps(data):
    quantised = data["quantised"]
    assert quantised["judge"] in ("LiteRT", "tflite-runtime")
    assert data["judge"]["name"].endswith("on dequantised weights")
    logits = next(tap for tap in quantised["taps"] if tap["tap"] == "classifier")
    assert logits["steps"] == pytest.approx(logits["max_abs"] / logits["step"])
    assert 0 < logits["steps"] < 255


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
        ("[]", "not a report of `porting diff --json`"),
        ('{"schema": "genmobilenet.comparison", "version": 2}', "a report of version 2"),
        ('{"schema": "genmobilenet.comparison", "version": 1}', "a report without agrees, culprit"),
    ],
)
def test_other_files_are_refused(tmp_path, text, message):
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(BadInput, match=message):
        read_report(tmp_path / "r.json")
    with pytest.raises(BadInput, match="no such file"):
        read_report(tmp_path / "absent.json")


def test_a_path_that_cannot_be_written(data, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        write_page(data, tmp_path / "file" / "r.html")


def test_the_page_names_no_host(data):
    text = page(data)
    own = text.replace("http://www.w3.org", "").partition('<script type="application/json"')[0]
    assert "http" not in own.replace("Content-Security-Policy", "").replace("http-equiv", "")
