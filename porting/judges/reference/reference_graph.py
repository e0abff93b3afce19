"""The TensorFlow graph of a network, variables and operators under Google's names."""

from __future__ import annotations

from typing import Any

from genmobilenet.config import NetworkConfig
from porting.errors import BadInput
from porting.judges.reference import mnasnet, slim
from porting.judges.reference.builder import Builder, ReferenceGraph
from porting.judges.reference.naming import SLIM


def build_reference(
    config: NetworkConfig,
    scheme: str,
    root: str,
    batch: int | None = None,
    size: int | None = None,
    settle: bool = False,
) -> ReferenceGraph:
    """Build the graph; variables are zero until they are restored or loaded.

    The image placeholder is ``truediv``, (batch, size, size, channels), already
    normalised. With ``settle`` each batch norm normalises by the statistics of
    the batch itself.

    Raises:
        BadInput: the network pads symmetrically, which TensorFlow does not.
    """
    import tensorflow as tf

    if config.padding != "same":
        raise BadInput("the TensorFlow reference pads SAME; give the tf_ form of the network")
    graph: Any = tf.Graph()
    with graph.as_default():
        shape = (batch, size, size, config.in_chans)
        image = tf.compat.v1.placeholder(tf.float32, shape, name="truediv")
        reference = ReferenceGraph(graph, image)
        if scheme == SLIM:
            slim.Slim(Builder(tf, reference, config, root, slim.NAMES, settle)).build()
        else:
            builder = Builder(tf, reference, config, root, mnasnet.NAMES, settle)
            mnasnet.MnasNet(builder, scheme).build()
    return reference
