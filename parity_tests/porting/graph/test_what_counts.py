"""Operators of a module: each difference that matters is found, and no other."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import porting
from genmobilenet import create_model
from parity_tests.building.small_graphs import SmallGraph
from parity_tests.building.small_modules import Middle
from porting.errors import BadInput
from porting.graph.from_module import graph_of_module
from porting.graph.match import GraphMismatch


def pooling(kind):
    def content(graph):
        x = graph.conv(graph.start, "conv", 8)
        return graph.classified(graph.pooled(x, f"{kind}_POOL_2D", "pool"))

    return content


LIKE = {
    "max": (pooling("MAX"), nn.MaxPool2d(2)),
    "average": (pooling("AVERAGE"), nn.AvgPool2d(2)),
    "dropout in evaluation": (pooling("MAX"), nn.Sequential(nn.MaxPool2d(2), nn.Dropout(0.5))),
}
UNLIKE = {
    "ceil": ("MAX", nn.MaxPool2d(2, ceil_mode=True)),
    "dilation": ("MAX", nn.MaxPool2d(2, dilation=2)),
    "another window": ("MAX", nn.MaxPool2d(3, 2)),
    "the other kind": ("MAX", nn.AvgPool2d(2)),
    "divisor": ("AVERAGE", nn.AvgPool2d(2, divisor_override=3)),
    "padding counted": ("AVERAGE", nn.AvgPool2d(2, padding=1)),
    "a dropout that goes on": ("MAX", lambda x: F.dropout(F.max_pool2d(x, 2), 0.5)),
    "whole numbers": ("MAX", lambda x: F.max_pool2d(x, 2).to(torch.int32).float()),
    "taken from one": ("MAX", lambda x: 1 - F.max_pool2d(x, 2)),
    "normalised by the batch": ("MAX", lambda x: F.batch_norm(F.max_pool2d(x, 2), None, None,
                                                              training=True)),
}  # fmt: skip


class Pooling(nn.Module):
    """A convolution, a function that pools, a dense layer."""

    def __init__(self, function):
        super().__init__()
        self.conv, self.function = nn.Conv2d(3, 8, 3, padding=1), function
        self.last = nn.Linear(8, 5)

    def forward(self, x):
        return self.last(self.function(self.conv(x)).flatten(1))


@pytest.mark.parametrize(
    ("options", "like"), [({}, True), ({"padding": 3}, False), ({"divisor_override": 3}, False)]
)
def test_a_pool_over_all_of_a_plane_is_its_mean_where_nothing_else_counts(
    graph, ported, options, like
):
    content = graph.classified(graph.conv(graph.start, "conv", 8))
    module = Pooling(lambda x: F.avg_pool2d(x, 32, **options))
    if like:
        assert ported(content, module).comparison
        return
    with pytest.raises(GraphMismatch, match="avg_pool2d"):
        ported(content, module, verify=False)


def kinds(function, **buffers):
    """The kinds of the nodes behind a convolution, of a module that applies this function."""
    module = Middle(lambda x: function(module, x))
    for name, values in buffers.items():
        module.register_buffer(name, values)
    nodes = graph_of_module(module, (1, 3, 8, 8)).nodes()
    return [node.kind.split(".")[0] for node in nodes[2:-2]]


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda _, x: F.relu(x).clamp_max(6), ["relu6"]),
        (lambda m, x: torch.clamp(x, m.zero, m.zero), ["PyTorch's aten"]),
        (lambda _, x: x * x.mean((2, 3)), ["mean over height and width", "PyTorch's aten"]),
        (lambda _, x: x * x.mean((2, 3), True), ["mean over height and width", "mul"]),
        (lambda m, x: F.conv2d(x, m.weight, m.bias), ["conv"]),
        (lambda m, x: F.conv2d(x, m.weight, m.bias * 2), ["PyTorch's aten"]),
        (lambda m, x: F.linear(x, m.weight[:, :, 0, 0], m.bias), ["PyTorch's aten"]),
        (lambda m, x: F.linear(x, m.square, m.bias * 2), ["PyTorch's aten"]),
        (lambda m, x: F.batch_norm(x, m.bias, m.bias, m.bias * 2), ["PyTorch's aten"]),
        (lambda m, x: F.conv2d(x.mean((2, 3), True), m.weight, m.bias, padding=1),
         ["mean over height and width", "conv"]),
        (lambda m, x: torch.cat([x, m.image], 1)[:, :8],
         ["PyTorch's aten", "channels"]),
    ],
    ids=[
        "a clamp at the top", "a clamp by tensors", "channels against the width",
        "channels against channels", "a bias that is held", "a bias that is computed",
        "a weight that is computed", "a dense layer's bias that is computed",
        "a batch norm's gamma that is computed", "a convolution of a place that pads",
        "data joined with a constant",
    ],
)  # fmt: skip
def test_operands_that_change_what_is_computed(function, expected):
    held = {"zero": torch.zeros(()), "weight": torch.ones(8, 8, 1, 1), "bias": torch.ones(8)}
    held |= {"square": torch.ones(8, 8), "image": torch.ones(1, 8, 8, 8)}
    assert kinds(function, **held) == expected


def test_a_vector_of_a_vector_is_read():
    module = Middle(lambda x: x.mean((2, 3)).view(-1).view(1, -1))
    assert graph_of_module(module, (1, 3, 8, 8)).output.kind == "dense"


def test_a_copy_stays_as_it_was(graph, ported):
    class Copying(InPlace):
        def forward(self, x):
            x = self.first(x)
            before = x.clone()
            return self.last((self.second(self.act(x)) + before).mean((2, 3)))

    x = graph.conv(graph.start, "first", 8)
    y = graph.conv(graph.alone("RELU", x, "clamped"), "second", 8, kernel=1)
    port = ported(graph.classified(graph.joined("ADD", y, x, "sum")), Copying())
    assert port.comparison, port.comparison.summary()


COLUMNS, PLACES = torch.linspace(0, 1, 32), torch.ones(1, 3, 32, 32)


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x - COLUMNS,
        lambda x: x - PLACES,
        lambda x: x * 2 + x,
    ],
    ids=["a number a column", "a number a pixel", "pixels and their doubles"],
)
def test_what_is_no_normalisation_of_the_input(graph, ported, change):
    class Changing(Middle):
        def forward(self, x):
            return super().forward(change(x))

    assert not graph_of_module(Changing(nn.Identity()), (1, 3, 32, 32)).normalises
    with pytest.raises(GraphMismatch, match="differ after 0 layers"):
        content = graph.classified(graph.conv(graph.start, "conv", 8))
        ported(content, Changing(nn.Identity()), verify=False)


@pytest.mark.parametrize("name", LIKE)
def test_likeness_is_seen(graph, ported, name):
    content, function = LIKE[name]
    port = ported(content(graph), Middle(function))
    assert port.comparison, port.comparison.summary()


@pytest.mark.parametrize("name", UNLIKE)
def test_difference_is_seen(graph, ported, name):
    kind, function = UNLIKE[name]
    with pytest.raises(GraphMismatch):
        ported(pooling(kind)(graph), Middle(function), verify=False)


def test_places_and_channels_have_an_order(ported):
    graph = SmallGraph(side=32)
    content = graph.flattened(graph.conv(graph.start, "conv", 4))

    def channels_last(x):
        return x.permute(0, 2, 3, 1).flatten(1)

    assert ported(content, Middle(channels_last, 4, 4096)).comparison
    with pytest.raises(GraphMismatch, match="height, width, channels"):
        ported(content, Middle(nn.Flatten(), 4, 4096))


class InPlace(nn.Module):
    """The activation overwrites what is added later."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 1)
        self.act, self.last = nn.ReLU(inplace=True), nn.Linear(8, 5)

    def forward(self, x):
        x = self.first(x)
        y = self.act(x)
        return self.last((self.second(y) + x).mean((2, 3)))


def test_what_is_overwritten_is_seen_overwritten(graph, ported):
    x = graph.conv(graph.start, "first", 8, activation="relu")
    y = graph.conv(x, "second", 8, kernel=1)
    port = ported(graph.classified(graph.joined("ADD", y, x, "sum")), InPlace())
    assert port.comparison, port.comparison.summary()


def test_writing_into_a_part_is_refused(graph, ported):
    def zeroed(x):
        x[:, 0] = 0
        return x

    with pytest.raises(BadInput, match="writes into a part of a value"):
        ported(graph.classified(graph.conv(graph.start, "conv", 8)), Middle(zeroed))


def test_a_clamp_by_six_is_no_hard_sigmoid_unless_the_module_has_one(graph, ported):
    def spelled(x):
        return F.relu6(x) * (1 / 6)

    x = graph.conv(graph.start, "conv", 8, activation="relu6")
    content = graph.classified(graph.by_number("MUL", x, 1 / 6, "sixth"))
    assert ported(content, Middle(spelled)).comparison
    lifted = ported(content, Middle(nn.Hardsigmoid()))
    assert lifted.comparison, lifted.comparison.summary()
    bias = ported(content, Middle(spelled), verify=False).state_dict["conv.bias"]
    torch.testing.assert_close(lifted.state_dict["conv.bias"], bias - 3)


def test_the_modules_mode_is_left_as_it_is(graph, ported):
    module = Middle(nn.ReLU()).train()
    module.last.eval()
    ported(graph.classified(graph.conv(graph.start, "conv", 8, activation="relu")), module)
    assert module.training and module.conv.training and not module.last.training


def test_a_module_that_never_gives_the_same_is_not_compared(small):
    class Forgetful(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = create_model("tf_mnasnet_small", checkpoint_path=small[1])

        def forward(self, x):
            return F.dropout(self.inner(x), 0.5)

    with pytest.raises(BadInput, match="gives something else each time"):
        porting.compare(small[0], Forgetful())


@pytest.mark.parametrize(
    ("onto", "message"),
    [
        (Middle, "onto is a type; expected a torch.nn.Module"),
        (Middle(nn.ReLU()).bfloat16(), "conv.weight is torch.bfloat16; expected float32"),
    ],
    ids=["a class", "bfloat16"],
)
def test_what_is_no_module_to_fill(graph, ported, onto, message):
    with pytest.raises(BadInput, match=message):
        ported(graph.classified(graph.conv(graph.start, "conv", 8)), onto)


def test_another_number_of_classes_is_told(graph, ported):
    content = graph.classified(graph.conv(graph.start, "conv", 8), classes=1001)
    module = Middle(nn.Identity())
    module.last = nn.Linear(8, 1000)
    with pytest.raises(GraphMismatch, match="--classes drop-background"):
        ported(content, module)
