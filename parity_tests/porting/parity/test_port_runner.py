"""The port's run: means and depthwise convolutions in another order of sums, aligned values."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from porting.parity.port_runner import PortRunner, as_port
from porting.parity.summation_order import DepthwiseByShifts, SequentialSums


@pytest.mark.parametrize("size", [(9, 9), (8, 11)])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("kernel", [(3, 3), (5, 5), (1, 4)])
@pytest.mark.parametrize("padding", [0, 1, (2, 0)])
def test_shifted_products_are_the_convolution(size, stride, kernel, padding):
    torch.manual_seed(0)
    x = torch.randn(2, 6, *size, dtype=torch.float64)
    weight, bias = torch.randn(6, 1, *kernel, dtype=torch.float64), torch.randn(6).double()
    conv = nn.Conv2d(6, 6, kernel, stride, padding, groups=6).double()
    conv.weight, conv.bias = nn.Parameter(weight), nn.Parameter(bias)
    with torch.inference_mode():
        expected = conv(x)
        with DepthwiseByShifts():
            actual = conv(x)
    torch.testing.assert_close(actual, expected, rtol=1e-13, atol=1e-13)
    assert actual.shape == expected.shape


def test_what_is_not_depthwise_is_left_alone():
    x = torch.randn(1, 6, 8, 8, dtype=torch.float64)
    for conv in (nn.Conv2d(6, 6, 3), nn.Conv2d(6, 12, 3, groups=6),
                 nn.Conv2d(6, 6, 3, groups=6, dilation=2),
                 nn.Conv2d(6, 6, 3, groups=6, padding="same")):  # fmt: skip
        exact = conv.double()
        with torch.inference_mode():
            expected = exact(x)
            with DepthwiseByShifts():
                assert torch.equal(exact(x), expected)


@pytest.mark.parametrize(
    "mean",
    [
        lambda x: x.mean((2, 3)),
        lambda x: x.mean((2, 3), keepdim=True),
        lambda x: torch.mean(x, dim=(-2, -1)),
        lambda x: F.adaptive_avg_pool2d(x, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.AvgPool2d(28),
    ],
)
def test_means_are_summed_one_by_one(mean):
    x = torch.from_numpy(np.random.default_rng(0).random((2, 3, 28, 28), np.float32))
    plain = mean(x)
    with SequentialSums():
        actual = mean(x)
    assert actual.shape == plain.shape
    expected = np.zeros((2, 3), np.float32)
    for value in np.moveaxis(x.flatten(2).numpy(), -1, 0):
        expected += value
    np.testing.assert_array_equal(actual.numpy().reshape(2, 3), expected / np.float32(784))


def test_layers_on_single_places_are_summed_one_by_one():
    generator = np.random.default_rng(0)
    x = generator.standard_normal((2, 300)).astype(np.float32)
    dense = nn.Linear(300, 7)
    conv = nn.Conv2d(300, 7, 1)
    weight, bias = dense.weight.detach().numpy(), dense.bias.detach().numpy()
    conv.weight.data, conv.bias.data = dense.weight.data[:, :, None, None], dense.bias.data
    expected = np.zeros((2, 7), np.float32)
    for place in range(300):
        expected += x[:, place, None] * weight[:, place]
    data = torch.from_numpy(x)
    with torch.inference_mode(), SequentialSums():
        np.testing.assert_array_equal(dense(data).numpy(), expected + bias)
        actual = conv(data[:, :, None, None])
    np.testing.assert_array_equal(actual.numpy()[..., 0, 0], expected + bias)
    assert not np.array_equal(dense(data).detach().numpy(), expected + bias)


def test_layers_on_planes_are_left_alone():
    x = torch.randn(1, 8, 5, 5)
    for conv in (nn.Conv2d(8, 4, 1), nn.Conv2d(8, 8, 1, groups=8), nn.Conv2d(8, 4, 5)):
        with torch.inference_mode():
            expected = conv(x)
            with SequentialSums():
                assert torch.equal(conv(x), expected)


def test_other_means_are_left_alone():
    x = torch.randn(2, 3, 8, 8)
    with SequentialSums():
        assert torch.equal(x.mean(1), x.mean(dim=1))
        assert F.avg_pool2d(x, 2).shape == (2, 3, 4, 4)


def test_isolation_feeds_each_piece_what_the_judge_gave():
    """y = 2x, z = y + 1; fed a judge's y of its own, z must come from that."""

    class Times(nn.Module):
        def forward(self, x):
            return 2 * x

    class Plus(nn.Module):
        def forward(self, x):
            return x + 1

    model = nn.Sequential(Times(), Plus())
    runner = PortRunner(model, ["0", "1"])
    x = torch.ones(1, 1, 2, 2)
    judge = {"0": torch.full((1, 1, 2, 2), 10.0), "1": torch.full((1, 1, 2, 2), 99.0)}
    isolated = runner.run_with_noise(x, judge).values
    assert (isolated["0"] == 2).all()
    assert (isolated["1"] == 11).all()
    accumulated = runner.run_with_noise(x).values
    assert (accumulated["1"] == 3).all()


def test_a_part_called_twice_has_a_tap_for_each():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.act = nn.ReLU(inplace=True)

        def forward(self, x):
            return self.act(self.act(x - 1) - 1)

    runner = PortRunner(Twice(), ["act", "act#2", "act:input#2"])
    values = runner.run_with_noise(torch.full((1, 1, 1, 1), 2.5)).values
    assert {tap: float(v[0, 0, 0, 0]) for tap, v in values.items()} == {
        "act": 1.5, "act:input#2": 0.5, "act#2": 0.5,
    }  # fmt: skip


def test_a_softmax_behind_the_logits():
    runner = PortRunner(nn.Sequential(nn.Flatten(), nn.Linear(4, 3)), ["1", "softmax"], "1")
    values = runner.run_with_noise(torch.randn(2, 1, 2, 2)).values
    expected = np.exp(values["1"]) / np.exp(values["1"]).sum(-1, keepdims=True)
    np.testing.assert_allclose(values["softmax"], expected, rtol=1e-5)


def test_a_judges_values_take_the_ports_axes():
    judge = np.arange(24, dtype=np.float32).reshape(1, 2, 3, 4)
    assert as_port(judge, (1, 4, 2, 3)).numpy()[0, 3, 1, 2] == judge[0, 1, 2, 3]
    assert as_port(np.zeros((2, 5), np.float32), (2, 5, 1, 1)).shape == (2, 5, 1, 1)
