"""The checkpoint reader against TensorFlow, and against damaged files."""

import tarfile
from pathlib import Path

import numpy as np
import pytest

from parity_tests.building import tables
from parity_tests.building.tables import index_of, shard_of
from parity_tests.porting.sources.conftest import RANDOM, TENSORS
from porting.errors import BadSource
from porting.sources import open_source
from porting.sources.checkpoint.weight_sets import not_a_weight


def check(source, expected=TENSORS):
    assert set(source.tensors) == set(expected)
    for name, values in expected.items():
        assert source.tensors[name].shape == values.shape
        read = source.read(name)
        assert read.dtype == values.dtype
        np.testing.assert_array_equal(read, values, err_msg=name)


def against_tensorflow(path):
    """Check every tensor against TensorFlow's own reader."""
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
        for folder in ("first", "second"):
            for file in (index_of(prefix), shard_of(prefix)):
                tar.add(file, f"{folder}/{file.name}")
    with pytest.raises(BadSource, match="in several folders: first, second; unpack it"):
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
