"""Archives as Google publishes them, and messages about their members."""

from __future__ import annotations

import errno
import gzip
import tarfile
from pathlib import Path

import pytest

from genmobilenet import get_config
from parity_tests.building.archives import packed
from parity_tests.building.checkpoints import write_network
from parity_tests.building.tflite_networks import network_file
from porting.api import port
from porting.errors import BadSource, OutputError
from porting.release import card_of
from porting.reports.sources import inspect_source
from porting.sources import archive, open_source

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


def _tar_of(tmp_path, *headers):
    """A compressed archive of these header blocks, each with the bytes behind it."""
    path = tmp_path / "hostile.tgz"
    content = b"".join(block + data + b"\0" * (-len(data) % 512) for block, data in headers)
    path.write_bytes(gzip.compress(content + b"\0" * 1024))
    return path


def _header(name, size, kind=tarfile.REGTYPE):
    member = tarfile.TarInfo(name)
    member.size, member.type = size, kind
    return member.tobuf(tarfile.USTAR_FORMAT)


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE])
def test_a_name_of_a_gigabyte_is_not_read(tmp_path, kind):
    path = _tar_of(tmp_path, (_header("long", 1 << 30, kind), b"x" * 512))
    with pytest.raises(BadSource, match=r"hostile\.tgz: a header of it states 1,073,741,824 bytes"):
        open_source(path)


def test_a_sparse_member_takes_no_place_on_the_disk(tmp_path):
    block = bytearray(_header("model.tflite", 512, tarfile.GNUTYPE_SPARSE))
    block[257:265] = b"ustar  \0"
    block[386:410] = b"00000000000\0" + b"00000001000\0"  # one piece of 512 bytes
    block[483:495] = b"77777777777\0"  # of a file of 8 GiB
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    with tarfile.open(_tar_of(tmp_path, (bytes(block), b"\0\0\0\0TFL3" * 64))) as tar:
        assert next(iter(tar)).issparse()
    with pytest.raises(BadSource, match="neither a checkpoint nor a TFLite file"):
        open_source(tmp_path / "hostile.tgz")


def test_an_archive_unpacks_to_a_bounded_multiple_of_its_size(tmp_path):
    size = 200 << 20
    path = tmp_path / "bomb.tgz"
    with gzip.open(path, "wb") as stream:
        stream.write(_header("padding", size))
        for _ in range(200):
            stream.write(bytes(1 << 20))
        stream.write(bytes(1024))
    with pytest.raises(BadSource, match=r"bomb\.tgz: unpacks to over .* MiB, which no model of"):
        open_source(path)


def test_members_are_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "MOST_MEMBERS", 3)
    path = _tar_of(tmp_path, *[(_header(f"{n}.txt", 0), b"") for n in range(4)])
    with pytest.raises(BadSource, match="holds over 3 members"):
        open_source(path)


@pytest.mark.parametrize("place", range(0, 512, 3))
def test_a_damaged_header_is_a_bad_source(tmp_path, place):
    block = bytearray(_header("model.tflite", 8))
    block[place] ^= 0xFF
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    path = _tar_of(tmp_path, (bytes(block), b"\0\0\0\0TFL3"))
    with pytest.raises(BadSource, match=r"hostile\.tgz"):
        open_source(path)


def test_a_full_disk_names_the_folder(tmp_path, monkeypatch):
    path = _tar_of(tmp_path, (_header("model.tflite", 8), b"\0\0\0\0TFL3"))
    monkeypatch.setattr(Path, "mkdir", raising(OSError(errno.ENOSPC, "No space left on device")))
    with pytest.raises(OutputError, match=r"cannot be unpacked into .*No space left.*TMPDIR"):
        open_source(path)


def raising(error):
    def call(*_, **__):
        raise error

    return call
