"""The images that a graph takes and the classes that it gives, and graphs that do neither."""

from __future__ import annotations

from dataclasses import dataclass, replace

from porting.errors import BadInput, MappingError
from porting.graph.operators import describe, takes_channels_first
from porting.sources.source import Source

MOST_SIDE = 1 << 13
"""Largest side of an image, in pixels, that a graph may ask for."""

_LEAST_SIDE = 2  # a graph that leaves the size of its images open has sides of 1


@dataclass(frozen=True)
class Ends:
    """The side and the channels of a graph's images, and how many classes it gives."""

    side: int
    channels: int
    classes: int

    def with_side(self, side: int) -> Ends:
        """The same with images of this side, if the graph leaves it open."""
        return self if self.side >= _LEAST_SIDE else replace(self, side=side)


def not_a_classifier(source: Source) -> str | None:
    """What a graph is if it is not an image classifier; None if it may be one."""
    graph = source.graph
    if graph is None:
        layers = {part for name in source.tensors for part in name.split("/")}
        wrappers = (w for w in _WRAPPERS if any(layer.startswith(w) for layer in layers))
        return next((_WRAPPERS[wrapper] for wrapper in wrappers), None)
    by_kind = {operator.kind: operator for operator in reversed(graph.operators)}
    for kind, description in _OTHER_KINDS.items():
        if kind in by_kind:
            return description.format(name=by_kind[kind].outputs[0])
    entry = source.activations.get(graph.inputs[0]) if graph.inputs else None
    image = () if entry is None else entry.shape
    nchw = len(image) == 4 and image[1] in (1, 3) and image[3] > 4 and image[2] == image[3]
    if nchw and not takes_channels_first(source):
        return (
            f"its input is NCHW, of shape {image}: it was converted from another framework, where "
            "its weights can be had as they are"
        )
    return None


def gives_a_map(source: Source) -> str | None:
    """A clause that says that a graph gives values for each place of an image; else None."""
    graph = source.graph
    info = source.activations.get(graph.outputs[0]) if graph and graph.outputs else None
    if info is None or len(info.shape) != 4 or min(info.shape[1:3]) <= 1:
        return None
    return f"it gives a map of shape {info.shape} for each image, as segmentation does"


_OTHER_KINDS = {
    "Lambda": (
        "its layer {name!r} is a Lambda: Python code, which is not run; build the model with a "
        "layer of Keras in its place, as Rescaling, and save it again"
    ),
    "CUSTOM:edgetpu-custom-op": (
        "it is compiled for the Edge TPU: its weights are inside one operator; use the file "
        "without _edgetpu in its name"
    ),
    "CUSTOM:TFLite_Detection_PostProcess": (
        "it is a detector (TFLite_Detection_PostProcess): it gives boxes, and not one number for "
        "each class"
    ),
    "VAR_HANDLE": (
        "it holds no weights: it reads them from variables that are not in the file; export it "
        "again with its variables frozen into constants"
    ),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": "it is a network of sequences (LSTM), and not of images",
}
"""Kind of an operator -> what a graph with such an operator is; ``{name}`` names the first."""

_WRAPPERS = {
    "prune_low_magnitude_": (
        "its layers are wrapped for pruning; unwrap them with "
        "tfmot.sparsity.keras.strip_pruning(model) and save that, or give its TFLite file"
    ),
    "quant_": (
        "its layers are wrapped for quantisation-aware training, which rounds what they compute; "
        "convert it to TFLite, and give that file"
    ),
}
"""How names of layers begin in ``tensorflow_model_optimization`` -> what such a file is."""


def without_background(classes: int, source: Source) -> int:
    """How many classes remain without the background class.

    Raises:
        BadInput: that is not known to be among so many.
    """
    if classes != 1001:
        raise BadInput(
            f"{source.path}: has {classes} classes; only of 1001 is the first known to be the "
            "background"
        )
    return classes - 1


def ends_of(source: Source) -> Ends:
    """The images and classes of a graph, from its first input and its first output.

    Raises:
        MappingError: it does not take images and give a number for each class.
    """
    side, channels = images_of(source)
    result = _shape(source, "output", "one number for each class")
    operators = () if source.graph is None else source.graph.operators
    unknown = (
        operator
        for operator in operators
        # What the readers know has TFLite's names, in capitals.
        if not operator.kind.isupper()
        and (info := source.activations.get(operator.outputs[0])) is not None
        and not info.shape
    )
    if not result and (operator := next(unknown, None)) is not None:
        raise MappingError(
            f"{source.path}: {describe(operator, source)} is not understood, so that the shape of "
            "what follows is not known; expected a network that gives one number for each class"
        )
    if not result or result[-1] < 1:
        raise _other(source, "output", result, "one number for each class")
    return Ends(side, channels, result[-1])


def images_of(source: Source) -> tuple[int, int]:
    """The side and the channels of a graph's images, from its first input.

    Raises:
        MappingError: it does not take images.
    """
    image = _shape(source, "input", "images (N, H, W, C)")
    if len(image) == 4 and takes_channels_first(source):
        image = image[0], *image[2:], image[1]
    if len(image) != 4 or not all(0 < side <= MOST_SIDE for side in image[1:]):
        raise _other(source, "input", image, f"images (N, H, W, C) of sides up to {MOST_SIDE:,}")
    if image[1] != image[2]:
        raise _other(source, "input", image, "square images (N, H, W, C)")
    return image[1], image[3]


def _shape(source: Source, end: str, requirement: str) -> tuple[int, ...]:
    graph = source.graph
    names = () if graph is None else graph.inputs if end == "input" else graph.outputs
    if not names:
        raise MappingError(f"{source.path}: the graph has no {end}; expected {requirement}")
    if names[0] not in source.activations:
        raise MappingError(
            f"{source.path}: the graph's {end} {names[0]!r} is a constant; expected {requirement}"
        )
    return source.activations[names[0]].shape


def _other(source: Source, end: str, shape: tuple[int, ...], requirement: str) -> MappingError:
    return MappingError(
        f"{source.path}: the graph's {end} has shape {shape}; expected {requirement}"
    )
