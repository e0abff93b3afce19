"""The list of published sources: as a table, as lines, as JSON."""

from __future__ import annotations

import json
import re
import sys
from types import SimpleNamespace

import pytest

from parity_tests.building.command import porting
from porting.catalog import CATALOG
from porting.catalog.published import find_entries
from porting.reports.sources import list_sources, print_sources

MIB = 1 << 20


@pytest.fixture
def folder(tmp_path):
    """One source whole, one in part, and what is neither."""
    (tmp_path / "mnasnet_1.0_224_09_07_2018.tgz").write_bytes(bytes(3 * MIB))
    (tmp_path / "mnasnet-a1.tgz.part").write_bytes(bytes(MIB // 2))
    (tmp_path / "mnasnet-a1-050.tgz.refused").write_bytes(b"x")
    return tmp_path


def on_a_terminal(monkeypatch, capsys, entries, folder, columns=80):
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(isatty=lambda: True, write=sys.stdout.write,
                                                       flush=sys.stdout.flush))  # fmt: skip
    print_sources(list_sources(entries, folder))
    return re.sub(r"\x1b\[\d*m", "", capsys.readouterr().out).splitlines()


def test_a_table_by_networks(monkeypatch, capsys, folder):
    lines = on_a_terminal(monkeypatch, capsys, find_entries(None, None), folder)
    assert max(map(len, lines[:-1])) <= 80
    assert lines[0].split() == ["name", "format", "px", "top-1/top-5", "on", "disk"]
    first = lines.index("tf_mnasnet_100") + 1
    assert lines[first].split() == ["mnasnet_1.0_224", "tflite", "224", "74.08/91.75", "yes",
                                    "3.0", "MiB"]  # fmt: skip
    [a1] = [line for line in lines if line.startswith(" mnasnet-a1 ")]
    assert a1.split()[3:] == ["75.2/92.5", "partial", "0.5", "MiB"]
    [a1] = [line for line in lines if line.startswith(" mnasnet-a1-050 ")]
    assert a1.split()[3:] == ["68.9/88.4", "no"]
    assert lines[-1] == f"141 published, 1 in {folder}, 3.0 MiB"
    names = {line.split()[0] for line in lines[1:] if line.startswith(" ")}
    assert names == set(CATALOG)


def test_the_widest_that_there_can_be_fits(monkeypatch, capsys, folder):
    (folder / "v3-large-minimalistic_224_1.0_uint8.tgz.part").write_bytes(bytes(99 * MIB))
    lines = on_a_terminal(monkeypatch, capsys, find_entries(None, None), folder)
    assert any(line.endswith("partial 99.0 MiB") for line in lines)
    assert max(map(len, lines[:-1])) <= 80


def test_a_network_is_listed_once(monkeypatch, capsys, folder):
    lines = on_a_terminal(monkeypatch, capsys, find_entries("mobilenetv2_1", None), folder)
    headings = [line for line in lines if line.startswith("tf_")]
    assert headings == ["tf_mobilenetv2_140", "tf_mobilenetv2_130", "tf_mobilenetv2_100"]


def test_lines_where_there_is_no_terminal(folder):
    result = porting("sources", "mnasnet_1.0", "--folder", folder)
    assert result.stdout.splitlines()[:2] == [
        "mnasnet_1.0_224\ttf_mnasnet_100\ttflite\t224\t74.08/91.75\tyes 3.0 MiB",
        "mnasnet_1.0_192\ttf_mnasnet_100\ttflite\t192\t72.56/90.76\tno",
    ]
    assert len(result.stdout.splitlines()) == 5


def test_json_holds_everything(folder):
    result = porting("sources", "--model", "semnasnet_100", "--folder", folder, "--json")
    data = json.loads(result.stdout)
    assert data["folder"] == str(folder)
    assert [source["size"] for source in data["sources"]] == [224, 192, 160, 128, 96]
    assert data["sources"][0] == {
        "name": "mnasnet-a1",
        "url": "https://storage.googleapis.com/cloud-tpu-checkpoints/mnasnet/mnasnet-a1.tgz",
        "model": "tf_semnasnet_100",
        "format": "checkpoint",
        "size": 224,
        "classes": 1000,
        "input": "imagenet mean and deviation",
        "top1": 75.2,
        "top5": 92.5,
        "stated_in": "tensorflow/tpu, models/official/mnasnet/README.md",
        "file": f"{folder}/mnasnet-a1.tgz",
        "on_disk": "partial",
        "bytes": MIB // 2,
    }


@pytest.mark.parametrize(
    ("pattern", "count"),
    [("V3-SMALL", 7), ("keras-v2_*_96", 4), ("mobilenetv1_025", 12), ("mnasnet_?.?_224", 3)],
)
def test_patterns(pattern, count):
    assert len(find_entries(pattern, None)) == count


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nix"], "nothing is published like 'nix'; porting sources lists all"),
        (["v3", "--model", "mnasnet_100"], "nothing is published like 'v3' and of mnasnet_100"),
        (["--model", "mnasnet_140"], "nothing is published of mnasnet_140"),
        (["--model", "fbnetc_100"], "fbnetc_100 has no TensorFlow form"),
        (["--model", "resnet"], "no network is called 'resnet'"),
    ],
)
def test_nothing_to_list(words, message):
    result = porting("sources", *words)
    assert result.returncode == 2
    assert message in result.stderr
