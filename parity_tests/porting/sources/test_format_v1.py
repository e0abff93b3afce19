"""Checkpoints of format V1 against TensorFlow's reader, and every path that may name one."""

from __future__ import annotations

import shutil
import tarfile

import numpy as np
import pytest

from parity_tests.building import slice_tables
from parity_tests.building.limits import within
from parity_tests.building.tables import field, varint, write_checkpoint
from parity_tests.porting.sources.test_checkpoint import check
from porting.errors import BadSource
from porting.sources import open_source

RANDOM = np.random.default_rng(7)
TENSORS = {
    "global_step": np.asarray(7, np.int64),
    "net/bytes": np.asarray([-128, -1, 0, 127], np.int8),
    "net/kernel": RANDOM.standard_normal((4, 3, 2)).astype(np.float32),
    "net/mean/ExponentialMovingAverage": RANDOM.standard_normal(5).astype(np.float32),
    "net/names": np.array([b"", b"tench", b"x" * 300], object),
}
ROWS = [((0, 1), None, None), ((1, 3), None, None)]


@pytest.fixture
def path(tmp_path):
    place = tmp_path / "model.ckpt-7"
    slice_tables.write_v1(place, TENSORS, {"net/kernel": ROWS})
    return place


def saved_by_tensorflow(place, values, sharded=False, partitioner=None):
    """Write values with TensorFlow's Saver and return what it calls the checkpoint."""
    tf = pytest.importorskip("tensorflow")
    v1 = tf.compat.v1
    config = v1.ConfigProto(device_count={"CPU": 2})
    with tf.Graph().as_default(), v1.Session(config=config) as session:
        for number, (name, array) in enumerate(values.items()):
            with tf.device(f"/cpu:{number % 2}"):

                def first(shape, dtype, partition_info=None, array=array):
                    starts = partition_info.var_offset if partition_info else [0] * array.ndim
                    cut = (slice(a, a + n) for a, n in zip(starts, shape, strict=True))
                    return tf.constant(array[tuple(cut)], dtype)

                v1.get_variable(name, array.shape, tf.as_dtype(array.dtype), first,
                                partitioner=partitioner if array.ndim else None,
                                use_resource=False)  # fmt: skip
        session.run(v1.global_variables_initializer())
        saver = v1.train.Saver(write_version=v1.train.SaverDef.V1, sharded=sharded)
        return saver.save(session, str(place), 12, write_meta_graph=False)


def against_tensorflow(place, named):
    """Every tensor as TensorFlow gives it; ``named`` is what its reader takes.

    Slices and some types are beyond that reader, but not beyond the op that restores.
    """
    tf = pytest.importorskip("tensorflow")
    reader = tf.compat.v1.train.NewCheckpointReader(str(named))
    source = open_source(place)
    assert set(source.tensors) == set(reader.get_variable_to_shape_map())
    for name, info in source.tensors.items():
        try:
            expected = np.asarray(reader.get_tensor(name))
        except tf.errors.UnimplementedError:
            kind = reader.get_variable_to_dtype_map()[name]
            restored = tf.raw_ops.Restore(file_pattern=str(named), tensor_name=name, dt=kind)
            expected = restored.numpy()
        read = source.read(name)
        assert (info.shape, read.shape) == (expected.shape, expected.shape)
        assert info.dtype == read.dtype
        np.testing.assert_array_equal(read, expected, err_msg=name)
    return source


TYPES = ["float32", "float64", "float16", "complex64", "complex128", "bool",
         "int8", "int16", "int32", "int64", "uint8", "uint16"]  # fmt: skip


def of_many_types():
    """Random values over the whole range of every type that TensorFlow writes."""
    made = {"scalar": np.float32(3.5), "empty": np.zeros((0, 3), np.float32)}
    for name in TYPES:
        kind = np.dtype(name)
        if kind.kind in "iu":
            ends = np.iinfo(kind)
            values = RANDOM.integers(ends.min, ends.max, (7, 3), kind, endpoint=True)
        else:
            values = RANDOM.standard_normal((7, 3)) > 0 if kind.kind == "b" else (
                RANDOM.standard_normal((7, 3)) * 100).astype(kind)  # fmt: skip
        made[f"net/{name}"] = values
    return made


@pytest.mark.parametrize("sharded", [False, True])
def test_written_by_tensorflow_in_every_type(tmp_path, sharded):
    values = of_many_types()
    named = saved_by_tensorflow(tmp_path / "model.ckpt", values, sharded)
    assert ("?" in named) == sharded
    source = against_tensorflow(tmp_path, named)
    assert len(source.files) == 1 + sharded
    check(source, values)
    assert str(source.prefix) == named


def test_written_by_a_partitioner_over_two_shards(tmp_path):
    tf = pytest.importorskip("tensorflow")
    values = {"a": RANDOM.standard_normal((300, 3)).astype("f4"), "b": np.float32(1)}
    cutter = tf.compat.v1.fixed_size_partitioner(4)
    named = saved_by_tensorflow(tmp_path / "model.ckpt", values, True, cutter)
    check(against_tensorflow(tmp_path, named), values)


def test_tensors_larger_than_a_block_and_strings(tmp_path):
    tf = pytest.importorskip("tensorflow")
    values = {"a": RANDOM.standard_normal((700, 700)), "b": RANDOM.integers(-9, 9, 200_000),
              "s": np.array([b"", b"\0\xff", b"y" * 500], object)}  # fmt: skip
    file = tmp_path / "model.ckpt"
    tf.raw_ops.SaveSlices(filename=str(file), tensor_names=list(values),
                          shapes_and_slices=[""] * 3, data=list(values.values()))  # fmt: skip
    against_tensorflow(file, file)


def test_written_by_hand_read_by_us_and_by_tensorflow(path):
    source = open_source(path)
    check(source, TENSORS)
    assert source.weight_sets == ("ema", "raw")
    assert source.tensors["net/kernel"].stored_as == "float32"
    del source
    against_tensorflow(path, path)


def test_compressed_blocks(tmp_path):
    import cramjam

    def pack(content):
        return bytes(cramjam.snappy.compress_raw(content))

    slice_tables.write_v1(tmp_path / "any name", TENSORS, compress=pack)
    check(open_source(tmp_path / "any name"), TENSORS)
    check(open_source(tmp_path), TENSORS)


@pytest.mark.parametrize(
    "proto",
    [
        field(4, TENSORS["net/kernel"].tobytes()),
        b"".join(slice_tables.fixed32(5, v) for v in TENSORS["net/kernel"].flat),
    ],
    ids=["tensor_content", "not packed"],
)
def test_other_ways_to_hold_floats(tmp_path, proto):
    def change(key, value):
        held = slice_tables.saved("net/kernel", (None,) * 3, proto)
        return held if b"net/kernel" in key else value

    slice_tables.write_v1(tmp_path / "model", TENSORS, change=change)
    check(open_source(tmp_path / "model"), TENSORS)


def test_integers_that_are_not_packed(tmp_path):
    values = {"n": np.asarray([-1, 300, 1 << 40])}
    proto = b"".join(varint(10 << 3) + varint(int(v) & (1 << 64) - 1) for v in values["n"])

    def change(key, value):
        return slice_tables.saved("n", (None,), proto) if key else value

    slice_tables.write_v1(tmp_path / "model", values, change=change)
    check(open_source(tmp_path / "model"), values)


def test_packed_numbers_across_the_pieces_in_which_they_are_decoded(tmp_path):
    values = {"n": RANDOM.integers(-(1 << 20), 1 << 62, 150_000)}
    slice_tables.write_v1(tmp_path / "model", values)
    check(open_source(tmp_path / "model"), values)


def shards(folder):
    first, second = folder / "model.ckpt-00000-of-00002", folder / "model.ckpt-00001-of-00002"
    names = list(TENSORS)
    kernel = {"net/kernel": TENSORS["net/kernel"]}
    some = {name: TENSORS[name] for name in names[:2]}
    rest = {name: TENSORS[name] for name in names[3:]}
    slice_tables.write_v1(first, some | kernel, {"net/kernel": ROWS[1:]})
    slice_tables.write_v1(second, rest | kernel, {"net/kernel": ROWS[:1]})
    return first, second


def test_every_way_to_name_it(path, tmp_path):
    check(open_source(path), TENSORS)
    check(open_source(tmp_path), TENSORS)
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "/gone/model.ckpt-7"\n')
    check(open_source(tmp_path), TENSORS)


def test_every_way_to_name_shards(tmp_path):
    files, pattern = shards(tmp_path), tmp_path / "model.ckpt-?????-of-00002"
    for place in (*files, tmp_path, tmp_path / "model.ckpt", pattern):
        source = open_source(place)
        check(source, TENSORS)
        assert source.files == files
    state = 'model_checkpoint_path: "/gone/model.ckpt-?????-of-00002"\n'
    (tmp_path / "checkpoint").write_text(state)
    check(open_source(tmp_path), TENSORS)
    against_tensorflow(tmp_path, pattern)


def test_a_missing_shard(tmp_path):
    first, second = shards(tmp_path)
    second.unlink()
    with pytest.raises(BadSource, match=r"model\.ckpt-00001-of-00002: no such file; its name says"):
        open_source(first)


def test_shards_of_two_counts(tmp_path):
    shards(tmp_path)
    shutil.copy(tmp_path / "model.ckpt-00000-of-00002", tmp_path / "model.ckpt-00000-of-00001")
    with pytest.raises(BadSource, match="files numbered of 00001 and of 00002; name one"):
        open_source(tmp_path / "model.ckpt")


@pytest.mark.parametrize("sharded", [False, True])
def test_an_archive_as_it_is_shipped(tmp_path, path, sharded):
    files = shards(tmp_path) if sharded else [path]
    packed = tmp_path / "model.tgz"
    with tarfile.open(packed, "w:gz") as tar:
        for file in files:
            tar.add(file, f"model/{file.name}")
        tar.add(__file__, "model/readme.py")
    source = open_source(packed)
    check(source, TENSORS)
    assert source.files == (packed,)
    assert sorted(p.name for p in source.prefix.parent.iterdir()) == sorted(f.name for f in files)


def test_a_directory_with_both_formats(path, tmp_path):
    write_checkpoint(tmp_path / "model.ckpt-8", {"a": np.zeros(1)})
    with pytest.raises(BadSource, match=r"several checkpoints; name one of model\.ckpt-7, mod"):
        open_source(tmp_path)


def test_a_large_checkpoint_is_read_a_tensor_at_a_time(tmp_path):
    """72 MiB of tensors, none over 24: decoding all would break the limit."""
    values = {f"t{i}": np.full((6 << 20,), i, np.float32) for i in range(3)}
    slice_tables.write_v1(tmp_path / "model", values)
    with within(mebibytes=60, seconds=30):
        source = open_source(tmp_path / "model")
        for name in source.tensors:
            assert source.read(name)[-1] == values[name][-1]
