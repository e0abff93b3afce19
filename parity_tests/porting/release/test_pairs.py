"""Which ported file came from which source: what `make parity` compares."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest

import porting
from porting.release.pairs import pairs


@pytest.fixture
def ported(small, tmp_path):
    """A folder with one ported file, whose card remembers nothing of where its source lay."""
    folder = tmp_path / "ported"
    shutil.copytree(small[1].parent, folder)
    [card] = folder.glob("*.json")
    data = json.loads(card.read_text())
    del data["source"]["lay_at"]
    card.write_text(json.dumps(data))
    return folder


def run(*words):
    return subprocess.run(
        [sys.executable, "-m", "porting.release.pairs", *map(str, words)],
        capture_output=True, text=True, check=False, env=dict(os.environ),
    )  # fmt: skip


def test_a_source_is_found_by_its_checksum(small, ported, tmp_path):
    [(source, weights)] = pairs(ported, [small[0].parent])
    assert porting.open_source(source).path == small[0]
    assert weights.name == small[1].name
    (tmp_path / "empty").mkdir()
    assert list(pairs(ported, [tmp_path / "empty"])) == [(None, weights)]


def test_a_card_remembers_where_its_source_lay(small, tmp_path):
    assert list(pairs(small[1].parent, [])) == [small]
    shutil.copytree(small[1].parent, tmp_path / "ported")
    [card] = (tmp_path / "ported").glob("*.json")
    data = json.loads(card.read_text())
    (tmp_path / "other.tflite").write_bytes(b"something else")
    data["source"]["lay_at"] = str(tmp_path / "other.tflite")
    card.write_text(json.dumps(data))
    assert [found for found, _ in pairs(tmp_path / "ported", [])] == [None]


def test_a_source_that_is_nowhere_fails_after_the_others(small, ported, tmp_path):
    [weights] = ported.glob("*.pth")
    lost = ported / "lost.pth"
    shutil.copy(weights, lost)
    done = run(ported, small[0])
    assert done.stdout == f"{small[0]}\t{weights}\n"
    assert f"{lost}: its source is neither where it lay nor in the folders given" in done.stderr
    assert "1 of 2 ported files cannot be compared" in done.stderr
    assert done.returncode == 2
    assert run(tmp_path / "absent").returncode == 2


def test_what_was_ported_onto_a_module_is_left_out(ported, small):
    [card] = ported.glob("*.json")
    card.write_text(json.dumps(json.loads(card.read_text()) | {"onto": "mine:Net"}))
    done = run(ported, small[0])
    assert (done.returncode, done.stdout) == (0, "")
    assert "--onto MODULE (mine:Net)" in done.stderr
