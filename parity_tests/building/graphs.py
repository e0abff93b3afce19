"""Frozen graphs and SavedModels, written by TensorFlow from the reference graphs."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass, field, replace

import numpy as np

from genmobilenet import get_config
from porting.judges.reference.graphs import (
    BATCH_NORM_EPSILON,
    MNASNET_VARIABLES,
    SLIM,
    SLIM_VARIABLES,
    Builder,
    MnasNet,
    ReferenceGraph,
    Slim,
    root_and_scheme,
)
from porting.judges.reference.synthesize import load_weights, seeded_weights
from porting.judges.tensorflow import import_tensorflow

MEAN, DEVIATION = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
"""ImageNet's, in pixels 0..255, as MnasNet's serving graph has them."""


class Decomposed(Builder):
    """Batch norm in the pieces of ``tf.nn.batch_normalization``."""

    def norm(self, x, scope):
        names = ("gamma", "beta", "moving_mean", "moving_variance")
        gamma, beta, mean, variance = (self.variable(scope, n, [x.shape[-1]]) for n in names)
        return self.tf.nn.batch_normalization(x, mean, variance, beta, gamma, BATCH_NORM_EPSILON)


class Resources(Builder):
    """Resource variables, as TF1 has them in distributed training."""

    def variable(self, scope, name, shape):
        full = f"{self.root}/{scope}/{name}"
        with self.reference.graph.name_scope(None):
            self.reference.variables[full] = self.tf.compat.v1.get_variable(
                full, shape, initializer=self.tf.zeros_initializer(), use_resource=True
            )
        return self.reference.variables[full]


@dataclass
class Network:
    """A network of ``classes`` classes for images of ``size``, with seeded weights.

    ``normalises`` has it take pixels 0..255; ``softmax`` has it give probabilities.
    """

    model: str
    builder: type = Builder
    classes: int = 11
    size: int = 64
    normalises: bool = False
    softmax: bool = False
    batch: int | None = None
    weights: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self):
        self.tf = import_tensorflow()
        ends = {"num_classes": self.classes, "input_size": self.size}
        self.config = replace(get_config(self.model), **ends)
        self.root, self.scheme = root_and_scheme(self.model)
        if not self.weights:
            self.weights = seeded_weights(self.config, self.scheme, self.root, 1).ema

    def build(self, made, builder=None):
        """Add the network after ``made.image``."""
        names = SLIM_VARIABLES if self.scheme == SLIM else MNASNET_VARIABLES
        built = (builder or self.builder)(self.tf, made, self.config, self.root, names, False)
        if self.scheme == SLIM:
            Slim(built).build()
        else:
            MnasNet(built, self.scheme).build()
        return made.logits

    def session(self, write, image=None):
        """Call ``write`` with a session, the placeholder and the output of the built graph."""
        v1 = self.tf.compat.v1
        with self.tf.Graph().as_default() as graph, v1.Session() as session:
            shape = (self.batch, self.size, self.size, self.config.in_chans)
            given = v1.placeholder(self.tf.float32, shape, "input") if image is None else None
            taken, given = (given, given) if image is None else image(self.tf)
            if self.normalises:
                taken = (taken - self.tf.constant(MEAN, shape=[1, 1, 3])) / self.tf.constant(
                    DEVIATION, shape=[1, 1, 3]
                )
            made = ReferenceGraph(graph, taken)
            output = self.build(made)
            if self.softmax:
                output = probabilities(self.tf, output)
            load_weights(session, made.variables, self.weights)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return write(session, given, output)

    def answer(self, images):
        """The graph's output for images (N, size, size, C)."""
        return self.session(lambda session, given, output: session.run(output, {given: images}))

    def frozen(self):
        """The ``GraphDef`` with its variables replaced by constants."""
        convert = self.tf.compat.v1.graph_util.convert_variables_to_constants

        def write(session, _image, output):
            graph = session.graph.as_graph_def()
            return convert(session, graph, [output.op.name])

        return self.session(write)

    def write_frozen(self, path, change=lambda graph: graph):
        path.write_bytes(change(self.frozen()).SerializeToString())
        return path

    def write_saved_model(self, folder, image=None, outputs=None):
        save = self.tf.compat.v1.saved_model.simple_save

        def write(session, given, output):
            more = {} if outputs is None else outputs(self.tf, output)
            save(session, str(folder), {"images": given}, {"scores": output, **more})

        self.session(write, image)
        return folder

    def write_module(self, folder):
        """A SavedModel of TF2: a ``tf.Module`` whose variables have no names."""
        tf, network = self.tf, self
        module = tf.Module()
        module.held = [tf.Variable(values) for values in self.weights.values()]
        by_name = dict(zip(self.weights, module.held, strict=True))

        class Held(Builder):
            def variable(self, scope, name, shape):
                return by_name[f"{self.root}/{scope}/{name}"]

        @tf.function(input_signature=[tf.TensorSpec((None, self.size, self.size, 3))])
        def serve(images):
            return {"scores": network.build(ReferenceGraph(None, images), Held)}

        module.serve = serve
        tf.saved_model.save(module, str(folder), signatures={"serving_default": serve})
        return folder


def probabilities(tf, logits):
    """slim's ``Predictions``: a softmax between two reshapes, whose shapes are computed."""
    flat = tf.reshape(logits, [-1, logits.shape[-1]], "Predictions/Reshape")
    scores = tf.nn.softmax(flat, name="Predictions/Softmax")
    return tf.reshape(scores, tf.shape(logits), "Predictions/Reshape_1")


def decoded_images(size, scaled=False):
    """Images that the graph decodes itself, one by one, as MnasNet's serving graph does.

    ``scaled`` has it make [-1, 1] of them, each by itself.
    """

    def image(tf):
        files = tf.compat.v1.placeholder(tf.string, [None], "image_bytes")

        def decode(file):
            decoded = tf.image.decode_jpeg(file, 3)
            resized = tf.compat.v1.image.resize_bicubic([decoded], [size, size])[0]
            laid = tf.reshape(resized, [size, size, 3])
            return laid / 127.5 - 1.0 if scaled else laid

        with tf.compat.v1.variable_scope("serving", use_resource=True):
            stacked = tf.map_fn(decode, files, dtype=tf.float32, back_prop=False)
        return stacked, files

    return image


def folded(graph):
    """Batch norms folded into the convolutions before them, as by ``fold_batch_norms``."""
    tf = import_tensorflow()
    nodes = {node.name: node for node in graph.node}

    def constant(name):
        node = nodes[name]
        while node.op == "Identity":
            node = nodes[node.input[0]]
        return node, tf.make_ndarray(node.attr["value"].tensor)

    for node in graph.node:
        if node.op not in ("FusedBatchNorm", "FusedBatchNormV3"):
            continue
        layer = nodes[node.input[0]]
        gamma, beta, mean, variance = (constant(name)[1] for name in node.input[1:5])
        scale = gamma / np.sqrt(variance + node.attr["epsilon"].f)
        kernel, values = constant(layer.input[1])
        axes = (..., None) if layer.op.startswith("Depthwise") else ...
        kernel.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(values * scale[axes]))
        shift, _ = constant(node.input[2])
        shift.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(beta - mean * scale))
        made = tf.compat.v1.NodeDef(name=node.name, op="BiasAdd")
        made.input.extend([node.input[0], node.input[2]])
        made.attr["T"].type = node.attr["T"].type
        node.CopyFrom(made)
    return graph


def renamed(graph, **ops):
    """Rename operations to the names of earlier TensorFlow versions."""
    for node in graph.node:
        if node.op in ops:
            node.op = ops[node.op]
            if node.op == "FusedBatchNorm":
                del node.attr["U"]
                del node.attr["exponential_avg_factor"]
    return graph


def averaging(graph, size):
    """The mean over height and width as an average over a window of the whole."""
    for node in graph.node:
        if node.op == "Mean" and re.search(r"^Mean", node.name):
            del node.input[1:]
            node.op = "AvgPool"
            for name in ("keep_dims", "Tidx"):
                del node.attr[name]
            node.attr["ksize"].list.i.extend([1, size, size, 1])
            node.attr["strides"].list.i.extend([1, 1, 1, 1])
            node.attr["padding"].s = b"VALID"
            node.attr["data_format"].s = b"NHWC"
    return graph
