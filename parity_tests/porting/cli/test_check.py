"""All ports of a folder against their sources, which are found by their checksums."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from xml.etree import ElementTree

import pytest

import porting
from parity_tests.building.command import porting as run
from porting.card import read_card
from porting.cli.check import find_sources
from porting.cli.processes import Outcome, junit_xml
from porting.errors import BadInput
from porting.sha256 import sha256_of


@pytest.fixture
def ported(small, tmp_path, monkeypatch):
    """A folder with one ported file, whose card remembers nothing of where its source lay."""
    folder = tmp_path / "ported"
    shutil.copytree(small[1].parent, folder)
    change_card(folder, lambda card: card["source"].pop("lay_at"))
    monkeypatch.chdir(tmp_path)
    return folder


def change_card(folder, change):
    [card] = folder.glob("*.json")
    data = json.loads(card.read_text())
    change(data)
    card.write_text(json.dumps(data))


def sources_of(folder, *folders):
    cards = {file: read_card(file, sha256_of(file)) for file in sorted(folder.glob("*.pth"))}
    return find_sources(cards, folders)


def check(*words):
    return run("check", *words, "--jobs", 1)


def test_a_source_is_found_by_its_checksum(small, ported, tmp_path):
    [(weights, source)] = sources_of(ported, small[0].parent).items()
    assert porting.open_source(source).path == small[0]
    assert weights.name == small[1].name
    (tmp_path / "empty").mkdir()
    assert sources_of(ported, tmp_path / "empty", Path("checkpoints/google")) == {weights: None}
    with pytest.raises(BadInput, match="absent: no such folder"):
        sources_of(ported, tmp_path / "absent")


def test_a_card_remembers_where_its_source_lay(small, tmp_path):
    assert sources_of(small[1].parent) == {small[1]: small[0]}
    shutil.copytree(small[1].parent, tmp_path / "ported")
    (tmp_path / "other.tflite").write_bytes(b"something else")
    other = str(tmp_path / "other.tflite")
    change_card(tmp_path / "ported", lambda card: card["source"].update(lay_at=other))
    assert list(sources_of(tmp_path / "ported").values()) == [None]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (None, "source is null, expected an object"),
        ([], "source is [], expected an object"),
        ({"sha256": [], "lay_at": 5}, "source.file is null"),
    ],
)
def test_a_damaged_card_is_one_ports_outcome(small, ported, tmp_path, source, message):
    [weights] = ported.glob("*.pth")
    shutil.copy(weights, ported / "lost.pth")
    change_card(ported, lambda card: card.update(source=source))
    result = check(ported, "--source", small[0], "--reports", tmp_path / "reports", "--json")
    assert result.returncode == 2
    texts = [outcome["text"] for outcome in json.loads(result.stdout)["outcomes"]]
    assert texts[1] == f"{weights.with_suffix('.json')}: not a card of porting port: {message}"
    assert texts[0].startswith("its source is neither where it lay")


def test_each_is_compared_and_a_source_that_is_nowhere_is_said(small, ported, tmp_path):
    [weights] = ported.glob("*.pth")
    lost = ported / "lost.pth"
    shutil.copy(weights, lost)
    result = check(ported, "--source", small[0], "--reports", tmp_path / "reports")
    text = " ".join(result.stdout.split())
    page = tmp_path / "reports" / f"{weights.stem}.html"
    assert f"at parity {weights}: {page}: at parity with LiteRT" in text
    assert f"not compared {lost}: its source is neither where it lay nor in the folders" in text
    assert result.stdout.splitlines()[-1] == "1 at parity, 0 not at parity, 1 not compared"
    assert result.returncode == 2
    assert page.is_file()
    assert json.loads(page.with_suffix(".json").read_text())["agrees"] is True


def test_one_that_disagrees_gives_the_exit_code(small, ported, faulty, tmp_path):
    [weights] = ported.glob("*.pth")
    weights.write_bytes(faulty.read_bytes())
    digest = sha256_of(weights)
    change_card(ported, lambda card: card["weights"].update(sha256=digest))
    shutil.copy(weights, ported / "lost.pth")
    words = [ported, "--source", small[0], "--reports", tmp_path / "reports", "--json"]
    result = check(*words, "--junit", tmp_path / "junit.xml")
    assert result.returncode == 1
    data = json.loads(result.stdout)
    assert data["counts"] == {"at parity": 0, "not at parity": 1, "not compared": 1}
    [outcome] = [o for o in data["outcomes"] if o["code"] == 1]
    assert "the error is born at" in outcome["text"]
    suite = ElementTree.parse(tmp_path / "junit.xml").getroot()
    assert {name: suite.get(name) for name in ("tests", "failures", "errors")} == {
        "tests": "2", "failures": "1", "errors": "1",
    }  # fmt: skip
    cases = {case.get("name"): [(part.tag, part.get("message")) for part in case] for case in suite}
    assert cases[str(weights)] == [("failure", outcome["text"])]
    assert cases[str(ported / "lost.pth")][0][0] == "error"


def test_junit_escapes_what_xml_cannot_hold():
    text = junit_xml(
        [Outcome(Path("a\x1b.pth"), 2, "<damaged>\x00"), Outcome(Path("b"), 0, "fine")]
    )
    first, second = ElementTree.fromstring(text)
    assert first.get("name") == "a\\x1b.pth"
    assert first[0].get("message") == "<damaged>\\x00"
    assert len(second) == 0


def test_what_was_ported_onto_a_module_is_left_out(ported, small, tmp_path):
    change_card(ported, lambda card: card.update(onto="mine:Net"))
    result = check(ported, "--source", small[0], "--reports", tmp_path / "reports")
    assert (result.returncode, result.stdout) == (
        0,
        "0 at parity, 0 not at parity, 0 not compared\n",
    )
    assert "--onto MODULE (mine:Net)" in result.stderr


def test_a_folder_without_ports(tmp_path):
    result = check(tmp_path / "absent")
    assert result.returncode == 2
    assert result.stderr.endswith("absent: no ported file in it; port something first\n")
