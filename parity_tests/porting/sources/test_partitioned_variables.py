"""Partitioned variables: joined as by TensorFlow, refused if slices are missing."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from parity_tests.building import tables
from parity_tests.building.limits import within
from parity_tests.building.tables import index_of, shard_of, slice_key
from parity_tests.porting.sources.test_checkpoint import against_tensorflow, check
from parity_tests.porting.sources.test_damaged_checkpoints import fuzz
from porting.errors import BadSource, UnsupportedSource
from porting.sources import open_source
from porting.sources.checkpoint.tensors import FULL, check_tiling
from porting.sources.checkpoint.tensors import slice_key as our_slice_key
from porting.sources.protobuf import Malformed

RANDOM = np.random.default_rng(5)
TENSORS = {
    "a/plain": RANDOM.standard_normal(3).astype(np.float32),
    "b/kernel": RANDOM.standard_normal((4, 3, 2)).astype(np.float32),
    "z/table": RANDOM.integers(-9, 9, (5, 6)),
}
ROWS = [((0, 1), None, None), ((1, 3), None, None)]
GRID = [((0, 2), (0, 4)), ((0, 2), (4, 2)), ((2, 3), (0, 1)), ((2, 3), (1, 5))]
PARTS = {"b/kernel": ROWS, "z/table": GRID}


@pytest.fixture
def prefix(tmp_path):
    place = tmp_path / "model.ckpt"
    tables.write_checkpoint(place, TENSORS, 2, parts=PARTS)
    return place


@pytest.mark.parametrize("shards", [1, 2, 3])
def test_written_by_hand_read_by_us_and_by_tensorflow(tmp_path, shards):
    prefix = tmp_path / "model.ckpt"
    tables.write_checkpoint(prefix, TENSORS, shards, parts=PARTS)
    check(open_source(prefix), TENSORS)
    against_tensorflow(prefix)


@pytest.mark.parametrize("kind", ["float32", "bfloat16", "bool"])
def test_written_by_tensorflow_with_starts_of_one_to_three_bytes(tmp_path, kind):
    tf = pytest.importorskip("tensorflow")
    values = tf.cast(RANDOM.standard_normal((9000, 2)) > 0, kind)
    if kind != "bool":
        values = tf.cast(RANDOM.standard_normal((9000, 2)), kind)
    edges = [0, 63, 64, 127, 128, 8191, 8192, 8400, 9000]
    spans = list(itertools.pairwise(edges))
    tf.raw_ops.SaveV2(
        prefix=str(tmp_path / "model.ckpt"),
        tensor_names=["w"] * len(spans),
        tensors=[values[start:end] for start, end in spans],
        shape_and_slices=[f"9000 2 {start},{end - start}:-" for start, end in spans],
    )
    source = open_source(tmp_path / "model.ckpt")
    assert list(source.tensors) == ["w"]
    read = source.read("w")
    assert read.dtype == source.tensors["w"].dtype
    expected = tf.cast(values, tf.float32) if kind == "bfloat16" else values
    np.testing.assert_array_equal(read, expected.numpy())


def test_written_by_a_partitioner(tmp_path):
    tf = pytest.importorskip("tensorflow")
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        result = v1.get_variable("w", (7, 5), partitioner=v1.fixed_size_partitioner(3, axis=1))
        v1.get_variable("b", (5,))
        session.run(v1.global_variables_initializer())
        v1.train.Saver().save(session, str(tmp_path / "model.ckpt"), write_meta_graph=False)
        expected = session.run(result.as_tensor())
    source = open_source(tmp_path)
    assert set(source.tensors) == {"b", "w"}
    np.testing.assert_array_equal(source.read("w"), expected)


def test_keys_of_slices():
    """The ordered code, byte by byte: numbers from -64 to 63 in one byte, a zero escaped."""
    expected = b"\0a\0\xffb\0\1\1\2\x80\x7f\xc1\x2c\xbf"
    assert our_slice_key("a\0b", (FULL, (300, 63))) == expected
    assert our_slice_key("", ()) == b"\0\0\1\0"
    assert our_slice_key("w", ((1, 2),)) == slice_key("w", ((1, 2),))


def spoilt(prefix, key, **numbers):
    """The same checkpoint with other numbers in one entry; ``drop`` leaves it out."""

    def change(found, known):
        if found.encode("latin-1") != key:
            return known
        return None if "drop" in numbers else known | numbers

    tables.write_checkpoint(prefix, TENSORS, change=change, parts=PARTS)
    return prefix


FIRST, SECOND = (slice_key("b/kernel", part) for part in ROWS)


@pytest.mark.parametrize(
    ("key", "numbers", "message"),
    [
        (FIRST, {"drop": True}, r"'b/kernel' is damaged: its slice \[0:1, :, :\] has no entry"),
        (b"b/kernel", {"slices": ROWS[1:]}, r"entry b'.*b/kernel.*' is a slice that no tensor"),
        (b"b/kernel", {"slices": [*ROWS, ROWS[0]]}, r"\[0:1, :, :\] .*or is listed twice"),
        (b"b/kernel", {"drop": True}, "is a slice that no tensor lists"),
        (
            b"b/kernel",
            {"shape": (5, 3, 2)},
            r"'b/kernel': none of its 2 slices holds the element at \[4, 0, 0\]",
        ),
        (
            b"b/kernel",
            {"shape": (3, 3, 2)},
            r"tensor 'b/kernel': slice \[1:4, :, :\] does not lie in shape \(3, 3, 2\)",
        ),
        (b"b/kernel", {"shape": (4, 3)}, r"slice \[0:1, :, :\] does not lie in shape \(4, 3\)"),
        (
            SECOND,
            {"shape": (3, 6)},
            r"'b/kernel', slice \[1:4, :, :\], is of type float32 and shape \(3, 3, 2\) by its "
            r"tensor's entry, of float32 and \(3, 6\) by its own",
        ),
        (SECOND, {"dtype": "int32"}, r"of int32 and \(3, 3, 2\) by its own"),
        (SECOND, {"offset": 9999}, r"'b/kernel', slice \[1:4, :, :\], lies outside its shard"),
        (SECOND, {"shard": 3}, r"'b/kernel', slice \[1:4, :, :\], lies in shard 3, there are 1"),
        (SECOND, {"size": 8}, r"slice \[1:4, :, :\], of shape .* takes 72 bytes, its entry says 8"),
    ],
)
def test_slices_that_make_no_whole(tmp_path, key, numbers, message):
    with pytest.raises(BadSource, match=message) as error_info:
        open_source(spoilt(tmp_path / "model.ckpt", key, **numbers))
    assert "model.ckpt.index" in str(error_info.value)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([((0, 3), FULL), ((2, 2), FULL)], r"slice \[2:4, :\] overlaps one before it"),
        ([((0, 2), (0, 3)), ((2, 2), FULL)], r"none of its 2 slices holds the element at \[0, 3\]"),
        ([(FULL, FULL), (FULL, FULL)], r"slice \[:, :\] overlaps one before it"),
        ([((0, -2), FULL)], "does not lie in shape"),
        ([((3, 2), FULL)], r"slice \[3:5, :\] does not lie in shape \(4, 6\)"),
        ([], r"none of its 0 slices holds the element at \[0, 0\]"),
    ],
)
def test_tilings_that_are_none(parts, message):
    with pytest.raises(Malformed, match=message):
        check_tiling(parts, (4, 6))


def test_tilings_at_random():
    """Boxes cut into ever smaller boxes are a tiling; one less, or one twice, is none."""
    generator = np.random.default_rng(2)
    for _ in range(50):
        shape = tuple(int(n) for n in generator.integers(1, 9, 3))
        boxes = [tuple((0, side) for side in shape)]
        for _ in range(int(generator.integers(12))):
            box = boxes.pop(int(generator.integers(len(boxes))))
            axis = int(generator.integers(3))
            start, length = box[axis]
            cut = int(generator.integers(length)) or length
            halves = [(start, cut)] + [(start + cut, length - cut)] * (cut < length)
            boxes += [(*box[:axis], half, *box[axis + 1 :]) for half in halves]
        check_tiling(boxes, shape)
        one = int(generator.integers(len(boxes)))
        for wrong in (boxes[:one] + boxes[one + 1 :], [*boxes, boxes[one]]):
            with pytest.raises(Malformed):
                check_tiling(wrong, shape)


def test_a_tensor_of_nothing_is_whole():
    check_tiling([((0, 0), FULL)], (0, 3))
    check_tiling([()], ())


def test_a_flipped_byte_names_tensor_and_slice(prefix):
    shard = shard_of(prefix, 0, 2)
    raw = bytearray(shard.read_bytes())
    raw[raw.index(TENSORS["b/kernel"][:1].tobytes())] ^= 0x10
    shard.write_bytes(raw)
    source = open_source(prefix)
    message = r"tensor 'b/kernel', slice \[0:1, :, :\], at byte [\d,]+ is damaged: CRC32C of its 24"
    with pytest.raises(BadSource, match=message):
        source.read("b/kernel")
    np.testing.assert_array_equal(source.read("a/plain"), TENSORS["a/plain"])


def test_slices_that_share_their_bytes_make_no_tensor_larger_than_the_files(tmp_path):
    """A few bytes named a thousand times over would stand for gigabytes."""
    prefix = tmp_path / "model.ckpt"
    tensors = {"w": np.zeros((64, 8), np.float32)}
    parts = {"w": [((i, 1), None) for i in range(63)] + [((63, 1), None)]}

    def share(key, numbers):
        return numbers | ({} if key == "w" else {"offset": 0})

    tables.write_checkpoint(prefix, tensors, change=share, parts=parts)
    shard_of(prefix).write_bytes(bytes(32))
    with pytest.raises(BadSource, match="takes 2,048 bytes, its shards have 32 in all"):
        open_source(prefix)


def test_an_index_of_endless_slices_stays_small(tmp_path):
    """One entry that lists 2,000,000 slices in 4 MB; each would be an object in memory."""
    prefix = tmp_path / "model.ckpt"
    entry = tables.field(1, 1) + b"\x3a\0" * 2_000_000
    content = tables.table([(b"", tables.header(1)), (b"w", entry)])
    index_of(prefix).write_bytes(content)
    shard_of(prefix).write_bytes(b"")
    with within(mebibytes=64, seconds=10), pytest.raises(BadSource, match="over 16,384 slices"):
        open_source(prefix)


def test_an_index_of_endless_tensors_stays_small(tmp_path):
    prefix = tmp_path / "model.ckpt"
    entry = tables.field(1, 1) + tables.field(2, tables.shape_proto((0,)))
    names = (b"%06d" % number for number in range(40_000))
    pairs = [(b"", tables.header(1)), *((name, entry) for name in names)]
    index_of(prefix).write_bytes(tables.table(pairs, per_block=500))
    shard_of(prefix).write_bytes(b"")
    with within(mebibytes=64, seconds=20), pytest.raises(UnsupportedSource, match="over 32,768 en"):
        open_source(prefix)


def test_a_partitioned_tensor_takes_its_own_size_in_memory(tmp_path):
    prefix = tmp_path / "model.ckpt"
    values = np.arange(12 << 20, dtype=np.float32).reshape(12, -1)
    tables.write_checkpoint(prefix, {"w": values}, parts={"w": [((0, 11), None), ((11, 1), None)]})
    with within(mebibytes=48 + 16, seconds=20):
        read = open_source(prefix).read("w")
    np.testing.assert_array_equal(read, values)


def test_fuzzed_slices_never_crash(prefix):
    tables.write_checkpoint(prefix, TENSORS, parts=PARTS)
    fuzz(prefix, 300)
