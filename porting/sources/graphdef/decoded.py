"""Whether a graph that takes image files hands their pixels on as they are: 0..255."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from porting.sources.graphdef.flat import FlatGraph, FlatNode
from porting.sources.graphdef.messages import Node

_WRITES = ("TensorArrayWriteV3", "TensorListSetItem")
"""Operations that lay one image among the others; their third input is the image."""

_DECODES = ("DecodeJpeg", "DecodeAndCropJpeg", "DecodePng", "DecodeBmp")
"""Operations that make pixels 0..255 of a file."""

_KEEPS_RANGE = frozenset({
    "Cast", "Identity", "Reshape", "Squeeze", "ExpandDims", "Pack", "Slice", "StridedSlice",
    "ResizeBilinear", "ResizeBicubic", "ResizeArea", "ResizeNearestNeighbor", "CropAndResize",
    "EnsureShape", "Round",
})  # fmt: skip
"""Operations whose result is in the range of their first input."""

_LONGEST = 64
"""Most operations between a decoded image and where it is laid."""


def hands_on_pixels(graph: FlatGraph) -> bool:
    """Whether every image that is laid among others is one decoded, cropped or resized alone."""
    bodies: list[Iterable[FlatNode | Node]] = [graph.nodes.values()]
    bodies += [function.nodes for function in graph.functions.values()]
    answers = [answer for body in bodies for answer in _laid(body)]
    return bool(answers) and all(answers)


def _laid(body: Iterable[FlatNode | Node]) -> list[bool]:
    """For each image that a body of nodes lays among others, whether it is one as decoded."""
    nodes = {node.name: node for node in body}
    writes = [node for node in nodes.values() if node.op in _WRITES and len(node.inputs) > 2]
    return [_is_decoded(write.inputs[2], nodes) for write in writes]


def _is_decoded(tensor: str, nodes: Mapping[str, FlatNode | Node]) -> bool:
    for _ in range(_LONGEST):
        node = nodes.get(tensor.partition(":")[0])
        if node is None or node.op in _DECODES:
            return node is not None
        if node.op not in _KEEPS_RANGE or not node.inputs:
            return False
        if node.op == "Pack" and len(node.inputs) > 1:
            return False
        tensor = node.inputs[0]
    return False
