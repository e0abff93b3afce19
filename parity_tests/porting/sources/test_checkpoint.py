"""The checkpoint reader against TensorFlow, and against damaged files."""

import os
import tarfile
from pathlib import Path

import numpy as np
import pytest

from parity_tests.building import tables
from parity_tests.building.limits import within
from porting.errors import BadSource, PortingError, UnsupportedSource
from porting.sources import open_source
from porting.sources.checkpoint.table import Table
from porting.sources.checkpoint.weight_sets import not_a_weight

RANDOM = np.random.default_rng(11)
TENSORS = {
    "net/conv/kernel": RANDOM.standard_normal((3, 3, 4, 5)).astype(np.float32),
    "net/conv/kernel/ExponentialMovingAverage": RANDOM.standard_normal((3, 3, 4, 5)).astype("f4"),
    "net/conv/bias": RANDOM.standard_normal(5),
    "net/dense/kernel": RANDOM.standard_normal((4, 2)).astype(np.float16),
    "net/ids": RANDOM.integers(-9, 9, (2, 3)),
    "net/mask": RANDOM.integers(0, 2, 7).astype(bool),
    "global_step": np.asarray(7, np.int64),
}


@pytest.fixture
def prefix(tmp_path):
    place = tmp_path / "model.ckpt-7"
    tables.write_checkpoint(place, TENSORS)
    return place


def index_of(prefix):
    return prefix.with_name(prefix.name + ".index")


def shard_of(prefix, number=0, shards=1):
    return prefix.with_name(f"{prefix.name}.data-{number:05d}-of-{shards:05d}")


def check(source, expected=TENSORS):
    assert set(source.tensors) == set(expected)
    for name, values in expected.items():
        assert source.tensors[name].shape == values.shape
        read = source.read(name)
        assert read.dtype == values.dtype
        np.testing.assert_array_equal(read, values, err_msg=name)


def against_tensorflow(path):
    """Every tensor as TensorFlow's own reader gives it."""
    tf = pytest.importorskip("tensorflow")
    reader = tf.train.load_checkpoint(str(path))
    source = open_source(path)
    assert set(source.tensors) == set(reader.get_variable_to_shape_map())
    for name in source.tensors:
        np.testing.assert_array_equal(source.read(name), reader.get_tensor(name), err_msg=name)


@pytest.mark.parametrize("shards", [1, 2, 3])
def test_written_by_hand_read_by_us_and_by_tensorflow(tmp_path, shards):
    prefix = tmp_path / "model.ckpt"
    tables.write_checkpoint(prefix, TENSORS, shards)
    check(open_source(prefix))
    against_tensorflow(prefix)


def test_written_by_tensorflow_in_several_shards(tmp_path):
    tf = pytest.importorskip("tensorflow")
    prefix = str(tmp_path / "model.ckpt-3")
    parts = [dict(list(TENSORS.items())[i::3]) for i in range(3)]
    for number, part in enumerate(parts):
        piece = f"{prefix}_temp/part-{number}-of-3"
        tf.raw_ops.SaveV2(prefix=piece, tensor_names=list(part), tensors=list(part.values()),
                          shape_and_slices=[""] * len(part))  # fmt: skip
    pieces = [f"{prefix}_temp/part-{number}-of-3" for number in range(3)]
    tf.raw_ops.MergeV2Checkpoints(checkpoint_prefixes=pieces, destination_prefix=prefix)
    assert shard_of(Path(prefix), 2, 3).exists()
    check(open_source(prefix))
    against_tensorflow(prefix)


def test_bfloat16_comes_as_float32(tmp_path):
    tf = pytest.importorskip("tensorflow")
    values = tf.cast(RANDOM.standard_normal((3, 5)), tf.bfloat16)
    prefix = str(tmp_path / "model.ckpt")
    tf.raw_ops.SaveV2(prefix=prefix, tensor_names=["w"], tensors=[values], shape_and_slices=[""])
    read = open_source(prefix).read("w")
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, tf.cast(values, tf.float32).numpy())


@pytest.mark.parametrize("folder", ["mnasnet-a1-050", "mobilenet-v2-035-96"])
def test_real_checkpoints_tensor_by_tensor(artifacts, folder):
    against_tensorflow(artifacts / folder)
    assert open_source(artifacts / folder).weight_sets == ("ema", "raw")


def test_compressed_blocks(tmp_path):
    import cramjam

    prefix = tmp_path / "model.ckpt"
    tables.write_checkpoint(
        prefix, TENSORS, compress=lambda content: bytes(cramjam.snappy.compress_raw(content))
    )
    check(open_source(prefix))


def test_every_way_to_name_it(prefix):
    folder = prefix.parent
    for path in (prefix, index_of(prefix), shard_of(prefix), folder):
        check(open_source(path))
    (folder / "checkpoint").write_text('model_checkpoint_path: "model.ckpt-7"\n')
    check(open_source(folder))


def test_a_checkpoint_file_with_a_path_of_another_machine(prefix):
    text = 'model_checkpoint_path: "/home/somebody/run/model.ckpt-7"\n'
    (prefix.parent / "checkpoint").write_text(text)
    check(open_source(prefix.parent))


def archive(prefix, name="model.tgz", mode="w:gz", top="model"):
    path = prefix.parent / name
    with tarfile.open(path, mode) as tar:
        for file in (index_of(prefix), shard_of(prefix)):
            tar.add(file, f"{top}/{file.name}")
    return path


def test_an_archive_as_it_is_shipped(prefix):
    path = archive(prefix)
    source = open_source(path)
    check(source)
    assert source.files == (path,)
    unpacked = source.prefix.parent
    assert unpacked.exists()
    del source
    assert not unpacked.exists()


def test_an_archive_cannot_write_outside_its_folder(prefix, tmp_path):
    path = archive(prefix, top="../../outside")
    with pytest.raises(BadSource, match="neither a checkpoint nor a TFLite file"):
        open_source(path)
    assert not (tmp_path.parent / "outside").exists()


def test_an_archive_with_checkpoints_in_two_folders(prefix):
    path = prefix.parent / "both.tar"
    with tarfile.open(path, "w") as tar:
        for folder in ("ema", "pristine"):
            for file in (index_of(prefix), shard_of(prefix)):
                tar.add(file, f"{folder}/{file.name}")
    with pytest.raises(BadSource, match="in several folders: ema, pristine; unpack it"):
        open_source(path)


def test_a_cut_archive(prefix):
    path = archive(prefix)
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(BadSource, match=r"model\.tgz: not a sound archive"):
        open_source(path)


def test_a_directory_without_a_checkpoint(tmp_path):
    with pytest.raises(BadSource, match="a directory without a checkpoint in it"):
        open_source(tmp_path)


def test_a_directory_with_two_checkpoints(prefix):
    tables.write_checkpoint(prefix.parent / "model.ckpt-8", TENSORS)
    with pytest.raises(BadSource, match=r"several checkpoints; name one of model\.ckpt-7, model"):
        open_source(prefix.parent)


def test_a_checkpoint_file_that_names_nothing(prefix):
    state = prefix.parent / "checkpoint"
    state.write_text("no such line")
    with pytest.raises(BadSource, match="no line 'model_checkpoint_path"):
        open_source(prefix.parent)
    state.write_text('model_checkpoint_path: "model.ckpt-9"\n')
    with pytest.raises(BadSource, match=r"names 'model\.ckpt-9', but .*index does not exist"):
        open_source(prefix.parent)


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


def test_slices_and_strings_are_unsupported_not_invalid(tmp_path):
    prefix = tmp_path / "model.ckpt"

    def alter(name, numbers):
        extra = {"net/ids": {"slices": 2}, "net/mask": {"dtype": "string"}}
        return numbers | extra.get(name, {})

    tables.write_checkpoint(prefix, TENSORS, change=alter)
    source = open_source(prefix)
    with pytest.raises(UnsupportedSource, match="'net/ids' is kept in 2 slices"):
        source.read("net/ids")
    with pytest.raises(UnsupportedSource, match="'net/mask' is of type string"):
        source.read("net/mask")


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


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("a/kernel/RMSProp", "optimizer slot"),
        ("a/kernel/RMSProp_1", "optimizer slot"),
        ("a/kernel/Momentum", "optimizer slot"),
        ("global_step", "training step"),
        ("a/kernel", None),
        ("a/kernel/ExponentialMovingAverage", None),
    ],
)
def test_what_is_not_a_weight(name, reason):
    assert not_a_weight(name) == reason


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


@pytest.mark.slow
def test_fuzzed_checkpoints_never_crash_for_longer(prefix):
    fuzz(prefix, 20_000)


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
