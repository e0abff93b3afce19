"""The options that ``porting reproduce`` passes to the port and to ``porting evaluate``."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

import porting.api
import porting.release
from porting.cli import app


@pytest.fixture
def requested(monkeypatch, tmp_path):
    """The options of the port, and the words that the evaluation gets."""

    def port(path, model, **options):
        calls.append({"path": path, "model": model, **options})

    def replace_process(_, words):
        calls.append(words[3:])  # after python -m porting

    def of(*words, status=0):
        calls.clear()
        source = tmp_path / "source.tflite"
        source.touch()
        result = CliRunner().invoke(app, ["reproduce", "data", str(source), *words])
        assert result.exit_code == status, result.output
        return calls

    calls = []
    release = SimpleNamespace(weights=Path("out/net-1.pth"))
    monkeypatch.setattr(porting.api, "port", port)
    monkeypatch.setattr(porting.release, "write_release", lambda *_: release)
    monkeypatch.setattr(os, "execv", replace_process)
    return of


def test_what_chooses_a_network_is_for_port_and_judge(requested):
    port, evaluate = requested("--weights", "raw", "--stated", "60", "--model", "net")
    assert (port["weights"], port["model"]) == ("raw", "net")
    assert evaluate[0] == "evaluate"
    assert evaluate[-6:] == ["--model", "net", "--weights", "raw", "--stated", "60"]


def test_reports_of_what_is_asked_otherwise_lie_beside(requested):
    def reports(*words):
        evaluate = requested(*words)[1]
        return evaluate[evaluate.index("--json") + 1], evaluate[evaluate.index("--report") + 1]

    plain = reports()
    assert plain == (
        "checkpoints/reports/net-1-on-data.json",
        "checkpoints/reports/net-1-on-data.html",
    )
    assert reports("--labels", "file") == plain
    assert reports("--explain") == reports("--explain") != plain
    assert reports("--explain") != reports("--preprocessing", "pillow")


def test_further_options_come_last(requested, monkeypatch):
    result = CliRunner().invoke(app, ["reproduce", "--stated", "60", "data", "source"])
    assert result.exit_code == 1
    assert "options of porting evaluate go behind DATA SOURCE" in str(result.exception)
