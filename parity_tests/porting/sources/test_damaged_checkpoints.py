"""Damaged checkpoints are refused with the place of the damage, in little memory and time."""

from __future__ import annotations

import os

import numpy as np
import pytest

from parity_tests.building import tables
from parity_tests.building.limits import within
from parity_tests.building.tables import index_of, shard_of
from parity_tests.porting.sources.conftest import TENSORS
from porting.errors import BadSource, PortingError, UnsupportedSource
from porting.sources import open_source
from porting.sources.checkpoint.table import Table


def test_a_missing_shard(prefix):
    shard_of(prefix).unlink()
    with pytest.raises(BadSource, match=r"data-00000-of-00001: no such file; model\.ckpt-7\.index"):
        open_source(prefix)


def test_an_empty_index(prefix):
    index_of(prefix).write_bytes(b"")
    with pytest.raises(BadSource, match="a table takes at least 48 bytes, found 0"):
        open_source(prefix)


def test_a_flipped_byte_names_its_tensor(prefix):
    shard = shard_of(prefix)
    raw = bytearray(shard.read_bytes())
    raw[-3] ^= 0x10
    shard.write_bytes(raw)
    source = open_source(prefix)
    with pytest.raises(BadSource, match=r"tensor 'net/mask' at byte [\d,]+ is damaged: CRC32C"):
        source.read("net/mask")
    np.testing.assert_array_equal(source.read("net/conv/bias"), TENSORS["net/conv/bias"])


def test_a_flipped_byte_in_the_index(prefix):
    raw = bytearray(index_of(prefix).read_bytes())
    raw[10] ^= 0x10
    index_of(prefix).write_bytes(raw)
    with pytest.raises(BadSource, match=r"a block's CRC32C is 0x\w+, stored is 0x\w+ at byte 0"):
        open_source(prefix)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"offset": 10**9}, "'net/ids' lies outside its shard .*: 48 bytes at 1,000,000,000"),
        ({"size": 40}, "'net/ids' .*takes 48 bytes, its entry says 40"),
        ({"shard": 4}, "'net/ids' lies in shard 4, there are 1"),
        ({"shape": (1 << 45,)}, "a side of 35,184,372,088,832"),
        ({"offset": 1 << 63}, "a negative shard, offset or size"),
    ],
)
def test_an_entry_that_makes_no_sense(tmp_path, change, message):
    prefix = tmp_path / "model.ckpt"

    def spoil(name, numbers):
        return numbers | (change if name == "net/ids" else {})

    tables.write_checkpoint(prefix, TENSORS, change=spoil)
    with pytest.raises(BadSource, match=message):
        open_source(prefix)


def test_resources_are_unsupported_not_invalid(tmp_path):
    prefix = tmp_path / "model.ckpt"

    def alter(name, numbers):
        return numbers | ({"dtype": "resource"} if name == "net/mask" else {})

    tables.write_checkpoint(prefix, TENSORS, change=alter)
    with pytest.raises(UnsupportedSource, match="'net/mask' is of type resource, which is not"):
        open_source(prefix).read("net/mask")


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1,) * 33, "a shape of over 32 axes"),
        ((1 << 39, 1 << 39, 0), "the shape .*, which does not fit in memory"),
    ],
)
def test_a_shape_that_no_array_has(tmp_path, shape, message):
    prefix = tmp_path / "model.ckpt"

    def alter(name, numbers):
        return numbers | ({"shape": shape} if name == "net/mask" else {})

    tables.write_checkpoint(prefix, TENSORS, change=alter)
    with pytest.raises(BadSource, match=message):
        open_source(prefix)


def with_index(prefix, content):
    index_of(prefix).write_bytes(content)
    return prefix


def test_a_block_larger_than_the_file(prefix):
    good = index_of(prefix).read_bytes()
    footer = tables.varint(0) + tables.varint(1) + tables.varint(0) + tables.varint(1 << 40)
    spoiled = good[:-48] + footer.ljust(40, b"\0") + good[-8:]
    with pytest.raises(BadSource, match="a block claims 1,099,511,627,776 bytes at byte 0"):
        open_source(with_index(prefix, spoiled))


def test_a_number_that_does_not_end(prefix):
    good = index_of(prefix).read_bytes()
    with pytest.raises(BadSource, match="a number does not end"):
        open_source(with_index(prefix, good[:-48] + b"\xff" * 40 + good[-8:]))


def test_keys_out_of_order(prefix):
    empty = tables.entry("float32", (0,), 0, 0, 0, tables.masked(b""))
    pairs = [(b"", tables.header(1)), (b"b", empty), (b"a", empty)]
    with pytest.raises(BadSource, match="key b'a' does not follow b'b'"):
        open_source(with_index(prefix, tables.table(pairs)))


def test_a_prefix_longer_than_the_key_before(prefix):
    content = tables.varint(9) + tables.varint(1) + tables.varint(0) + b"x"
    spoiled = tables.stored(content + bytes(4) + b"\1\0\0\0")
    listing = tables.stored(
        tables.block([(b"x", tables.varint(0) + tables.varint(len(spoiled) - 5))])
    )
    footer = tables.varint(0) * 2 + tables.varint(len(spoiled)) + tables.varint(len(listing) - 5)
    end = index_of(prefix).read_bytes()[-8:]
    with pytest.raises(BadSource, match="an entry behind b'' does not fit its block"):
        open_source(with_index(prefix, spoiled + listing + footer.ljust(40, b"\0") + end))


def test_a_compressed_block_that_claims_too_much(prefix):
    bomb = tables.varint(1 << 40) + b"\0"
    content = tables.table([(b"", b"")], compress=lambda _: bomb)
    with pytest.raises(BadSource, match="a compressed block claims 1,099,511,627,776 bytes"):
        open_source(with_index(prefix, content))


def test_an_unknown_compression(prefix):
    raw = tables.stored(tables.block([(b"", tables.header(1))]), 7)
    listing = tables.stored(tables.block([(b"", tables.varint(0) + tables.varint(len(raw) - 5))]))
    footer = tables.varint(0) * 2 + tables.varint(len(raw)) + tables.varint(len(listing) - 5)
    end = index_of(prefix).read_bytes()[-8:]
    with pytest.raises(UnsupportedSource, match="compression type 7"):
        open_source(with_index(prefix, raw + listing + footer.ljust(40, b"\0") + end))


def test_big_endian_is_unsupported(prefix):
    content = tables.table([(b"", tables.header(1, endianness=1))])
    with pytest.raises(UnsupportedSource, match="big-endian"):
        open_source(with_index(prefix, content))


@pytest.mark.parametrize("pairs", [[(b"a", b"")], [(b"", b"")], [(b"", tables.header(10**9))]])
def test_a_table_that_is_no_checkpoint(prefix, pairs):
    with pytest.raises(BadSource):
        open_source(with_index(prefix, tables.table(pairs)))


def test_a_cut_index_is_refused_at_every_length(prefix):
    content = index_of(prefix).read_bytes()
    for length in range(0, len(content)):
        with pytest.raises(BadSource):
            open_source(with_index(prefix, content[:length]))


def fuzz(prefix, rounds):
    """Damage index and shard at random; checksums are mended half the time, to get deeper."""
    generator = np.random.default_rng(int(os.environ.get("FUZZ_SEED", "0")))
    index, shard = index_of(prefix).read_bytes(), shard_of(prefix).read_bytes()
    for _ in range(rounds):
        raw = bytearray(index)
        for _ in range(int(generator.integers(1, 6))):
            raw[int(generator.integers(len(raw)))] = int(generator.integers(256))
        if generator.integers(2):
            raw = bytearray(resealed(bytes(raw)))
        index_of(prefix).write_bytes(raw[: int(generator.integers(len(raw))) or None])
        if generator.integers(4):
            index_of(prefix).write_bytes(raw)
        shard_of(prefix).write_bytes(shard[: int(generator.integers(len(shard) + 1))])
        with within(mebibytes=64, seconds=10):
            exercise(prefix)


def exercise(prefix):
    """Read everything; a refusal must name the file."""
    try:
        source = open_source(prefix)
        for name in source.tensors:
            source.read(name)
    except PortingError as error:
        assert prefix.name in str(error)


def resealed(raw):
    """The same damaged content in blocks whose checksums hold."""
    cut = raw[: len(raw) - 48]
    body = tables.stored(cut[: len(cut) // 2])
    listing = tables.stored(tables.block([(b"~", tables.varint(0) + tables.varint(len(body) - 5))]))
    footer = tables.varint(0) * 2 + tables.varint(len(body)) + tables.varint(len(listing) - 5)
    return body + listing + footer.ljust(40, b"\0") + raw[-8:]


def test_fuzzed_checkpoints_never_crash(prefix):
    fuzz(prefix, 500)


@pytest.mark.thorough
def test_fuzzed_checkpoints_never_crash_for_longer(prefix):
    fuzz(prefix, 8_000)


def test_keys_that_multiply_out_of_a_small_file(prefix):
    """Each entry repeats a long key and adds a byte: 400 KB stand for 20 GB of keys."""
    long = 200_000
    content = b"\x00" + tables.varint(long) + b"\x00" + b"k" * long
    content += b"".join(tables.varint(long + i) + b"\x01\x00k" for i in range(40_000))
    content += bytes(4) + (1).to_bytes(4, "little")
    raw = tables.stored(content)
    handle = tables.varint(0) + tables.varint(len(content))
    listing = tables.stored(tables.block([(b"z", handle)], 1))
    footer = tables.varint(0) + tables.varint(len(content))
    footer += tables.varint(len(raw)) + tables.varint(len(listing) - 5)
    end = tables.MAGIC.to_bytes(8, "little")
    index_of(prefix).write_bytes(raw + listing + footer.ljust(40, b"\0") + end)
    with within(mebibytes=64, seconds=10), pytest.raises(BadSource, match="keys"):
        list(Table(index_of(prefix).read_bytes(), index_of(prefix)).entries())
