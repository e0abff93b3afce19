"""Archives as Google publishes them, and messages about their members."""

from __future__ import annotations

import pytest

from genmobilenet import get_config
from parity_tests.building.archives import packed
from parity_tests.building.checkpoints import write_network
from parity_tests.building.tflite_networks import network_file
from porting.api import port
from porting.errors import BadSource
from porting.release import card_of
from porting.reports.sources import inspect_source
from porting.sources import open_source

MODEL = "tf_mnasnet_small"


@pytest.fixture
def shipped(tmp_path):
    """A checkpoint beside a SavedModel, whose variables are a checkpoint too."""
    folder = tmp_path / "in"
    (folder / "saved_model" / "variables").mkdir(parents=True)
    write_network(folder / "model.ckpt-9", MODEL)
    (folder / "checkpoint").write_text('model_checkpoint_path: "model.ckpt-9"')
    write_network(folder / "saved_model" / "variables" / "variables", MODEL)
    return folder


def test_a_saved_model_beside_the_checkpoint_is_passed_over(shipped, tmp_path):
    source = open_source(packed(shipped, tmp_path / "a1.tgz"))
    assert source.prefix.name == "model.ckpt-9"
    assert source.weight_sets == ("ema", "raw")


def test_two_real_checkpoints_are_still_refused(shipped, tmp_path):
    (shipped / "ema").mkdir()
    write_network(shipped / "ema" / "model-1", MODEL)
    with pytest.raises(BadSource, match=r"in several folders: mnasnet, mnasnet/ema; unpack"):
        open_source(packed(shipped, tmp_path / "v3.tgz"))


def test_errors_name_the_archive_and_the_member(shipped, tmp_path):
    (shipped / "model.ckpt-9.data-00000-of-00001").unlink()
    archive = packed(shipped, tmp_path / "a1.tgz")
    with pytest.raises(BadSource) as error_info:
        open_source(archive)
    assert str(error_info.value).startswith(
        f"{archive}, mnasnet/model.ckpt-9.data-00000-of-00001: no "
    )


def test_so_do_errors_that_come_later(shipped, tmp_path):
    shard = shipped / "model.ckpt-9.data-00000-of-00001"
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    archive = packed(shipped, tmp_path / "a1.tgz")
    source = open_source(archive)
    with pytest.raises(BadSource) as error_info:
        for name in source.tensors:
            source.read(name)
    assert str(error_info.value).startswith(f"{archive}, mnasnet/model.ckpt-9.data")


def test_a_tflite_file_in_an_archive_is_named_by_both(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "b.tflite").write_bytes(network_file(get_config(MODEL)))
    archive = packed(tmp_path / "in", tmp_path / "b1.tgz")
    result = port(archive, verify=False)
    assert inspect_source(result.source).to_json()["source"] == f"{archive}, mnasnet/b.tflite"
    assert card_of(result, "x.pth", "0").to_json()["source"]["lay_at"] == str(archive)
    (tmp_path / "in" / "b.tflite").write_bytes(b"\0\0\0\0TFL3" + bytes(40))
    with pytest.raises(BadSource) as error_info:
        open_source(packed(tmp_path / "in", archive))
    assert str(error_info.value).startswith(f"{archive}, mnasnet/b.tflite: damaged or cut short")
