"""Small graphs on disk, written by TensorFlow."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def tf():
    pytest.importorskip("tensorflow")
    from porting.judges.tensorflow import import_tensorflow

    return import_tensorflow()


@pytest.fixture
def written(tf, tmp_path):
    """Build a graph with a function of an image placeholder, and write it frozen."""

    def write(build, name="graph.pb", shape=(None, 32, 32, 3), dtype="float32"):
        with tf.Graph().as_default() as graph:
            build(tf.compat.v1.placeholder(dtype, shape, "input"))
        path = tmp_path / name
        path.write_bytes(graph.as_graph_def().SerializeToString())
        return path

    return write


@pytest.fixture
def saved(tf, tmp_path):
    """The folder of a SavedModel of TF1: one convolution, its variables and signatures."""
    v1 = tf.compat.v1

    def write(names=("serving_default",), folder="saved", tags=("serve",)):
        with tf.Graph().as_default(), v1.Session() as session:
            image = v1.placeholder("float32", (None, 32, 32, 3), "input")
            kernel = v1.get_variable("kernel", (3, 3, 3, 8), use_resource=False)
            scores = tf.reduce_mean(tf.nn.conv2d(image, kernel, 2, "SAME"), [1, 2], name="scores")
            session.run(v1.global_variables_initializer())
            info = v1.saved_model.build_tensor_info
            signature = v1.saved_model.build_signature_def({"x": info(image)}, {"y": info(scores)})
            builder = v1.saved_model.Builder(str(tmp_path / folder))
            builder.add_meta_graph_and_variables(
                session, list(tags), dict.fromkeys(names, signature)
            )
            builder.save()
        return tmp_path / folder

    return write
