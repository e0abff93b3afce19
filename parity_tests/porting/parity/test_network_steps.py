"""Steps read from a PyTorch network: every property comes from the functions called."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from genmobilenet.layers import Conv2dSame
from porting.judges.reference.steps import SAME, Step
from porting.parity.network_steps import steps_of_network


class Calls(nn.Module):
    """A module whose forward is a function of the image."""

    def __init__(self, function, **parts):
        super().__init__()
        self.function = function
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, x):
        return self.function(self, x)


def read(function, **parts):
    return steps_of_network(Calls(function, **parts).eval(), 4)[1:]


def in_row(*parts):
    return read(
        lambda m, x: nn.Sequential(*m.children())(x), **{f"p{i}": p for i, p in enumerate(parts)}
    )


@pytest.mark.parametrize("kernel", [1, 3, 5, 7])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_padding_is_what_is_padded(kernel, stride):
    (step,) = in_row(Conv2dSame(4, 8, kernel, stride, bias=False))
    assert step == Step("conv", (0,), 8, (kernel,) * 2, (stride,) * 2, SAME, place="p0")


def test_padding_as_pytorch_pads_is_told_from_it():
    (strided,) = in_row(nn.Conv2d(4, 8, 3, 2, 1, bias=False))
    assert strided.padding == "((1, 1), (1, 1)) of sides (64, 67)"
    (plain,) = in_row(nn.Conv2d(4, 8, 3, 1, 1, bias=False))
    assert plain.padding == SAME
    turned = read(
        lambda m, x: m.conv(F.pad(x, (1, 1, 1, 0))), conv=nn.Conv2d(4, 8, 3, 2, bias=False)
    )
    assert turned[0].padding == "((1, 0), (1, 1)) of sides (64, 67)"


def test_kinds_of_convolutions():
    steps = in_row(
        nn.Conv2d(4, 4, 3, padding=1, groups=4, bias=False),
        nn.Conv2d(4, 8, 1, groups=2, bias=False),
        nn.Conv2d(8, 8, 3, dilation=2, bias=False),
        nn.Conv2d(8, 5, 1),
    )
    kinds = ["depthwise", "conv in 2 groups", "conv with dilation", "conv", "bias"]
    assert [step.kind for step in steps] == kinds
    assert [step.place for step in steps] == ["p0", "p1", "p2", "p3", "p3"]


def test_batch_norms():
    assert in_row(nn.BatchNorm2d(4, eps=1e-4)) == (Step("norm", (0,), 4, number=1e-4, place="p0"),)
    (training,) = in_row(nn.BatchNorm2d(4, track_running_stats=False))
    assert training.kind == "norm by the batch"


def test_activations():
    steps = in_row(
        nn.ReLU(inplace=True), nn.ReLU6(), nn.Hardswish(), nn.Sigmoid(), nn.Hardsigmoid()
    )
    assert [step.kind for step in steps] == ["relu", "relu6", "hard_swish", "sigmoid",
                                             "hard_sigmoid"]  # fmt: skip
    assert [step.number for step in steps] == [0, 0, 1 / 6, 0, 1 / 6]


def test_activations_written_as_a_clamp():
    steps = read(lambda m, x: x.clamp(min=0).clamp(0, 6).clamp_(0, max=6))
    assert [step.kind for step in steps] == ["relu", "relu6", "relu6"]


@pytest.mark.parametrize(
    ("kind", "function"),
    [
        ("PyTorch's clamp", lambda m, x: x.clamp(0, 5)),
        ("PyTorch's hardtanh", lambda m, x: F.hardtanh(x, 0, 5)),
        ("PyTorch's leaky_relu", lambda m, x: F.leaky_relu(x)),
        ("PyTorch's add", lambda m, x: x + 1),
        ("PyTorch's add", lambda m, x: torch.add(x, x, alpha=2)),
        ("PyTorch's mul", lambda m, x: x * 2),
        ("PyTorch's mean", lambda m, x: x.mean((2,), keepdim=True)),
        ("PyTorch's adaptive_avg_pool2d", lambda m, x: F.adaptive_avg_pool2d(x, 2)),
        ("PyTorch's dropout", lambda m, x: F.dropout(x, 0.5, True)),
        ("PyTorch's sub", lambda m, x: x - x),
        ("padding by ((1, 1), (0, 2))", lambda m, x: F.pad(x, (0, 2, 1, 1))),
    ],
)
def test_what_no_description_has_keeps_its_own_name(kind, function):
    assert [step.kind for step in read(function)] == [kind]


def test_flow_is_followed_through_sums_products_and_views():
    def function(m, x):
        y = F.relu(x)
        gate = torch.sigmoid(y.mean((2, 3), keepdim=True))
        y = gate * y + x
        return m.dense(F.dropout(F.adaptive_avg_pool2d(y, 1).flatten(1), 0.5, m.training))

    steps = read(function, dense=nn.Linear(4, 6))
    assert [(step.kind, step.inputs) for step in steps] == [
        ("relu", (0,)), ("mean", (1,)), ("sigmoid", (2,)), ("multiply", (3, 1)), ("add", (4, 0)),
        ("mean", (5,)), ("conv", (6,)), ("bias", (7,)),
    ]  # fmt: skip
    assert (steps[-1].channels, steps[-1].place) == (6, "dense")


def test_nothing_of_the_network_is_changed():
    network = Calls(lambda m, x: m.norm(m.conv(x)), conv=nn.Conv2d(4, 8, 3), norm=nn.BatchNorm2d(8))
    before = {key: value.clone() for key, value in network.state_dict().items()}
    steps_of_network(network.eval(), 4)
    for key, value in network.state_dict().items():
        assert torch.equal(before[key], value)
    assert all(not module._forward_hooks for module in network.modules())
