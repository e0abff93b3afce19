"""Damaged checkpoints of format V1 are refused with the place of the damage, in little memory."""

from __future__ import annotations

import os

import numpy as np
import pytest

from parity_tests.building import slice_tables, tables
from parity_tests.building.limits import within
from parity_tests.building.tables import field, slice_key
from parity_tests.porting.sources.test_damaged_checkpoints import exercise, resealed
from parity_tests.porting.sources.test_format_v1 import ROWS, TENSORS
from porting.errors import BadSource, UnsupportedSource
from porting.sources import open_source

KERNEL = TENSORS["net/kernel"]
FIRST = slice_key("net/kernel", ROWS[0])
PARTS = {"net/kernel": ROWS}


@pytest.fixture
def path(tmp_path):
    place = tmp_path / "model.ckpt-7"
    slice_tables.write_v1(place, TENSORS, PARTS)
    return place


def test_a_cut_file_is_refused_at_every_length(path):
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(BadSource, match=r"model\.ckpt-7: "):
            open_source(path)


def test_a_cut_file_says_that_it_is_cut(path):
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(BadSource, match="damaged or cut short: the magic number that ends a t"):
        open_source(path)


def test_a_flipped_byte_is_seen_where_it_lies(path):
    raw = bytearray(path.read_bytes())
    raw[raw.index(KERNEL[1:].tobytes()) + 5] ^= 0x10
    path.write_bytes(raw)
    source = open_source(path)
    with pytest.raises(BadSource, match=r"model\.ckpt-7: .*a block's CRC32C is 0x.* at byte \d+"):
        source.read("net/kernel")
    assert source.read("global_step") == 7


def test_a_flipped_byte_in_the_list(path):
    raw = bytearray(path.read_bytes())
    raw[9] ^= 0x10
    path.write_bytes(raw)
    with pytest.raises(BadSource, match=r"a block's CRC32C is 0x.* at byte 0"):
        open_source(path)


def test_the_index_of_a_bundle_under_another_name(tmp_path):
    tables.write_checkpoint(tmp_path / "model", {"a": KERNEL})
    (tmp_path / "model.index").rename(tmp_path / "renamed")
    with pytest.raises(BadSource, match=r"not a checkpoint of format V1: .* must be named \.index"):
        open_source(tmp_path / "renamed")


def spoilt(path, key, value):
    """The same checkpoint with another value under one key; None leaves it out."""
    slice_tables.write_v1(path, TENSORS, PARTS,
                          change=lambda k, old: value if k == key else old)  # fmt: skip
    return open_source(path)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "the table lists it and has no entry for it"),
        (b"", "its entry is damaged: it holds slice .* of ''"),
        (b"\x12\xff", "its entry is damaged: a number does not end"),
        (field(2, 7), "its entry is damaged: a number where a message belongs"),
        (slice_tables.saved("net/other", ROWS[0], b""), "it holds slice .* of 'net/other'"),
        (
            slice_tables.saved("net/kernel", ROWS[1], b""),
            r"it holds slice \[1:4, :, :\] of 'net/kernel'",
        ),
        (
            slice_tables.saved("net/kernel", ROWS[0], slice_tables.typed(KERNEL)),
            "it holds 24 values, its slice has 6",
        ),
        (
            slice_tables.saved("net/kernel", ROWS[0], slice_tables.typed(KERNEL[0, 0])),
            "it holds 2 values, its slice has 6",
        ),
        (slice_tables.saved("net/kernel", ROWS[0], b""), "it holds 0 bytes for 6 values"),
        (
            slice_tables.saved("net/kernel", ROWS[0], field(5, b"abcde")),
            "5 bytes of values of 4 bytes each",
        ),
        (
            slice_tables.saved("net/kernel", ROWS[0], field(7, b"\1" * 6)),
            "it holds 0 values, its slice has 6",
        ),
    ],
)
def test_a_slice_that_is_not_what_is_listed(path, value, message):
    source = spoilt(path, FIRST, value)
    with pytest.raises(BadSource, match=message) as error_info:
        source.read("net/kernel")
    assert r"model.ckpt-7: tensor 'net/kernel', slice [0:1, :, :]: " in str(error_info.value)


@pytest.mark.parametrize(
    ("packed", "message"),
    [
        (b"\x80\1" * 4, "the value 128 does not fit int8"),
        (b"\1\1\1\x80", "a number does not end"),
        (b"\xff" * 11 + b"\1", "a number does not end"),
        (b"\1" * 5, "it holds 5 values, its slice has 4"),
        (b"\1" * 3, "it holds 5 bytes for|it holds 3 values, its slice has 4"),
    ],
)
def test_packed_integers_that_are_none(path, packed, message):
    value = slice_tables.saved("net/bytes", (None,), field(7, packed))
    source = spoilt(path, slice_key("net/bytes", (None,)), value)
    with pytest.raises(BadSource, match=message):
        source.read("net/bytes")


@pytest.mark.parametrize("strings", [0, 2, 4])
def test_strings_of_another_number(path, strings):
    value = slice_tables.saved("net/names", (None,), field(8, b"x") * strings)
    source = spoilt(path, slice_key("net/names", (None,)), value)
    with pytest.raises(BadSource, match=f"it holds {strings} values, its slice has 3"):
        source.read("net/names")


def listed(name=b"w", shape=(4,), code=1, parts=(((0, 4),),)):
    """One tensor of a ``SavedTensorSliceMeta``."""
    entry = field(1, name) + field(2, tables.shape_proto(shape)) + field(3, code)
    return field(1, entry + b"".join(field(4, tables.slice_proto(part)) for part in parts))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (listed(code=77), "the list of its tensors is damaged: tensor 'w': unknown type code 77"),
        (listed(shape=(1 << 41,)), "tensor 'w': a side of 2,199,023,255,552"),
        (listed(shape=(1 << 30,), parts=[(None,)]), r"'w' of shape \(1073741824,\) cannot lie in"),
        (listed(name=b"\xff"), "a name that is not UTF-8"),
        (listed(parts=()), r"tensor 'w': none of its 0 slices holds the element at \[0\]"),
        (listed(parts=[((0, 3),)]), r"tensor 'w': none of its 1 slices holds the element at \[3\]"),
        (listed(parts=[((0, 3),), ((2, 2),)]), r"slice \[2:4\] overlaps one before it"),
        (listed(parts=[((0, 5),)]), r"slice \[0:5\] does not lie in shape \(4,\)"),
        (listed(parts=[(None, None)]), r"slice \[:, :\] does not lie in shape \(4,\)"),
        (listed(parts=[(None,) * 9]), "a slice of over 8 axes"),
        (listed() + listed(code=2), r"'w' is of type float64 and shape \(4,\), before it was of"),
        (listed() + listed(), r"slice \[0:4\] overlaps one before it"),
        (field(1, 3), "a number where a message belongs"),
    ],
)
def test_a_list_that_makes_no_sense(path, content, message):
    slice_tables.write_v1(path, TENSORS, spoilt_meta=field(1, content))
    with pytest.raises(BadSource, match=message) as error_info:
        open_source(path)
    assert "model.ckpt-7: " in str(error_info.value)


def test_resources_are_unsupported_not_invalid(path):
    slice_tables.write_v1(path, TENSORS, spoilt_meta=field(1, listed(code=20)))
    with pytest.raises(UnsupportedSource, match="tensor 'w' is of type resource, which is not re"):
        open_source(path).read("w")


@pytest.mark.parametrize("what", [listed(parts=()), listed(parts=[()]), b"\x0a\0"])
def test_a_list_of_endless_tensors_stays_small(path, what):
    content = field(1, what.replace(b"w", b"w") * (6_000_000 // len(what)))
    slice_tables.write_v1(path, {}, spoilt_meta=content)
    with within(mebibytes=64, seconds=30), pytest.raises(BadSource, match=r"model\.ckpt-7"):
        open_source(path)


def test_a_list_of_many_tensors_of_their_own_stays_small(path):
    content = b"".join(listed(b"%07d" % i, (0,), 1, [(None,)]) for i in range(80_000))
    slice_tables.write_v1(path, {}, spoilt_meta=field(1, content))
    with within(mebibytes=64, seconds=30), pytest.raises(BadSource, match=r"over .* slices"):
        open_source(path)


def test_small_integers_that_would_fill_the_memory(path):
    """24 MB of one-byte numbers stand for 192 MB of int64."""
    values = {"n": np.zeros(24_000_000, np.int64)}
    meta = slice_tables.meta(values, {"n": [(None,)]})
    held = slice_tables.saved("n", (None,), field(10, bytes(24_000_000)))
    path.write_bytes(tables.table([(b"", meta), (slice_key("n", (None,)), held)], per_block=1))
    del values, held
    with within(mebibytes=2 * 24 + 16, seconds=30):
        source = open_source(path)
        with pytest.raises(UnsupportedSource, match="takes 192,000,000 bytes out of 24,000,"):
            source.read("n")


def fuzz(path, rounds):
    """Damage a file at random; checksums are mended half the time, to get deeper."""
    generator = np.random.default_rng(int(os.environ.get("FUZZ_SEED", "0")))
    content = path.read_bytes()
    for _ in range(rounds):
        raw = bytearray(content)
        for _ in range(int(generator.integers(1, 6))):
            raw[int(generator.integers(len(raw)))] = int(generator.integers(256))
        if generator.integers(2):
            raw = bytearray(resealed(bytes(raw)))
        path.write_bytes(raw if generator.integers(4) else raw[: int(generator.integers(len(raw)))])
        with within(mebibytes=64, seconds=10):
            exercise(path)


def fuzz_values(path, rounds):
    """Damage the messages before the table is made, so that every checksum holds."""
    generator = np.random.default_rng(int(os.environ.get("FUZZ_SEED", "1")))

    def damage(_, value):
        raw = bytearray(value)
        for _ in range(int(generator.integers(3)) if raw else 0):
            raw[int(generator.integers(len(raw)))] = int(generator.integers(256))
        return bytes(raw)

    for _ in range(rounds):
        slice_tables.write_v1(path, TENSORS, PARTS, change=damage)
        with within(mebibytes=64, seconds=10):
            exercise(path)


def test_fuzzed_files_never_crash(path):
    fuzz(path, 500)
    fuzz_values(path, 500)


@pytest.mark.thorough
def test_fuzzed_files_never_crash_for_longer(path):
    fuzz(path, 1_500)
    fuzz_values(path, 1_500)
