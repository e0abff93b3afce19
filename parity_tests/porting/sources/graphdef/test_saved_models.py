"""SavedModels: which graph, which signature, which variables; and archives of them."""

from __future__ import annotations

import shutil
import tarfile

import numpy as np
import pytest

from parity_tests.porting.sources.refusing import refused
from porting.errors import BadSource, UnsupportedSource
from porting.sources import open_source
from porting.sources.graphdef.reader import FrozenGraphSource, SavedModelSource


def changed(tf, folder, change):
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    file = folder / "saved_model.pb"
    model = SavedModel.FromString(file.read_bytes())
    change(model.meta_graphs[0], model)
    file.write_bytes(model.SerializeToString())
    return folder


def kernel_of(tf, folder):
    return tf.train.load_checkpoint(str(folder / "variables" / "variables")).get_tensor("kernel")


@pytest.mark.parametrize("named", ["", "saved_model.pb"])
def test_variables_are_read_beside_the_graph(tf, saved, named):
    folder = saved()
    source = open_source(folder / named)
    assert isinstance(source, SavedModelSource)
    np.testing.assert_array_equal(source.read("kernel"), kernel_of(tf, folder))
    assert source.tensors["kernel"].shape == (3, 3, 3, 8)
    assert [file.name for file in source.files] == [
        "saved_model.pb", "variables.index", "variables.data-00000-of-00001",
    ]  # fmt: skip
    assert source.weight_sets == ("as stored",)


def test_the_graph_says_where_a_variable_is_restored_from(tf, saved):
    """Not its name: the restoring operation may read any key."""
    folder = saved()
    prefix = folder / "variables" / "variables"
    kernel = np.random.default_rng(5).standard_normal((3, 3, 3, 8)).astype(np.float32)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        variables = {
            "kernel": tf.compat.v1.get_variable("a", initializer=np.zeros_like(kernel)),
            "other": tf.compat.v1.get_variable("b", initializer=kernel),
        }
        session.run(tf.compat.v1.global_variables_initializer())
        tf.compat.v1.train.Saver(variables).save(session, str(prefix), write_meta_graph=False)

    def elsewhere(meta, _):
        for node in meta.graph_def.node:
            if node.name.endswith("RestoreV2/tensor_names"):
                node.attr["value"].tensor.string_val[:] = [b"other"]

    source = open_source(changed(tf, folder, elsewhere))
    np.testing.assert_array_equal(source.read("kernel"), kernel)


def test_the_only_signature_of_images_is_taken(saved):
    assert open_source(saved(("mine",))).graph.outputs == ("scores",)


def test_several_signatures(saved):
    folder = saved(("one", "two"))
    refused(
        folder, UnsupportedSource, "no signature 'serving_default', and 2 .*there are (one|two), "
    )


def test_a_graph_that_serves_stands_beside_one_for_the_tpu(tf, saved):
    def twice(meta, model):
        model.meta_graphs.add().CopyFrom(meta)
        meta.meta_info_def.tags.append("tpu")
        meta.ClearField("signature_def")

    assert open_source(changed(tf, saved(), twice)).graph.outputs == ("scores",)


def test_no_graph_serves(tf, saved):
    def twice(meta, model):
        meta.meta_info_def.tags[:] = ["train"]
        model.meta_graphs.add().CopyFrom(meta)

    folder = changed(tf, saved(), twice)
    refused(folder, UnsupportedSource, r"tagged 'serve' alone; there are \{train\}, \{train\}")


def test_missing_variables(saved):
    folder = saved()
    shutil.rmtree(folder / "variables")
    refused(folder, BadSource, "the graph restores variables, but variables/variables.index is not")


def test_a_missing_shard(saved):
    folder = saved()
    (folder / "variables" / "variables.data-00000-of-00001").unlink()
    with pytest.raises(BadSource, match=r"variables.data-00000-of-00001: no such file"):
        open_source(folder)


def test_a_variable_that_is_a_part(tf, saved):
    def part(meta, _):
        for node in meta.graph_def.node:
            if node.name.endswith("RestoreV2/shape_and_slices"):
                node.attr["value"].tensor.string_val[:] = [b"6 3 3 8 0,3:0,3:0,3:0,8"]

    refused(changed(tf, saved(), part), UnsupportedSource, "'kernel' is a part of 'kernel'; part")


def test_a_variable_that_is_restored_from_nothing(tf, saved):
    def short(meta, _):
        for node in meta.graph_def.node:
            if node.name.endswith("RestoreV2/tensor_names"):
                node.attr["value"].tensor.ClearField("string_val")

    refused(changed(tf, saved(), short), BadSource, "saved_model.pb: damaged.*restores no tensor 0")


def test_cut_at_any_length(saved):
    folder = saved()
    file = folder / "saved_model.pb"
    whole = file.read_bytes()
    for end in range(0, len(whole), 97):
        file.write_bytes(whole[:end])
        with pytest.raises((BadSource, UnsupportedSource), match="saved"):
            open_source(folder)


def packed(folder, archive):
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, "made")
    return archive


def test_in_an_archive(tf, saved, tmp_path):
    folder = saved(folder="in/saved")
    source = open_source(packed(tmp_path / "in", tmp_path / "a1.tgz"))
    assert isinstance(source, SavedModelSource)
    assert source.files == (tmp_path / "a1.tgz",)
    np.testing.assert_array_equal(source.read("kernel"), kernel_of(tf, folder))


def test_errors_name_the_archive(saved, tmp_path):
    shutil.rmtree(saved(folder="in/saved") / "variables")
    archive = packed(tmp_path / "in", tmp_path / "a1.tgz")
    with pytest.raises(BadSource, match=f"^{archive}, made/saved: the graph restores variables"):
        open_source(archive)


def test_several_in_an_archive(saved, tmp_path):
    saved(folder="in/one"), saved(folder="in/two")
    archive = packed(tmp_path / "in", tmp_path / "a1.tgz")
    refused(archive, BadSource, "holds several SavedModels: made/one, made/two; unpack it")


def test_a_frozen_graph_in_an_archive_and_in_a_folder(written, tmp_path):
    (tmp_path / "in").mkdir()
    written(lambda x: x + 1.0, "in/mobilenet_frozen.pb")
    archive = packed(tmp_path / "in", tmp_path / "a1.tgz")
    source = open_source(archive)
    assert isinstance(source, FrozenGraphSource)
    assert [operator.kind for operator in source.graph.operators] == ["ADD"]
    assert isinstance(open_source(tmp_path / "in"), FrozenGraphSource)
