"""Where a graph takes its images and gives its classes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from porting.errors import UnsupportedSource
from porting.sources.graphdef.attributes import Shape
from porting.sources.graphdef.flat import FlatGraph, FlatNode, canonical, node_of
from porting.sources.graphdef.messages import MetaGraph, Signature
from porting.sources.graphdef.tensors import STRING, parse_constant

_PLACEHOLDERS = ("Placeholder", "PlaceholderV2", "PlaceholderWithDefault")
STACKS = ("TensorArrayGatherV3", "TensorListStack")
"""Operations behind which images stand that the graph has decoded of files, one by one."""
_CHOICES = ("ArgMax", "ArgMin", "TopK", "TopKV2", "InTopK", "InTopKV2")
"""Operations that give the number of a class and no value of it."""

_DEFAULT = "serving_default"
_SERVE = frozenset({"serve"})
_TOLD = 6


@dataclass(frozen=True)
class GraphEnds:
    """The tensors in between which a network lies, and the nodes that it takes, in order.

    ``shape`` is that of the images, -1 for a side left open, as far as it is known.
    ``called`` is the output as the graph itself calls it, which may be that of a function's call.
    """

    image: str
    shape: Shape
    output: str
    nodes: tuple[FlatNode, ...]
    called: str


def ends_of_frozen(graph: FlatGraph, where: str) -> GraphEnds:
    """From the placeholder of images to what nothing else takes.

    Raises:
        UnsupportedSource: there is none, or several are.
    """
    taken = {node_of(name) for node in graph.nodes.values() for name in graph.inputs(node)}
    last = [name for name in graph.nodes if name not in taken]
    images = _of_images([n for n in graph.nodes.values() if n.op in _PLACEHOLDERS], graph)
    return _between(graph, images, last, where)


def ends_of_signature(graph: FlatGraph, meta: MetaGraph, where: str) -> GraphEnds:
    """From the input to the output of the signature that serves.

    Raises:
        UnsupportedSource: no signature takes images, or several do.
    """
    signature = _serving(meta.signatures, graph, where)
    return _between(graph, _images(signature, graph), signature.outputs.values(), where)


def serving_graph(graphs: Sequence[MetaGraph], where: str) -> MetaGraph:
    """The graph of a SavedModel that serves on any device.

    Raises:
        UnsupportedSource: none does.
    """
    for graph in graphs:
        if graph.tags == _SERVE:
            return graph
    if len(graphs) == 1:
        return graphs[0]
    told = ", ".join("{" + ", ".join(sorted(graph.tags)) + "}" for graph in graphs[:_TOLD])
    raise UnsupportedSource(
        f"{where}: no graph is tagged 'serve' alone; there are {told or 'none'}"
    )


def _serving(signatures: Mapping[str, Signature], graph: FlatGraph, where: str) -> Signature:
    if _DEFAULT in signatures:
        return signatures[_DEFAULT]
    fitting = {
        name: found
        for name, found in signatures.items()
        if not name.startswith("__") and _images(found, graph)
    }
    if len(fitting) == 1:
        return next(iter(fitting.values()))
    told = ", ".join(list(signatures)[:_TOLD]) or "none"
    raise UnsupportedSource(
        f"{where}: no signature {_DEFAULT!r}, and {len(fitting)} of its signatures take images; "
        f"there are {told}. Export it with one"
    )


def _images(signature: Signature, graph: FlatGraph) -> list[str]:
    """The inputs that are images; those that the graph decodes itself where it takes files."""
    names = [node_of(canonical(name)) for name in signature.inputs.values() if name]
    given = [graph.nodes[name] for name in names if name in graph.nodes]
    if any(node.attributes.whole("dtype") == STRING for node in given):
        given = [node for node in graph.nodes.values() if node.op in STACKS]
    return _of_images(given, graph)


def _of_images(nodes: Sequence[FlatNode], graph: FlatGraph) -> list[str]:
    """Those that give a batch of images; where none says so, those that say nothing."""
    shapes = {node.name: _shape(node, graph) for node in nodes}
    known = [name for name, shape in shapes.items() if shape is not None and len(shape) == 4]
    return known or [name for name, shape in shapes.items() if not shape]


def _shape(node: FlatNode, graph: FlatGraph) -> Shape:
    """The shape of a placeholder, or of what is stacked, whose elements' shape is stated."""
    if node.op not in STACKS:
        return node.attributes.shape("shape")
    each = node.attributes.shape("element_shape")
    if node.op == "TensorListStack" and len(node.inputs) == 2:
        sides = graph.producer(node.inputs[1])
        held = None if sides is None else sides.attributes.tensor("value")
        stated = None if held is None else parse_constant(held)
        if stated is None or not stated.dtype.startswith("int"):
            return None
        each = tuple(int(n) for n in stated.values().ravel())
    return None if each is None else (-1, *each)


def _between(
    graph: FlatGraph, images: Sequence[str], outputs: Iterable[str], where: str
) -> GraphEnds:
    """The longest way from an image to an output: logits lie before their softmax."""
    found: list[GraphEnds] = []
    for written in outputs:
        called = canonical(written)
        output = graph.origin(called)
        node = graph.nodes.get(node_of(output))
        if node is None or node.op in _CHOICES or node.op in _PLACEHOLDERS:
            continue
        before = tuple(graph.before([output], images))
        taken = {node_of(name) for other in before for name in graph.inputs(other)}
        found += [
            GraphEnds(image, _shape(graph.nodes[image], graph), output, before, called)
            for image in images
            if image in taken
        ]
    if not found:
        raise UnsupportedSource(
            f"{where}: no placeholder of images (N, H, W, C) leads to an output of the graph"
        )
    longest = max(found, key=lambda ends: len(ends.nodes))
    rivals = {ends.image for ends in found if ends.output == longest.output}
    if len(rivals) > 1:
        raise UnsupportedSource(
            f"{where}: {len(rivals)} inputs lead to the output {longest.output!r}: "
            f"{', '.join(sorted(rivals)[:_TOLD])}; a network takes one"
        )
    return longest
