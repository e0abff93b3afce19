"""Readers of frozen graphs and SavedModels: weights and graph, without TensorFlow."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from porting.errors import BadSource
from porting.sources.checkpoint.wire import Malformed
from porting.sources.graphdef.attributes import Shape
from porting.sources.graphdef.constants import Constants, Variables
from porting.sources.graphdef.decoded import hands_on_pixels
from porting.sources.graphdef.detect import SAVED_MODEL
from porting.sources.graphdef.ends import (
    STACKS,
    GraphEnds,
    ends_of_frozen,
    ends_of_signature,
    serving_graph,
)
from porting.sources.graphdef.flat import FlatGraph
from porting.sources.graphdef.lowering import Lowering
from porting.sources.graphdef.messages import MetaGraph, parse_graph, parse_saved_model
from porting.sources.graphdef.tensors import TYPES
from porting.sources.graphdef.variables import NoVariables, RestoredVariables
from porting.sources.mapped import mapped_whole
from porting.sources.source import Graph, Source, TensorInfo

VARIABLES = Path("variables", "variables")
"""The checkpoint of a SavedModel, beside its graph."""


class GraphDefSource(Source):
    """A graph of TensorFlow's own operations, with its weights.

    Tensors are called as the nodes that hold them. What the graph computes of
    constants alone is a tensor too.
    """

    weight_sets = ("as stored",)

    def _take(self, graph: FlatGraph, ends: GraphEnds, variables: Variables) -> None:
        where = str(self.path)
        self._constants = Constants(graph, variables, where)
        lowering = Lowering(graph, self._constants, where)
        image = graph.nodes[ends.image]
        lowering.run(ends.nodes, ends.image, ends.shape)
        self.graph = Graph(lowering.operators, (ends.image,), (ends.output,))
        self.tensors = {
            name: self._constants.info(name)
            for operator in self.graph.operators
            for name in operator.inputs
            if name and self._constants.is_constant(name)
        }
        self._decodes = image.op in STACKS and hands_on_pixels(graph)
        kind = image.attributes.whole("dtype") or image.attributes.whole("element_dtype")
        dtype = TYPES.get(kind, "float32")
        self._activations = {
            name: TensorInfo(
                name,
                shape or (),
                dtype if name == ends.image else "float32",
                dtype,
                lowering.ranges.get(name),
            )
            for name, shape in lowering.shapes.items()
        }
        self._activations[ends.image] = TensorInfo(ends.image, _opened(ends.shape), dtype, dtype)

    @property
    def activations(self) -> dict[str, TensorInfo]:
        """What operations pass on; () where the shape is not known, -1 for a side left open."""
        return self._activations

    @property
    def rounds_activations(self) -> bool:
        """Whether the graph rounds what flows to the steps of an integer type."""
        return self.graph is not None and any(
            operator.kind == "FAKE_QUANT" for operator in self.graph.operators
        )

    @property
    def decodes_images(self) -> bool:
        """Whether the graph takes image files, and hands the decoded pixels 0..255 on."""
        return self._decodes

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
        BadSource: the file is damaged, cut short or no graph.
        UnsupportedSource: it is not frozen, computes in NCHW, or takes no images.
    """

    format = "frozen graph"

    def __init__(self, path: Path) -> None:
        self.path = path
        with _damaged(path, "graph"):
            flat = FlatGraph(parse_graph(mapped_whole(path)))
            self._take(flat, ends_of_frozen(flat, str(path)), NoVariables())

    @property
    def files(self) -> tuple[Path, ...]:
        """The file itself."""
        return (self.path,)


class SavedModelSource(GraphDefSource):
    """A SavedModel of TF1 or TF2: a graph, perhaps of functions, and a checkpoint beside it.

    ``path`` is what the user named, ``folder`` where it lies; ``archive`` is the file that it was
    unpacked from. ``file`` holds ``meta``, the graph that serves, and ``called`` is what that
    calls its output.

    Raises:
        BadSource: a file is damaged, cut short or missing.
        UnsupportedSource: no graph serves, or it computes in NCHW or takes no images.
    """

    format = "saved model"

    def __init__(self, path: Path, folder: Path, archive: Path | None = None) -> None:
        self.path, self.folder, self._archive = path, folder, archive
        self.file = folder / SAVED_MODEL
        with _damaged(self.file, "SavedModel"):
            graphs = parse_saved_model(mapped_whole(self.file))
            if not graphs:
                raise Malformed("no graph in it")
            self.meta: MetaGraph = serving_graph(graphs, str(self.file))
            flat = FlatGraph(self.meta.graph)
            variables = self._variables(flat)
            ends = ends_of_signature(flat, self.meta, str(self.file))
            self.called = ends.called
            self._take(flat, ends, variables)

    @property
    def files(self) -> tuple[Path, ...]:
        """The graph and the checkpoint's files; of an archive, the archive itself."""
        return (self._archive,) if self._archive else (self.file, *self._beside)

    def _variables(self, graph: FlatGraph) -> Variables:
        prefix = self.folder / VARIABLES
        self._beside: tuple[Path, ...] = ()
        if not self.meta.restore:
            return NoVariables()
        if not prefix.with_name("variables.index").is_file():
            raise BadSource(
                f"{self.folder}: the graph restores variables, but {VARIABLES}.index is not there; "
                "copy the folder 'variables' beside saved_model.pb"
            )
        found = RestoredVariables(graph, self.meta.restore, prefix)
        self._beside = found.files
        return found


def _opened(shape: Shape) -> tuple[int, ...]:
    """The shape of an input, 1 for what it leaves open, as TFLite has it."""
    return tuple(1 if side < 0 else side for side in shape or ())


@contextmanager
def _damaged(path: Path, what: str) -> Iterator[None]:
    try:
        yield
    except Malformed as error:
        raise BadSource(f"{path}: damaged or cut short, as a {what}: {error}") from error
