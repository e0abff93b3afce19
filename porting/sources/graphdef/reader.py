"""Readers of frozen graphs and SavedModels: weights and graph, without TensorFlow."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from porting.errors import BadInput, BadSource, UnsupportedSource
from porting.sources.archive import Display, UnpackedArchive
from porting.sources.graphdef.constants import Constants, RestoredVariables, StoredVariables
from porting.sources.graphdef.conversion import Converter
from porting.sources.graphdef.graph_def import (
    GraphDef,
    MetaGraph,
    Node,
    Signature,
    parse_graph,
    parse_meta_graph,
    parse_saved_model,
)
from porting.sources.graphdef.inlining import InlinedGraph, InlinedNode, node_of, tensor_name
from porting.sources.labels import labels_beside
from porting.sources.memory import mapped
from porting.sources.protobuf import Malformed, fields, message, text, varint
from porting.sources.source import DEFAULT_SIGNATURE, Graph, Source, TensorInfo
from porting.sources.tensor_proto import Shape

SAVED_MODEL = "saved_model.pb"
"""The file of a SavedModel's folder that holds its graph."""

META_SUFFIX = ".meta"
"""Ends the name of a checkpoint's graph."""

_HUB_MODULE = "tfhub_module.pb"
"""The file beside the graph that says that it is a module of TF Hub for TensorFlow 1."""

VARIABLES = Path("variables", "variables")
"""The checkpoint of a SavedModel, beside its graph."""

_HEAD = 1 << 16
_NAME = re.compile(r"[A-Za-z0-9.][A-Za-z0-9_.\\/>-]*")
"""TensorFlow's rule for the names of nodes (``node_def_util.cc``)."""
_OP = re.compile(r"[A-Za-z_][A-Za-z0-9_>]*")
_NODE_TAG = 0x0A

_PLACEHOLDERS = ("Placeholder", "PlaceholderV2", "PlaceholderWithDefault")
_STACKS = ("TensorArrayGatherV3", "TensorListStack")
"""Operations that make a batch of images that the graph has decoded one by one."""
_CHOICES = ("ArgMax", "ArgMin", "TopK", "TopKV2", "InTopK", "InTopKV2")
"""Operations that return the number of a class instead of its score."""
_NOT_OUTPUTS = (*_CHOICES, "HistogramSummary", "TensorSummaryV2", "Shape", "ShapeN", "Size", "Rank")
"""Operations on what a network gives, by which training is watched."""
_HUB_SIGNATURE = "default"
"""The signature of a TF Hub module that is called without one (``hub.Module.__call__``)."""
_SERVING_TAGS = frozenset({"serve"})
_MOST_NAMED = 6

_WRITES = ("TensorArrayWriteV3", "TensorListSetItem")
"""Operations that add one image to a batch; their third input is the image."""
_DECODERS = ("DecodeJpeg", "DecodeAndCropJpeg", "DecodePng", "DecodeBmp")
"""Operations that decode a file to pixels 0..255."""
_RESIZES = ("ResizeBilinear", "ResizeBicubic", "ResizeArea")
"""Operations that resize images (N, H, W, C), and return them in float32."""
_RGB = 3
_KEEPS_RANGE = frozenset({
    "Cast", "Identity", "Reshape", "Squeeze", "ExpandDims", "Pack", "Slice", "StridedSlice",
    "ResizeBilinear", "ResizeBicubic", "ResizeArea", "ResizeNearestNeighbor", "CropAndResize",
    "EnsureShape", "Round",
})  # fmt: skip
"""Operations whose result is in the range of their first input."""
_MOST_AFTER_DECODING = 64
"""Most operations between a decoded image and its batch."""


def looks_like_graph(path: Path) -> bool:
    """Whether a file begins with a node, as a ``GraphDef`` does: its name, then its operation."""
    try:
        with path.open("rb") as stream:
            head = stream.read(_HEAD)
        if head[:1] != bytes([_NODE_TAG]):
            return False
        length, place = varint(head, 1)
        names: dict[int, str] = {}
        for number, value in fields(head[place : place + length]):
            if number not in (1, 2) or number in names:
                return False
            names[number] = text(message(value))
            if len(names) == 2:
                return bool(_NAME.fullmatch(names[1]) and _OP.fullmatch(names[2]))
    except (OSError, Malformed):
        pass
    return False


def looks_like_saved_model(path: Path) -> bool:
    """Whether a path is a folder with a ``saved_model.pb`` in it, or that file.

    The folder may be that of a TF Hub module, and the file the one that marks it as such.
    """
    if path.is_dir():
        return (path / SAVED_MODEL).is_file()
    is_named = path.name in (SAVED_MODEL, _HUB_MODULE)
    return is_named and path.with_name(SAVED_MODEL).is_file()


@dataclass(frozen=True)
class NetworkEnds:
    """The tensors between which a network lies, and the nodes between them in order.

    ``shape`` is that of the images, -1 for a side left open, as far as it is known.
    ``output_name`` is the output's name in the graph itself, where it may be that of a call.
    """

    image: str
    shape: Shape
    output: str
    nodes: tuple[InlinedNode, ...]
    output_name: str


class GraphDefSource(Source):
    """A graph of TensorFlow's own operations, with its weights; ``file`` holds the graph.

    Tensors are named by the nodes that hold them. What the graph computes of
    constants alone is a tensor too.
    """

    weight_sets = ("as stored",)
    file: Path

    def _read_graph(
        self, message: GraphDef, variables: StoredVariables | None = None,
        outputs: Sequence[str] = (),
    ) -> None:  # fmt: skip
        """Set the graph and the tensors; by default what nothing takes are the outputs."""
        graph = InlinedGraph(message)
        inputs = {node_of(t) for node in graph.nodes.values() for t in graph.inputs(node)}
        outputs = outputs or [name for name in graph.nodes if name not in inputs]
        images = _images_among([*_placeholders(graph), *_decoded_images(graph)], graph)
        self._convert(graph, _network_ends(graph, images, outputs, str(self.path)), variables)

    def _convert(
        self, graph: InlinedGraph, ends: NetworkEnds, variables: StoredVariables | None
    ) -> None:
        """Set the graph and the tensors."""
        where = str(self.path)
        self._constants = Constants(graph, variables, where)
        converter = Converter(graph, self._constants, where, ends.nodes, ends.image, ends.shape)
        self.graph = Graph(converter.operators, (ends.image,), (ends.output,))
        self.tensors = {
            name: self._constants.info(name)
            for operator in self.graph.operators
            for name in operator.inputs
            if name and self._constants.is_constant(name)
        }
        image = graph.nodes[ends.image]
        self._decodes_images = image.op in _RESIZES or (
            image.op in _STACKS and _batches_are_pixels(graph)
        )
        dtype = image.attributes.dtype("dtype") or image.attributes.dtype("element_dtype")
        dtype = "float32" if dtype in ("", "string") else dtype
        self._activations = {
            name: TensorInfo(name, shape or (), "float32", dtype, converter.ranges.get(name))
            for name, shape in converter.shapes.items()
        }
        # Sides that are left open are 1, as in TFLite.
        sides = tuple(1 if side < 0 else side for side in ends.shape or ())
        self._activations[ends.image] = TensorInfo(ends.image, sides, dtype, dtype)

    @property
    def activations(self) -> dict[str, TensorInfo]:
        """The tensors between operators; () where a shape is not known, -1 for an open side."""
        return self._activations

    @property
    def rounds_activations(self) -> bool:
        """Whether the graph rounds activations to the steps of an integer type."""
        return self.graph is not None and any(
            operator.kind == "FAKE_QUANT" for operator in self.graph.operators
        )

    @property
    def decodes_images(self) -> bool:
        """Whether the graph takes image files, and computes with the decoded pixels 0..255."""
        return self._decodes_images

    def read(self, name: str) -> np.ndarray:
        """One constant, in TensorFlow's axis order (convolutions HWIO, depthwise HWC1, dense IO).

        Raises:
            KeyError: the graph holds no constant of that name.
            BadSource: its values are damaged, or fewer than its shape asks for.
        """
        if name not in self.tensors:
            raise KeyError(name)
        return self._constants.read(name)


class FrozenGraphSource(GraphDefSource):
    """A frozen graph: one ``GraphDef`` whose variables have become constants.

    Raises:
        BadSource: the file is damaged, cut short or not a graph.
        UnsupportedSource: it is not frozen, computes in NCHW, or takes no images.
    """

    format = "frozen graph"

    def __init__(self, file: Path, archive: UnpackedArchive | None = None) -> None:
        self.file, self.archive = file, archive
        self.path = archive.display(file) if archive else file
        with as_bad_source(self.path, "graph"):
            self._read_graph(parse_graph(mapped(file, display=self.path, may_be_empty=False)))

    @property
    def name(self) -> str:
        """The name of the file itself, also in an archive."""
        return self.file.name

    @property
    def labels(self) -> tuple[str, ...] | None:
        """The names of the classes, where a file of them lies beside the graph."""
        return labels_beside(self.file)

    @property
    def files(self) -> tuple[Path, ...]:
        """The file itself."""
        return (self.file,)


class RestoredGraphSource(GraphDefSource):
    """A graph that restores its variables from the checkpoint ``prefix``.

    ``file`` holds ``meta``, and ``output_name`` is the output's name in the graph of that.
    """

    meta: MetaGraph
    prefix: Path
    output_name: str
    _model_files: tuple[Path, ...]

    @property
    def files(self) -> tuple[Path, ...]:
        """The graph and the checkpoint's files; of an archive, the archive itself."""
        return (self.archive.file,) if self.archive else self._model_files


class TrainingGraphSource(RestoredGraphSource):
    """A checkpoint with the graph that ``tf.train.Saver`` wrote beside it, a ``.meta`` file.

    Of what the graph computes for training that is taken which needs the images alone.

    Raises:
        BadSource: a file is damaged, cut short or missing.
        UnsupportedSource: the graph takes no images, computes in NCHW, or normalises by the batch.
    """

    format = "checkpoint with its graph"

    def __init__(self, path: Path, prefix: Path | None = None) -> None:
        self.path, self.prefix = path, prefix or path.with_suffix("")
        self.file = self.prefix.with_name(f"{self.prefix.name}{META_SUFFIX}")
        index = self.prefix.with_name(f"{self.prefix.name}.index")
        with as_bad_source(self.file, "graph"):
            self.meta = parse_meta_graph(mapped(self.file, may_be_empty=False))
            if not self.meta.graph.nodes:
                raise Malformed("it has no nodes")
            if not index.is_file():
                raise BadSource(f"{self.file}: {index.name}, whose graph it is, is not beside it")
            graph = InlinedGraph(self.meta.graph)
            variables = RestoredVariables(graph, self.meta, self.prefix, Path)
            self._model_files = (self.file, *variables.files)
            images = _images_among([*_placeholders(graph), *_decoded_images(graph)], graph)
            outputs = _outputs_of_images(graph, images)
            ends = _network_ends(graph, images, outputs, str(self.file))
            self.output_name = ends.output_name
            self._convert(graph, ends, variables)

    @property
    def name(self) -> str:
        """The name of the file with the graph."""
        return self.file.name


class SavedModelSource(RestoredGraphSource):
    """A SavedModel of TF1, TF2 or TF Hub: a graph, maybe of functions, and a checkpoint beside it.

    ``folder`` is that of the model, by default ``path`` or the folder of that. ``meta`` is its
    graph for serving.

    Raises:
        BadSource: a file is damaged, cut short or missing.
        BadInput: no signature is called ``signature``, or there are several to choose from.
        UnsupportedSource: no graph is for serving, or it computes in NCHW or takes no images.
    """

    format = "saved model"

    def __init__(
        self, path: Path, folder: Path | None = None, archive: UnpackedArchive | None = None,
        signature: str | None = None,
    ) -> None:  # fmt: skip
        folder = folder or (path if path.is_dir() else path.parent)
        self.path, self.folder, self.archive = path, folder, archive
        self.file = folder / SAVED_MODEL
        display: Display = archive.display if archive else Path
        file = display(self.file)
        with as_bad_source(file, "SavedModel"):
            graphs = parse_saved_model(mapped(self.file, display=file, may_be_empty=False))
            if not graphs:
                raise Malformed("it has no graph")
            self.meta = _serving_graph(graphs, str(file))
            graph = InlinedGraph(self.meta.graph)
            variables = None
            self.prefix = prefix = folder / VARIABLES
            has_values = prefix.with_name("variables.index").is_file()
            if self.meta.restore or has_values:
                if not has_values:
                    raise BadSource(
                        f"{display(folder)}: the graph restores variables, but {VARIABLES}.index "
                        "is not there; copy the folder 'variables' beside saved_model.pb"
                    )
                variables = RestoredVariables(graph, self.meta, prefix, display)
            self._model_files = (self.file, *(variables.files if variables else ()))
            self.signature = _signature_name(self.meta.signatures, graph, signature, str(file))
            entry = self.meta.signatures[self.signature]
            images = _images_of(entry, graph)
            ends = _network_ends(graph, images, entry.outputs.values(), str(file))
            self.output_name = ends.output_name
            self._convert(graph, ends, variables)


@contextmanager
def as_bad_source(path: Path, what: str) -> Iterator[None]:
    """Name the file of a message that is malformed."""
    try:
        yield
    except Malformed as error:
        raise BadSource(f"{path}: damaged or cut short, as a {what}: {error}") from error


def _serving_graph(graphs: Sequence[MetaGraph], where: str) -> MetaGraph:
    """The graph of a SavedModel for serving on any device; of a module of TF Hub the untagged one.

    Raises:
        UnsupportedSource: there is none.
    """
    for tags in (_SERVING_TAGS, frozenset()):
        for graph in graphs:
            if graph.tags == tags:
                return graph
    if len(graphs) == 1:
        return graphs[0]
    listing = ", ".join("{" + ", ".join(sorted(graph.tags)) + "}" for graph in graphs[:_MOST_NAMED])
    raise UnsupportedSource(f"{where}: no graph is tagged 'serve' alone; there are {listing}")


def _signature_name(
    signatures: Mapping[str, Signature], graph: InlinedGraph, name: str | None, where: str
) -> str:
    """The signature of a name; without one the default for serving, else the only one of images.

    Raises:
        BadInput: there is none of that name, or there are several to choose from.
        UnsupportedSource: no signature takes images.
    """
    names = [name for name in signatures if not name.startswith("__")]
    listing = ", ".join(names[:_MOST_NAMED]) + (", ..." if len(names) > _MOST_NAMED else "")
    if name is not None:
        if name not in names:
            raise BadInput(f"{where}: no signature {name!r}; there are {listing or 'none'}")
        return name
    for default in (DEFAULT_SIGNATURE, _HUB_SIGNATURE):
        if default in signatures:
            return default
    of_images = [name for name in names if _images_of(signatures[name], graph)]
    if len(of_images) == 1:
        return of_images[0]
    if of_images:
        raise BadInput(
            f"{where}: has {len(of_images)} signatures of images: "
            f"{', '.join(of_images[:_MOST_NAMED])}; choose one with --signature"
        )
    raise UnsupportedSource(f"{where}: no signature takes images; there are {listing or 'none'}")


def _images_of(signature: Signature, graph: InlinedGraph) -> list[str]:
    """The inputs that are images; where they are files, what the graph decodes of them."""
    names = [
        node_of(tensor_name(reference)) for reference in signature.inputs.values() if reference
    ]
    inputs = [graph.nodes[name] for name in names if name in graph.nodes]
    if any(node.attributes.dtype("dtype") == "string" for node in inputs):
        stacks = [node for node in graph.nodes.values() if node.op in _STACKS]
        inputs = stacks or _decoded_images(graph)
    return _images_among(inputs, graph)


def _images_among(nodes: Sequence[InlinedNode], graph: InlinedGraph) -> list[str]:
    """The nodes with the shape of a batch of images; without any, those of unknown shape."""
    shapes = {node.name: _input_shape(node, graph) for node in nodes}
    images = [name for name, shape in shapes.items() if shape is not None and len(shape) == 4]
    return images or [name for name, shape in shapes.items() if not shape]


def _placeholders(graph: InlinedGraph) -> list[InlinedNode]:
    return [node for node in graph.nodes.values() if node.op in _PLACEHOLDERS]


def _decoded_images(graph: InlinedGraph) -> list[InlinedNode]:
    """Nodes that resize one image, which the graph has decoded from a file."""
    return [
        node
        for node in graph.nodes.values()
        if node.op in _RESIZES and len(node.inputs) == 2 and _is_decoded(node.name, graph.nodes)
    ]


def _outputs_of_images(graph: InlinedGraph, images: Collection[str]) -> list[str]:
    """The last tensors that a graph computes from its images without any other input.

    Losses and gradients also take labels.
    """
    consumers: dict[str, set[str]] = {}
    for node in graph.nodes.values():
        for tensor in graph.inputs(node):
            consumers.setdefault(node_of(tensor), set()).add(node.name)

    def computed_from(starts: Iterable[str]) -> set[str]:
        names, stack = set(starts), list(starts)
        while stack:
            following = consumers.get(stack.pop(), set()) - names
            names |= following
            stack += following
        return names

    feeds = {node.name for node in _placeholders(graph) if node.op != "PlaceholderWithDefault"}
    values = computed_from(images) - computed_from(feeds - set(images))
    values = {name for name in values if graph.nodes[name].op not in _NOT_OUTPUTS}
    return [
        name for name in graph.nodes if name in values and not values & consumers.get(name, set())
    ]


def _input_shape(node: InlinedNode, graph: InlinedGraph) -> Shape:
    """The shape of a placeholder, of a resized image, or of a stack of images of stated shape."""
    if node.op in _RESIZES:
        size = graph.producer(node.inputs[1])
        constant = None if size is None else size.attributes.constant("value")
        if constant is None or constant.shape != (2,) or not constant.dtype.startswith("int"):
            return None
        return (1, *(int(side) for side in constant.values()), _RGB)
    if node.op not in _STACKS:
        return node.attributes.shape("shape")
    element = node.attributes.shape("element_shape")
    if node.op == "TensorListStack" and len(node.inputs) == 2:
        sides = graph.producer(node.inputs[1])
        constant = None if sides is None else sides.attributes.constant("value")
        if constant is None or not constant.dtype.startswith("int"):
            return None
        element = tuple(int(n) for n in constant.values().ravel())
    return None if element is None else (-1, *element)


def _network_ends(
    graph: InlinedGraph, images: Sequence[str], outputs: Iterable[str], where: str
) -> NetworkEnds:
    """The longest path from an image to an output: logits come before their softmax.

    Raises:
        UnsupportedSource: no image leads to an output, or several do.
    """
    paths: list[NetworkEnds] = []
    for reference in outputs:
        name = tensor_name(reference)
        output = graph.origin(name)
        node = graph.nodes.get(node_of(output))
        if node is None or node.op in _CHOICES or node.op in _PLACEHOLDERS:
            continue
        nodes = tuple(graph.before([output], images))
        inputs = {node_of(tensor) for other in nodes for tensor in graph.inputs(other)}
        paths += [
            NetworkEnds(image, _input_shape(graph.nodes[image], graph), output, nodes, name)
            for image in images
            if image in inputs
        ]
    if not paths:
        raise UnsupportedSource(
            f"{where}: no placeholder of images (N, H, W, C) leads to an output of the graph"
        )
    longest = max(paths, key=lambda path: len(path.nodes))
    rivals = {path.image for path in paths if path.output == longest.output}
    if len(rivals) > 1:
        raise UnsupportedSource(
            f"{where}: {len(rivals)} inputs lead to the output {longest.output!r}: "
            f"{', '.join(sorted(rivals)[:_MOST_NAMED])}; a network takes one"
        )
    return longest


def _batches_are_pixels(graph: InlinedGraph) -> bool:
    """Whether every image of a batch is in 0..255: decoded, and at most cropped or resized."""
    bodies: list[Iterable[InlinedNode | Node]] = [graph.nodes.values()]
    bodies += [function.nodes for function in graph.functions.values()]
    answers = []
    for body in bodies:
        nodes = {node.name: node for node in body}
        for node in nodes.values():
            if node.op in _WRITES and len(node.inputs) > 2:
                answers.append(_is_decoded(node.inputs[2], nodes))
    return bool(answers) and all(answers)


def _is_decoded(tensor: str, nodes: Mapping[str, InlinedNode | Node]) -> bool:
    """Whether a tensor is a decoded image, and its range unchanged since."""
    for _ in range(_MOST_AFTER_DECODING):
        node = nodes.get(tensor.partition(":")[0])
        if node is None or node.op in _DECODERS:
            return node is not None
        if node.op not in _KEEPS_RANGE or not node.inputs:
            return False
        if node.op == "Pack" and len(node.inputs) > 1:
            return False
        tensor = node.inputs[0]
    return False
