"""What ``make accuracy`` asks of the other commands."""

from __future__ import annotations

import json
import subprocess

import pytest

from porting.accuracy import reproduce


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """The words that each command gets."""

    def run(command, **_):
        commands.append(command[3:])  # behind python -m porting
        return subprocess.CompletedProcess(command, 0, json.dumps({"weights": "out/net-1.pth"}))

    def of(*words):
        commands.clear()
        source = tmp_path / "source.tflite"
        source.touch()
        with pytest.raises(SystemExit) as ended:
            reproduce.main(["data", str(source), *words])
        assert ended.value.code == 0
        return commands

    commands = []
    monkeypatch.setattr(subprocess, "run", run)
    return of


def test_what_chooses_a_network_is_for_port_and_judge(asked):
    port, evaluate = asked("--weights", "raw", "--stated", "60", "--model", "net")
    assert port[0] == "port" and evaluate[0] == "evaluate"
    assert port[-4:] == ["--weights", "raw", "--model", "net"]
    assert "--stated" not in port
    assert evaluate[-6:] == ["--weights", "raw", "--model", "net", "--stated", "60"]


def test_reports_of_what_is_asked_otherwise_lie_beside(asked):
    def reports(*words):
        evaluate = asked(*words)[1]
        return evaluate[evaluate.index("--json") + 1], evaluate[evaluate.index("--report") + 1]

    plain = reports()
    assert plain == (
        "checkpoints/reports/net-1-on-data.json",
        "checkpoints/reports/net-1-on-data.html",
    )
    assert reports("--labels", "file") == plain
    assert reports("--explain") == reports("--explain") != plain
    assert reports("--explain") != reports("--preprocessing", "pillow")
