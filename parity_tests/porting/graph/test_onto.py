"""User-defined modules filled from graphs of a few operators."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import porting
from porting.errors import BadInput
from porting.graph.match import AmbiguousAlignment, GraphMismatch


class Plain(nn.Module):
    """Convolution, batch norm, activation, dense layer."""

    def __init__(self, channels=8, classes=5, bias=True):
        super().__init__()
        self.last = nn.Linear(channels, classes, bias=bias)  # defined in another order than used
        self.norm = nn.BatchNorm2d(channels, eps=1e-2)
        self.first = nn.Conv2d(3, channels, 3, padding=1, bias=False)

    def forward(self, x):
        return self.last(F.relu(self.norm(self.first(x))).mean((2, 3)))


def plain(graph, **options):
    return graph.classified(graph.conv(graph.start, "conv", 8, activation="relu"), **options)


def test_weights_go_where_the_structure_says(graph, ported):
    module = Plain()
    before = {key: values.clone() for key, values in module.state_dict().items()}
    port = ported(plain(graph), module)
    assert port.comparison, port.comparison.summary()
    weights = port.state_dict["first.weight"].numpy()
    np.testing.assert_array_equal(weights, graph.weights["conv/kernel"].transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(port.state_dict["norm.bias"], graph.weights["conv/bias"])
    # An exact identity at the module's own epsilon.
    assert (port.state_dict["norm.running_var"] + 1e-2 == 1).all()
    assert list(port.state_dict) == list(before)
    assert all(torch.equal(before[key], values) for key, values in module.state_dict().items())


class Branches(nn.Module):
    """Two convolutions of one shape, joined; something may stand behind the second."""

    def __init__(self, join, after=nn.Identity):
        super().__init__()
        self.right, self.left = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(3, 8, 3, padding=1)
        self.after, self.join, self.last = after(), join, nn.Linear(8, 5)

    def forward(self, x):
        return self.last(self.join(self.left(x), self.after(self.right(x))).mean((2, 3)))


def branches(graph, activation="none"):
    left = graph.conv(graph.start, "left", 8)
    right = graph.conv(graph.start, "right", 8, activation=activation)
    # In the reverse order of the module's.
    return graph.classified(graph.joined("ADD", right, left, "sum"))


def test_branches_that_cannot_be_told_apart_are_shown(graph, ported):
    with pytest.raises(AmbiguousAlignment) as raised:
        ported(branches(graph), Branches(torch.add))
    message = str(raised.value)
    for place in ("'left'", "'right'", "network: left (conv2d)", "and: right (conv2d)"):
        assert place in message


def test_branches_are_told_apart_by_what_stands_behind_them(graph, ported):
    port = ported(branches(graph, "relu6"), Branches(torch.add, nn.ReLU6))
    assert port.comparison, port.comparison.summary()
    np.testing.assert_array_equal(port.state_dict["right.bias"], graph.weights["right/bias"])


class Spelled(nn.Module):
    """Hard-swish and a hard sigmoid's gate as PyTorch has them."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 1)
        self.last = nn.Linear(8, 5)

    def forward(self, x):
        x = F.hardswish(self.first(x))
        return self.last((x * F.hardsigmoid(self.second(x))).mean((2, 3)))


@pytest.mark.parametrize("sixth_first", [False, True])
def test_activations_spelled_out_are_those_of_one_operator(graph, ported, sixth_first):
    x = graph.conv(graph.start, "first", 8)
    clamped = graph.alone("RELU6", graph.by_number("ADD", x, 3, "plus"), "clamped")
    if sixth_first:
        clamped = graph.by_number("MUL", clamped, 1 / 6, "sixth")
    x = graph.joined("MUL", x, clamped, "product")
    if not sixth_first:
        x = graph.by_number("MUL", x, 1 / 6, "swish")
    gate = graph.by_number("ADD", graph.conv(x, "second", 8, kernel=1), 3, "plus2")
    gate = graph.by_number("MUL", graph.alone("RELU6", gate, "clamped2"), 1 / 6, "gate")
    port = ported(graph.classified(graph.joined("MUL", x, gate, "scaled")), Spelled())
    assert port.comparison, port.comparison.summary()


def test_the_first_difference_is_named_on_both_sides(graph, ported):
    with pytest.raises(GraphMismatch) as raised:
        ported(plain(graph), Plain(channels=16))
    message = str(raised.value)
    assert "differ after 0 layers" in message
    assert "source:  operator 0 CONV_2D 'conv'" in message and "3 -> 8" in message
    assert "network: first (conv2d)" in message and "3 -> 16" in message


def test_another_activation_is_a_difference(graph, ported):
    content = graph.classified(graph.conv(graph.start, "conv", 8, activation="relu6"))
    with pytest.raises(GraphMismatch, match="differ after 1 layers"):
        ported(content, Plain())


def test_padding_leaves_the_weights_in_place_and_the_judge_decides(graph, ported):
    module = Plain()
    module.first = nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False)
    content = graph.classified(graph.conv(graph.start, "conv", 8, stride=2, activation="relu"))
    port = ported(content, module)
    assert not port.comparison
    assert port.plan.notes[0].startswith("1 of the module's convolutions pad otherwise: first")


def test_what_has_no_place_is_named(graph, ported):
    with pytest.raises(BadInput, match=r"FULLY_CONNECTED .* has a bias, last \(linear\)"):
        ported(plain(graph), Plain(bias=False))


def test_a_parameter_that_nothing_fills_is_named(graph, ported):
    module = Plain()
    module.extra = nn.Parameter(torch.zeros(3))
    with pytest.raises(BadInput, match="nothing in the source fills extra"):
        ported(plain(graph), module)


def test_a_module_that_normalises_takes_pixels(graph, ported):
    class Normalising(Plain):
        def __init__(self):
            super().__init__()
            self.register_buffer("mean", torch.full((3, 1, 1), 127.5))

        def forward(self, x):
            return super().forward((x - self.mean) / 127.5)

    port = ported(plain(graph), Normalising())
    assert port.comparison, port.comparison.summary()
    assert port.convention.mean == (0.0, 0.0, 0.0)
    assert torch.equal(port.state_dict["mean"], torch.full((3, 1, 1), 127.5))


def test_the_background_class_can_be_dropped(graph, ported):
    content = plain(graph, classes=1001, softmax=True)
    port = ported(content, Plain(classes=1000), classes="drop-background")
    assert port.comparison, port.comparison.summary()
    np.testing.assert_array_equal(port.state_dict["last.bias"], graph.weights["dense/bias"][1:])


def test_a_softmax_of_the_modules_own(graph, ported):
    class Ending(Plain):
        def forward(self, x):
            return super().forward(x).softmax(-1)

    assert ported(plain(graph, softmax=True), Ending()).comparison
    with pytest.raises(GraphMismatch, match="softmax"):
        ported(plain(graph), Ending())


def test_a_module_that_cannot_be_traced(graph, ported):
    class Deciding(Plain):
        def forward(self, x):
            return super().forward(x) if x.sum() > 0 else x

    with pytest.raises(BadInput, match=r"Deciding: torch.export cannot trace it"):
        ported(plain(graph), Deciding())


def test_weights_alone_have_no_structure(small_synthetic):
    with pytest.raises(BadInput, match="no graph to align a module with"):
        porting.port(small_synthetic.checkpoint, onto=Plain())


@pytest.mark.parametrize(
    "options", [{"model": "tf_mnasnet_small"}, {"normalisation": "keep"}], ids=str
)
def test_what_is_of_networks_alone(graph, ported, options):
    with pytest.raises(BadInput, match="leave it out with --onto"):
        ported(plain(graph), Plain(), **options)
