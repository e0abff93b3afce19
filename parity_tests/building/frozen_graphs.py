"""Frozen graphs of a few operations, written by TensorFlow."""

from __future__ import annotations

import numpy as np

from porting.judges.tensorflow import import_tensorflow


def frozen(path, build, shape=(None, 32, 32, 3)):
    """A frozen graph: what ``build`` makes of TensorFlow and a placeholder of images."""
    tf = import_tensorflow()
    with tf.Graph().as_default() as graph:
        build(tf, tf.compat.v1.placeholder(tf.float32, shape, "image"))
        path.write_bytes(graph.as_graph_def().SerializeToString())
    return path


def seeded(*shape, seed=0):
    """Normally distributed values of a shape, the same each time."""
    return np.random.default_rng((seed, *shape)).normal(0, 0.3, shape).astype(np.float32)


def classified(tf, x):
    """Mean over space and a dense layer of five classes."""
    mean = tf.reduce_mean(x, (1, 2))
    dense = tf.matmul(mean, seeded(mean.shape[-1], 5))
    return tf.nn.bias_add(dense, seeded(5), name="logits")
