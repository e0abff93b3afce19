"""Checkpoints of TensorFlow for Poets: the network is a constant of the graph beside them."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from parity_tests.building.frozen_graphs import seeded
from parity_tests.porting.sources.refusing import refused
from porting.errors import BadSource, UnsupportedSource
from porting.sources import open_source
from porting.sources.checkpoint import CheckpointSource
from porting.sources.graphdef import TrainingGraphSource

SCOPES = ("final_training_ops", "final_retrain_ops")


@pytest.fixture(scope="module", params=SCOPES)
def retrained(tf, tmp_path_factory, request):
    """The folder of a checkpoint, and what its network gives for some images.

    Source of the graph's parts: ``add_final_retrain_ops``, ``add_evaluation_step`` and
    ``add_jpeg_decoding`` in tensorflow/examples/image_retraining/retrain.py.
    """
    folder, v1 = tmp_path_factory.mktemp("retrained"), tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        image = v1.placeholder("float32", (None, 32, 32, 3), "Placeholder")
        layer = tf.nn.relu(tf.nn.conv2d(image * 2.0 - 1.0, seeded(3, 3, 3, 8), 2, "SAME"))
        features = tf.reduce_mean(layer, [1, 2])
        with v1.name_scope("input"):
            bottleneck = v1.placeholder_with_default(features, [None, 8], "BottleneckInput")
            labels = v1.placeholder("int64", [None], "GroundTruthInput")
        with v1.name_scope(request.param):
            with v1.name_scope("weights"):
                weights = v1.Variable(seeded(8, 4), name="final_weights")
                v1.summary.histogram("histogram", weights)
            with v1.name_scope("biases"):
                biases = v1.Variable(seeded(4), name="final_biases")
            with v1.name_scope("Wx_plus_b"):
                logits = tf.matmul(bottleneck, weights) + biases
                v1.summary.histogram("pre_activations", logits)
        scores = tf.nn.softmax(logits, name="final_result")
        v1.summary.histogram("activations", scores)
        loss = v1.losses.sparse_softmax_cross_entropy(labels, logits)
        v1.summary.scalar("cross_entropy", loss)
        v1.train.GradientDescentOptimizer(0.01).minimize(loss)
        tf.reduce_mean(tf.cast(tf.equal(tf.argmax(scores, 1), labels), tf.float32))
        decoded = tf.image.decode_jpeg(v1.placeholder(tf.string, name="DecodeJPGInput"), channels=3)
        v1.image.resize_bilinear(tf.expand_dims(tf.cast(decoded, tf.float32), 0), [32, 32])
        session.run(v1.global_variables_initializer())
        v1.train.Saver().save(session, str(folder / "_retrain_checkpoint"))
        pixels = np.random.default_rng(3).uniform(0, 1, (2, 32, 32, 3)).astype(np.float32)
        return folder, request.param, pixels, session.run(scores, {image: pixels})


@pytest.mark.parametrize("named", ["", "_retrain_checkpoint", "_retrain_checkpoint.meta"])
def test_the_graph_beside_a_retrained_layer_is_read(retrained, named):
    folder, scope, _, _ = retrained
    source = open_source(folder / named)
    assert isinstance(source, TrainingGraphSource)
    kinds = [operator.kind for operator in source.graph.operators]
    assert kinds == ["MUL", "SUB", "CONV_2D", "RELU", "MEAN", "CAST", "FULLY_CONNECTED", "SOFTMAX"]
    np.testing.assert_array_equal(source.read(f"{scope}/weights/final_weights"), seeded(8, 4))


def test_the_judge_restores_the_checkpoint(retrained):
    from porting.judges.graph import GraphJudge

    folder, _, pixels, expected = retrained
    source = open_source(folder)
    run = GraphJudge(source).run(pixels, {"scores": source.graph.outputs[0]})
    np.testing.assert_allclose(run.taps["scores"], expected, rtol=1e-5)


def copied(retrained, folder, *left_out):
    # The file "checkpoint" names the place where the checkpoint was written.
    ignored = shutil.ignore_patterns("checkpoint", *left_out)
    return shutil.copytree(retrained[0], folder, ignore=ignored)


def test_without_the_graph_the_layer_is_alone(retrained, tmp_path):
    folder = copied(retrained, tmp_path / "other", "*.meta")
    refused(folder, UnsupportedSource, "retrained last layer alone.*_retrain_checkpoint.meta")


def test_the_graph_without_its_checkpoint(retrained, tmp_path):
    folder = copied(retrained, tmp_path / "other", "*.index")
    place = folder / "_retrain_checkpoint.meta"
    refused(place, BadSource, "_retrain_checkpoint.index, whose graph it is, is not beside it")


def test_other_checkpoints_are_read_without_their_graph(tf, tmp_path):
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        v1.get_variable("MobilenetV1/Conv2d_0/weights", (3, 3, 3, 8))
        session.run(v1.global_variables_initializer())
        v1.train.Saver().save(session, str(tmp_path / "model"))
    assert isinstance(open_source(tmp_path), CheckpointSource)


def test_a_damaged_graph(retrained, tmp_path):
    folder = copied(retrained, tmp_path / "other")
    file = folder / "_retrain_checkpoint.meta"
    whole = file.read_bytes()
    for end in (0, 1, 97, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:end])
        with pytest.raises((BadSource, UnsupportedSource), match="_retrain_checkpoint"):
            open_source(folder)
