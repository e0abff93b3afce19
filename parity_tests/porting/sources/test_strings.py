"""Tensors of strings in a bundle."""

from __future__ import annotations

import numpy as np
import pytest

from parity_tests.building import tables
from parity_tests.building.tables import index_of, shard_of, string_bytes
from porting.errors import BadSource, UnsupportedSource
from porting.sources import open_source


def strings(prefix, raw, crc, shape=(2,)):
    """A checkpoint with one tensor of strings, and the bytes that it is to have."""
    pairs = [(b"", tables.header(1)), (b"s", tables.entry("string", shape, 0, 0, len(raw), crc))]
    index_of(prefix).write_bytes(tables.table(pairs))
    shard_of(prefix).write_bytes(raw)
    return open_source(prefix)


RAW, CRC = string_bytes(b"ab", b"c")


def test_strings(tmp_path):
    source = strings(tmp_path / "model", RAW, CRC)
    assert list(source.read("s")) == [b"ab", b"c"]
    assert (source.tensors["s"].dtype, source.tensors["s"].stored_as) == ("object", "string")


def test_strings_written_by_tensorflow(tmp_path):
    tf = pytest.importorskip("tensorflow")
    words = np.array([[b"", b"\0\xff"], [b"x" * 70_000, b"tench"]], object)
    prefix = str(tmp_path / "model")
    tf.raw_ops.SaveV2(prefix=prefix, tensor_names=["s"], tensors=[words], shape_and_slices=[""])
    np.testing.assert_array_equal(open_source(prefix).read("s"), words)


@pytest.mark.parametrize(
    ("raw", "crc", "message"),
    [
        (RAW, CRC ^ 1, "is damaged: CRC32C of its 9 bytes is 0x"),
        (RAW[:-1] + b"d", CRC, "is damaged: CRC32C of its 9 bytes is 0x"),
        (b"\1" + RAW[1:], CRC, "is damaged: the lengths of its strings fail their checksum"),
        (RAW[:1], CRC, "is damaged: a number does not end"),
        (RAW[:4], CRC, "is damaged: the lengths of its strings fail their checksum"),
        (RAW[:-1], CRC, "is damaged: its strings take 3 bytes, found 2"),
        (RAW + b"x", CRC, "is damaged: its strings take 3 bytes, found 4"),
    ],
)
def test_damaged_strings(tmp_path, raw, crc, message):
    source = strings(tmp_path / "model", raw, crc)
    with pytest.raises(BadSource, match=rf"data-00000-of-00001: tensor 's' at byte 0 {message}"):
        source.read("s")


def test_more_strings_than_are_read(tmp_path):
    source = strings(tmp_path / "model", RAW, CRC, (1 << 20,))
    with pytest.raises(UnsupportedSource, match="tensor 's' holds over 262,144 strings"):
        source.read("s")
