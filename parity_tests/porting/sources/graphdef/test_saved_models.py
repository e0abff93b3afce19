"""SavedModels: which graph, which signature, which variables; and archives of them."""

from __future__ import annotations

import shutil
import tarfile

import numpy as np
import pytest

from parity_tests.porting.sources.refusing import refused
from porting.errors import BadInput, BadSource, UnsupportedSource
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
    refused(folder, BadInput, "has 2 signatures of images: (one, two|two, one); choose one with --")
    assert open_source(folder, "two").signature == "two"
    with pytest.raises(BadInput, match=r"no signature 'three'; there are (one, two|two, one)"):
        open_source(folder, "three")


def test_a_format_without_signatures(tf, written):
    path = written(tf.nn.relu)
    with pytest.raises(BadInput, match=r"no signatures \(frozen graph\).*leave --signature out"):
        open_source(path, "serving_default")


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


@pytest.fixture(scope="module")
def of_keras(tf, tmp_path_factory):
    """A model of Keras 3 in ``tf.saved_model.save``: it restores copies of what it uses."""
    import keras

    layers = keras.layers
    image = keras.Input((32, 32, 3))
    normalised = layers.BatchNormalization()(layers.Conv2D(4, 3, use_bias=False)(image))
    mean = layers.GlobalAveragePooling2D()(layers.ReLU()(normalised))
    model = keras.Model(image, layers.Dense(5)(mean))
    generator = np.random.default_rng(7)
    model.set_weights([generator.uniform(0.5, 1.5, w.shape) for w in model.get_weights()])
    folder = tmp_path_factory.mktemp("keras") / "saved"
    tf.saved_model.save(model, str(folder))
    return model, folder


def test_variables_that_a_function_captures_are_found_by_the_object_graphs(of_keras):
    model, folder = of_keras
    source = open_source(folder)
    expected = {variable.path: variable.numpy() for variable in model.variables}
    read = {name: source.read(name) for name in source.tensors if name in expected}
    assert read.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_array_equal(read[name], values, name)


def test_tensorflow_gives_values_to_captured_variables(of_keras):
    from porting.judges.graph import GraphJudge

    model, folder = of_keras
    pixels = np.random.default_rng(3).uniform(-1, 1, (2, 32, 32, 3)).astype(np.float32)
    source = open_source(folder)
    run = GraphJudge(source).run(pixels, {"logits": source.graph.outputs[0]})
    expected = model.predict(pixels, verbose=0)
    np.testing.assert_allclose(run.taps["logits"], expected, rtol=1e-5)


def copied(folder, target, change):
    shutil.copytree(folder, target)
    return changed(None, target, change)


def test_the_order_of_captures_decides(of_keras, tmp_path):
    """Not the names of the variables: TensorFlow looks at the objects alone."""
    _, folder = of_keras

    def exchange(meta, _):
        for function in meta.object_graph_def.concrete_functions.values():
            # The batch norm's: mean, variance, gamma, beta in some order.
            order = function.bound_inputs
            order[1], order[2] = order[2], order[1]

    source, usual = open_source(copied(folder, tmp_path / "other", exchange)), open_source(folder)
    call = next(node for node in usual.meta.graph.nodes if node.op == "StatefulPartitionedCall")
    one, other = call.inputs[2:4]
    np.testing.assert_array_equal(source.read(one), usual.read(other))
    np.testing.assert_array_equal(source.read(other), usual.read(one))


@pytest.mark.parametrize("number", [-1, 99_999])
def test_captures_of_no_object(of_keras, tmp_path, number):
    def away(meta, _):
        for function in meta.object_graph_def.concrete_functions.values():
            function.bound_inputs[0] = number

    folder = copied(of_keras[1], tmp_path / "other", away)
    refused(folder, UnsupportedSource, "variable 'conv2d.*/kernel' has no values in it")


def test_a_model_with_tables_is_not_loaded(of_keras, tmp_path):
    """TensorFlow would run what fills them; the graph itself is not known to be harmless."""
    from porting.judges.graph import GraphJudge

    def with_table(meta, _):
        meta.object_graph_def.nodes.add().resource.device = ""

    source = open_source(copied(of_keras[1], tmp_path / "other", with_table))
    with pytest.raises(UnsupportedSource, match="other objects than variables and functions"):
        GraphJudge(source)


@pytest.fixture
def hub_module(tf, tmp_path):
    """A module as TF Hub writes it: an untagged graph beside one for training, no saver.

    Source: ``_ModuleSpec._export`` in tensorflow_hub/native_module.py and
    ``SavedModelHandler.export`` in tensorflow_hub/saved_model_lib.py.
    """
    v1 = tf.compat.v1

    def write(use_resource):
        from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

        folder = tmp_path / "module"
        model = SavedModel(saved_model_schema_version=1)
        for training in (True, False):
            with tf.Graph().as_default() as graph, v1.Session() as session:
                image = v1.placeholder("float32", (None, 32, 32, 3), "images")
                kernel = v1.get_variable("conv/kernel", (3, 3, 3, 8), use_resource=use_resource)
                features = tf.reduce_mean(tf.nn.conv2d(image, kernel, 2, "SAME"), [1, 2])
                scores = tf.matmul(features, np.ones((8, 5), np.float32))
                session.run(v1.global_variables_initializer())
                meta = v1.train.export_meta_graph(graph=graph)
                meta.ClearField("saver_def")
                meta.meta_info_def.tags.extend(["train"] if training else [])
                info = v1.saved_model.build_tensor_info
                for name, output in (("default", scores), ("image_feature_vector", features)):
                    entry = meta.signature_def[name]
                    entry.inputs["images"].CopyFrom(info(image))
                    entry.outputs["default"].CopyFrom(info(output))
                model.meta_graphs.append(meta)
                if not training:
                    saver = v1.train.Saver()
                    place = str(folder / "variables" / "variables")
                    (folder / "variables").mkdir(parents=True)
                    saver.save(session, place, write_meta_graph=False, write_state=False)
        (folder / "saved_model.pb").write_bytes(model.SerializeToString())
        (folder / "tfhub_module.pb").write_bytes(b"\x08\x03")
        return folder

    return write


@pytest.mark.parametrize("use_resource", [False, True])
def test_a_module_of_tf_hub(tf, hub_module, use_resource, tmp_path):
    from porting.judges.graph import GraphJudge

    folder = hub_module(use_resource)
    source = open_source(folder)
    assert (source.signature, source.meta.tags) == ("default", frozenset())
    kernel = tf.train.load_checkpoint(str(folder / "variables" / "variables")).get_tensor(
        "conv/kernel"
    )
    np.testing.assert_array_equal(source.read("conv/kernel"), kernel)
    pixels = np.random.default_rng(3).uniform(0, 1, (1, 32, 32, 3)).astype(np.float32)
    run = GraphJudge(source).run(pixels, {"logits": source.graph.outputs[0]})
    features = tf.reduce_mean(tf.nn.conv2d(pixels, kernel, 2, "SAME"), [1, 2]).numpy()
    np.testing.assert_allclose(run.taps["logits"], features @ np.ones((8, 5)), rtol=1e-4)

    other = open_source(folder / "tfhub_module.pb", "image_feature_vector")
    assert len(other.graph.operators) == len(source.graph.operators) - 1
    archive = packed(folder, tmp_path / "module.tgz")
    assert open_source(archive, "default").graph == source.graph


def test_what_changes_at_random_is_not_ported(tf, written):
    def flips(image):
        shape = [tf.shape(image)[0], 1, 1, 1]
        chance = tf.random.stateless_uniform(shape, seed=[1, 2])
        flipped = tf.where(chance <= 0.5, tf.reverse(image, [2]), image, name="flip")
        tf.reduce_mean(tf.nn.relu(flipped), [1, 2])

    refused(written(flips), UnsupportedSource, "SelectV2 'flip.*' changes values at random each")


def test_images_that_a_function_decodes(tf, tmp_path):
    """A signature of TensorFlow 2 is a function: the decoded images are in it."""
    from porting.judges.graph import GraphJudge

    kernel = np.random.default_rng(1).normal(size=(3, 3, 3, 5)).astype(np.float32)

    class Model(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
        def __call__(self, files):
            images = tf.map_fn(
                lambda file: tf.image.resize(tf.io.decode_jpeg(file, 3), (8, 8)),
                files, fn_output_signature=tf.float32,
            )  # fmt: skip
            return {"scores": tf.reduce_mean(tf.nn.conv2d(images, kernel, 1, "SAME"), [1, 2])}

    model = Model()
    signatures = {"serving_default": model.__call__.get_concrete_function()}
    tf.saved_model.save(model, str(tmp_path / "saved"), signatures=signatures)
    source = open_source(tmp_path / "saved")
    assert source.decodes_images
    pixels = np.random.default_rng(3).uniform(0, 255, (1, 8, 8, 3)).astype(np.float32)
    run = GraphJudge(source).run(pixels, {"scores": source.graph.outputs[0]})
    expected = tf.reduce_mean(tf.nn.conv2d(pixels, kernel, 1, "SAME"), [1, 2])
    np.testing.assert_allclose(run.taps["scores"], expected, rtol=1e-4, atol=1e-3)
