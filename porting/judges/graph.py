"""The judge of graphs: TensorFlow runs the graph itself and gives any of its tensors.

Neither a plan nor a reader of this package has a part in it. TensorFlow puts the functions of a
SavedModel in the place of their calls, and the graph's own operation restores the variables.

TensorFlow's operations can read and write files and run Python. A graph is run only if everything
in it is listed here: it computes, or restores variables.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from porting.errors import BadInput, NoPieces, UnsupportedSource
from porting.graph.operators import takes_channels_first
from porting.judges.judge import Run
from porting.judges.tensorflow import (
    import_tensorflow,
    reason_of,
    run_pieces,
    session_settings,
)
from porting.judges.tfjs import graph_of_tfjs
from porting.sources.graphdef import GraphDefSource, RestoredGraphSource, SavedModelSource
from porting.sources.tfjs import TFJSGraphSource

ALLOW_LIST = frozenset(
    """
    Const Placeholder PlaceholderWithDefault NoOp Identity IdentityN StopGradient PreventGradient
    Snapshot CheckNumerics EnsureShape Cast
    Conv2D DepthwiseConv2dNative MatMul BiasAdd FusedBatchNorm FusedBatchNormV2 FusedBatchNormV3
    Add AddV2 AddN Sub Mul RealDiv Div Neg Sqrt Rsqrt Square Maximum Minimum
    Relu Relu6 LeakyRelu Elu Selu Sigmoid Tanh Softplus Softmax Exp Log
    Mean Sum Max MaxPool AvgPool Pad PadV2 MirrorPad
    Split SplitV
    Shape StridedSlice Slice Pack Unpack ConcatV2 Reshape Squeeze ExpandDims Transpose Fill Prod
    PartitionedCall StatefulPartitionedCall
    Dequantize FakeQuantWithMinMaxArgs FakeQuantWithMinMaxVars FakeQuantWithMinMaxVarsPerChannel
    RandomUniform Floor GreaterEqual Select SelectV2
    Variable VariableV2 VarHandleOp ReadVariableOp VarIsInitializedOp DisableCopyOnRead
    Assign AssignVariableOp RestoreV2
    """.split()
)
"""Operations that compute, and those that restore variables."""


def check_operations(message: Any, path: Path) -> None:
    """Check that a ``GraphDef``, and every function that it can call, only reads and computes.

    Functions that nothing calls are taken out of it.

    Raises:
        UnsupportedSource: an operation is not known to.
    """

    def called_by(node: Any) -> Iterator[str]:
        """Every function that the node is, or that an attribute of it names."""
        yield node.op
        for value in node.attr.values():
            yield value.func.name
            yield from (function.name for function in value.list.func)

    functions = {function.signature.name: function for function in message.library.function}
    reachable: set[str] = set()
    pending = [message.node]
    while pending:
        for node in pending.pop():
            if node.op not in ALLOW_LIST and node.op not in functions:
                raise UnsupportedSource(
                    f"{path}: {node.op} {node.name!r} is not known to compute alone, so that the "
                    "graph is not run. Port it with --no-verify"
                )
            for name in functions.keys() & set(called_by(node)) - reachable:
                reachable.add(name)
                pending.append(functions[name].node_def)
    del message.library.function[:]
    message.library.function.extend(functions[name] for name in sorted(reachable))


class GraphJudge:
    """Runs a frozen graph, a SavedModel or a graph model of TensorFlow.js as it is.

    TensorFlow is given only what leads to the graph's output and what restores its variables,
    and only if all of it is on the allow-list. With ``in_float`` values are not rounded to the
    steps of an integer type, as quantisation-aware training does; the weights stay rounded.

    Raises:
        MissingJudge: TensorFlow is not installed.
        BadInput: TensorFlow cannot run the graph.
        UnsupportedSource: an operation might do more than read and compute.
    """

    def __init__(self, source: GraphDefSource, in_float: bool = False) -> None:
        self._tf = tf = import_tensorflow()
        self.name = "TensorFlow without rounding" if in_float else "TensorFlow"
        self.version = str(tf.__version__)
        self._channels_first = takes_channels_first(source)
        assert source.graph is not None  # every such source has one
        self._source, self._image = source, source.graph.inputs[0]
        self._values: Mapping[str, np.ndarray] = {}
        try:
            message = _graph_to_run(tf, source, source.graph.outputs[0])
            self._session = self._session_of(message)
            if in_float:
                _remove_rounding(tf, message, self._image, self._session)
                self._session = self._session_of(message)
        except (ValueError, RuntimeError, tf.errors.OpError) as error:
            raise BadInput(
                f"{source.path}: TensorFlow cannot run it: {reason_of(error)}"
            ) from error

    def _session_of(self, message: Any) -> Any:
        """A session that runs a graph, with its variables restored."""
        tf, source = self._tf, self._source
        graph = tf.Graph()
        with graph.as_default():
            tf.graph_util.import_graph_def(message, name="")
        # Operations run one by one, none fused or folded.
        config = session_settings(tf)
        config.graph_options.rewrite_options.disable_meta_optimizer = True
        session = tf.compat.v1.Session(graph=graph, config=config)
        if isinstance(source, RestoredGraphSource):
            if source.meta.restore:
                feed = {source.meta.restores_from: str(source.prefix)}
                session.run(source.meta.restore, feed)
            self._assign_others(source, session)
        return session

    def _assign_others(self, source: RestoredGraphSource, session: Any) -> None:
        """Give values to the variables that the graph's own operation has not restored."""
        tf, graph = self._tf, session.graph
        raw = tf.raw_ops
        variables = [op.outputs[0] for op in graph.get_operations() if op.type in _VARIABLES]
        with graph.as_default():
            tests = [
                raw.VarIsInitializedOp(resource=variable)
                if variable.dtype == tf.resource
                else raw.IsVariableInitialized(ref=variable)
                for variable in variables
            ]
        is_restored = session.run(tests)
        names = {v.op.name for v, flag in zip(variables, is_restored, strict=True) if not flag}
        if not names <= self._values.keys():
            if isinstance(source, SavedModelSource) and source.meta.restore:
                self._values = _captured_variables(tf, source)
            else:
                # A module of TF Hub: its variables have the names of the checkpoint.
                reader = tf.train.load_checkpoint(str(source.prefix))
                names_in_file = names & reader.get_variable_to_shape_map().keys()
                self._values = {name: reader.get_tensor(name) for name in names_in_file}
        assignments, feed = [], {}
        with graph.as_default():
            for variable in variables:
                name = variable.op.name
                if name in names and name in self._values:
                    values = self._values[name]
                    entry = tf.compat.v1.placeholder(values.dtype, values.shape)
                    assignments.append(
                        raw.AssignVariableOp(resource=variable, value=entry)
                        if variable.dtype == tf.resource
                        else raw.Assign(ref=variable, value=entry)
                    )
                    feed[entry] = values
        session.run(assignments, feed)

    @property
    def input_type(self) -> str:
        """NumPy's name of the type that the graph's placeholder has."""
        return str(self._session.graph.get_tensor_by_name(_tensor_name(self._image)).dtype.name)

    def run(self, inputs: np.ndarray, taps: Mapping[str, str]) -> Run:
        """Run the graph on inputs (N, H, W, C), one by one.

        ``taps`` gives, by tap, the tensor's name in the source; arrays are NHWC or (N, C).
        """
        tf = self._tf
        dtype = self._source.activations[self._image].dtype
        inputs = inputs.transpose(0, 3, 1, 2) if self._channels_first else inputs
        fetches = {tap: _tensor_name(name) for tap, name in taps.items()}
        arrays_by_tap: dict[str, list[np.ndarray]] = {tap: [] for tap in taps}
        try:
            for image in inputs:
                feed = {_tensor_name(self._image): image[None].astype(dtype)}
                for tap, values in self._session.run(fetches, feed).items():
                    arrays_by_tap[tap].append(values)
        except (ValueError, KeyError, tf.errors.OpError) as error:
            raise BadInput(
                f"{self._source.path}: TensorFlow cannot run it: {reason_of(error)}"
            ) from error
        arrays = {tap: np.concatenate(parts) for tap, parts in arrays_by_tap.items()}
        return Run(arrays, self.name, self.version)

    def run_pieces(
        self, inputs: np.ndarray, values: Mapping[str, np.ndarray], taps: Mapping[str, str]
    ) -> Run:
        """Each tap computed from ``values`` at the taps before it, NHWC or (N, C).

        ``inputs`` (1, H, W, C) are what the graph itself gets. A tap without a value is computed
        and not fed.

        Raises:
            NoPieces: TensorFlow cannot run the graph from values fed between.
        """
        graph, tf = self._session.graph, self._tf
        dtype = self._source.activations[self._image].dtype
        inputs = inputs.transpose(0, 3, 1, 2) if self._channels_first else inputs
        entry = {graph.get_tensor_by_name(_tensor_name(self._image)): inputs.astype(dtype)}
        try:
            tensors = {tap: graph.get_tensor_by_name(_tensor_name(n)) for tap, n in taps.items()}
            results = run_pieces(self._session, entry, values, tensors)
        except (ValueError, KeyError, tf.errors.OpError) as error:
            raise NoPieces(
                f"{self._source.path}: TensorFlow cannot run it piece by piece: {reason_of(error)}"
            ) from error
        return Run(results, self.name, self.version)


def _graph_to_run(tf: Any, source: GraphDefSource, output: str) -> Any:
    """The ``GraphDef`` to run: what leads from the images to the output, functions inlined.

    Where the graph reads its images from files, a placeholder takes the place of that part.
    """
    from tensorflow.core.protobuf.meta_graph_pb2 import MetaGraphDef
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    extract = tf.compat.v1.graph_util.extract_sub_graph
    assert source.graph is not None
    image, output_names = source.graph.inputs[0], [output.partition(":")[0]]
    if isinstance(source, RestoredGraphSource):
        content = source.file.read_bytes()
        if isinstance(source, SavedModelSource):
            graphs, tags = SavedModel.FromString(content).meta_graphs, source.meta.tags
            whole = next(m for m in graphs if set(m.meta_info_def.tags) == tags).graph_def
        else:
            whole = MetaGraphDef.FromString(content).graph_def
        output_names = [source.output_name.partition(":")[0]]
        output_names += [source.meta.restore] if source.meta.restore else []
    elif isinstance(source, TFJSGraphSource):
        whole = graph_of_tfjs(source.file)
    else:
        whole = tf.compat.v1.GraphDef.FromString(source.file.read_bytes())
    message = whole
    if all(node.name != image for node in whole.node):
        # The images are made within a function.
        message = _inlined(tf, extract(whole, output_names), output_names)
    for node in message.node:
        if node.name == image and not node.op.startswith("Placeholder"):
            kinds = (node.attr[name].type for name in ("dtype", "element_dtype"))
            kind = next(filter(None, kinds), tf.float32.as_datatype_enum)
            node.Clear()
            node.name, node.op = image, "Placeholder"
            node.attr["dtype"].type = kind
    message = extract(message, output_names)
    check_operations(message, source.path)
    return _inlined(tf, message, output_names) if len(message.library.function) else message


def _inlined(tf: Any, message: Any, output_names: Sequence[str]) -> Any:
    """A ``GraphDef`` in which TensorFlow's own optimizer has put functions in place of calls."""
    from tensorflow.core.protobuf.meta_graph_pb2 import MetaGraphDef
    from tensorflow.python.grappler import tf_optimizer

    meta = MetaGraphDef(graph_def=message)
    # The outputs that the optimizer keeps.
    meta.collection_def["train_op"].node_list.value.extend(output_names)
    config = tf.compat.v1.ConfigProto()
    options = config.graph_options.rewrite_options
    options.min_graph_nodes = -1
    options.optimizers.append("function")
    return tf_optimizer.OptimizeGraph(config, meta)


def _captured_variables(tf: Any, source: SavedModelSource) -> dict[str, np.ndarray]:
    """Node of a variable -> its values, of those that the signature's function captures.

    ``tf.saved_model.load`` restores them by the object graph. It would also run the code that
    creates and fills tables, so that a model with such objects is not loaded.

    Raises:
        UnsupportedSource: the object graph has other objects than variables and functions.
    """
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    model = SavedModel.FromString(source.file.read_bytes())
    kinds = {
        node.WhichOneof("kind")
        for meta in model.meta_graphs
        for node in meta.object_graph_def.nodes
    }
    if len(model.meta_graphs) > 1 or not kinds or kinds & {"resource", "asset"}:
        raise UnsupportedSource(
            f"{source.path}: some of its variables are restored by its object graph alone, which "
            "has other objects than variables and functions, so that it is not loaded. Port it "
            "with --no-verify"
        )
    saved_model = tf.saved_model.load(str(source.folder))
    function = saved_model.signatures[source.signature]
    nodes = {node.name: node for node in model.meta_graphs[0].graph_def.node}
    call = nodes[source.output_name.partition(":")[0]]
    references = [name for name in call.input if not name.startswith("^")]
    captures = function.captured_inputs
    variables = {id(variable.handle): variable for variable in function.variables}
    return {
        reference.partition(":")[0]: variables[id(handle)].numpy()
        for reference, handle in zip(references[-len(captures) :], captures, strict=True)
        if id(handle) in variables
    }


_VARIABLES = ("VarHandleOp", "VariableV2", "Variable")
_LAYERS = (
    "Conv2D", "DepthwiseConv2dNative", "MatMul", "BiasAdd", "FusedBatchNorm", "FusedBatchNormV2",
    "FusedBatchNormV3",
)  # fmt: skip


def _remove_rounding(tf: Any, message: Any, image: str, session: Any) -> None:
    """Replace every FakeQuant operation on the path from the image by an identity or a clamp.

    Directly after a layer a range that begins at 0 stands for an activation, as in a quantised
    TFLite file: from 0 to 6, to within a step, for a ReLU6, else for a ReLU. ``session`` runs the
    graph as it is, and gives the ends of the ranges.
    """
    nodes = {node.name: node for node in message.node}
    inputs = {
        node.name: [name.lstrip("^").partition(":")[0] for name in node.input]
        for node in message.node
    }
    takers: dict[str, list[str]] = {}
    for name, sources in inputs.items():
        for source in sources:
            takers.setdefault(source, []).append(name)
    dependents, pending = {image}, [image]
    while pending:
        following = set(takers.get(pending.pop(), ())) - dependents
        dependents |= following
        pending += following

    for name in dependents:
        node = nodes[name]
        if not node.op.startswith("FakeQuant") or inputs[name][0] not in dependents:
            continue
        low, high = (
            (node.attr["min"].f, node.attr["max"].f)
            if node.op.endswith("Args")
            else session.run([_tensor_name(tensor) for tensor in node.input[1:3]])
        )
        layer = nodes[inputs[name][0]]
        while layer.op == "Identity":
            layer = nodes[inputs[layer.name][0]]
        is_bias = layer.op in ("Add", "AddV2") and len(dependents & set(inputs[layer.name])) == 1
        kind, data, dtype = "Identity", node.input[0], tf.float32.as_datatype_enum
        if np.size(low) == np.size(high) == 1 and (layer.op in _LAYERS or is_bias):
            step = (high - low) / 255
            if abs(low) < step / 2:
                kind = "Relu6" if abs(high - 6) <= step else "Relu"
        node.Clear()
        node.name, node.op = name, kind
        node.input.append(data)
        node.attr["T"].type = dtype


def _tensor_name(tensor: str) -> str:
    return tensor if ":" in tensor else f"{tensor}:0"
