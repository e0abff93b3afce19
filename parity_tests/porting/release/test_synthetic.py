"""A synthetic source is recognised, whatever its files are called."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from genmobilenet import get_config
from parity_tests.building.checkpoints import variables, with_averages
from parity_tests.building.tables import write_checkpoint
from parity_tests.building.tflite_networks import network_file
from porting.api import port
from porting.release import is_synthetic
from porting.sources import open_source

MODEL = "tf_mnasnet_small"

MARKS = ("synthetic", "rehearsal")
"""The mark of today and that of earlier versions."""


@pytest.fixture
def plain(tmp_path):
    path = tmp_path / "deep" / "er" / "plain.tflite"
    path.parent.mkdir(parents=True)
    path.write_bytes(network_file(get_config(MODEL)))
    return path


def test_a_real_file_is_none(plain):
    assert not is_synthetic(open_source(plain))


@pytest.mark.parametrize("mark", MARKS)
def test_by_the_name_of_a_file(plain, mark):
    path = plain.rename(plain.with_name(f"{mark}.tflite"))
    assert is_synthetic(open_source(path))


@pytest.mark.parametrize("mark", MARKS)
def test_by_the_mark_beside_or_above(plain, mark):
    file = plain.with_name(f"{mark}.json")
    file.write_text("{}")
    assert is_synthetic(open_source(plain))
    file.rename(plain.parents[1] / file.name)
    assert is_synthetic(open_source(plain))


@pytest.mark.parametrize("mark", MARKS)
def test_by_what_the_file_itself_says(plain, mark):
    content = plain.read_bytes()
    assert content.count(b"made in a test") == 1
    plain.write_bytes(content.replace(b"made in a test", f"{mark}: abc".encode()))
    assert is_synthetic(open_source(plain))


@pytest.mark.parametrize("mark", MARKS)
def test_by_a_variable_that_is_no_weight(tmp_path, mark):
    values = with_averages(variables(MODEL, "keras", "mnasnet"))
    write_checkpoint(tmp_path / "a.ckpt", values)
    assert not is_synthetic(open_source(tmp_path / "a.ckpt"))
    write_checkpoint(tmp_path / "b.ckpt", values | {f"{mark}/global_step": np.int64(1)})
    source = open_source(tmp_path / "b.ckpt")
    assert is_synthetic(source)
    left_out = {entry.source: entry.reason for entry in port(source, verify=False).plan.left_out}
    assert left_out[f"{mark}/global_step"] == "training step"


@pytest.mark.slow
def test_synthetic_files_stay_so_when_they_are_renamed_and_moved(small_synthetic, tmp_path):
    for number, path in enumerate((small_synthetic.float, small_synthetic.dynamic)):
        moved = tmp_path / f"{number}.tflite"
        shutil.copy(path, moved)
        assert is_synthetic(open_source(moved))
    for path in small_synthetic.checkpoint.iterdir():
        name = path.name.replace("synthetic.ckpt", "model.ckpt")
        shutil.copy(path, tmp_path / name)
    assert is_synthetic(open_source(next(tmp_path.glob("*.index"))))
