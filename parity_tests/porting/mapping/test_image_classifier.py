"""What a graph takes and gives, for graphs made up of a few operators."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from porting.errors import MappingError
from porting.mapping.image_classifier import ends_of, not_a_classifier
from porting.sources.source import Graph, Operator


def test_an_operator_of_unknown_shape_is_named():
    """As the augmentation layers that Keras exports: they compute with no constant."""
    operators = (
        Operator(0, "ReverseV2", ("image", "axis"), ("flipped",)),
        Operator(1, "SelectV2", ("flipped", "image"), ("random_flip/select",)),
        Operator(2, "RELU", ("random_flip/select",), ("logits",)),
    )
    shapes = {"image": (-1, 96, 96, 3), "flipped": (-1, 96, 96, 3), "random_flip/select": (),
              "logits": ()}  # fmt: skip
    source = SimpleNamespace(
        path="saved", tensors={}, graph=Graph(operators, ("image",), ("logits",)),
        activations={n: SimpleNamespace(shape=shape) for n, shape in shapes.items()},
    )  # fmt: skip
    with pytest.raises(MappingError) as raised:
        ends_of(source)
    assert str(raised.value) == (
        "saved: operator 1 SelectV2 'random_flip/select' is not understood, so that the shape of "
        "what follows is not known; expected a network that gives one number for each class"
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("prune_low_magnitude_Conv1/Conv1/kernel", "strip_pruning"),
        ("quant_Conv1/Conv1/kernel", "convert it to TFLite"),
        ("Conv1/kernel", None),
        ("quantile/prune/kernel", None),
    ],
)
def test_layers_that_are_wrapped_for_training(name, message):
    description = not_a_classifier(SimpleNamespace(graph=None, tensors={name: None}))
    assert (message is None) == (description is None)
    assert message is None or message in description


def test_a_file_without_its_variables():
    operators = (Operator(0, "VAR_HANDLE", (), ("handle",)),)
    graph = Graph(operators, ("image",), ("logits",))
    source = SimpleNamespace(graph=graph, tensors={}, activations={})
    assert "holds no weights" in not_a_classifier(source)
