"""Convolutions that pad without a copy."""

from __future__ import annotations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from genmobilenet.layers import Conv2dSame
from genmobilenet.resolved import ResolvedConv, folded
from parity_tests.building.deployments import (
    SIDE,
    pixels,
    plainly,
    small_pair,
)


@pytest.fixture(scope="module")
def small():
    return small_pair()


class Pads(TorchDispatchMode):
    """Counts what is padded: activations (batch first) and kernels."""

    def __init__(self, batch):
        super().__init__()
        self.batch, self.activations, self.kernels = batch, 0, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.overloadpacket is torch.ops.aten.constant_pad_nd:
            if args[0].shape[0] == self.batch:
                self.activations += 1
            else:
                self.kernels += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(("size", "kernels"), [((SIDE, SIDE), 0), ((65, 65), 0), ((66, 64), 4)])
def test_nothing_is_copied_to_be_padded(small, size, kernels):
    model, deployed = small
    x = pixels(3, *size)
    with torch.no_grad(), Pads(3) as counted:
        plainly(deployed, x)
    assert (counted.activations, counted.kernels) == (0, kernels)
    with torch.no_grad(), Pads(3) as counted:
        model(pixels(3))
    assert counted.activations > 0


@pytest.mark.parametrize("size", [(9, 9), (8, 8), (8, 9), (1, 2)])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (5, 2), (7, 3), (2, 1), (1, 2)])
def test_a_resolved_convolution_equals_same(size, kernel, stride):
    torch.manual_seed(kernel * stride)
    conv = Conv2dSame(4, 4, kernel, stride, groups=2, bias=False)
    norm = torch.nn.BatchNorm2d(4).eval()
    torch.nn.init.uniform_(norm.running_mean, -1, 1)
    torch.nn.init.uniform_(norm.running_var, 0.5, 2)
    made = folded(conv, norm)
    assert isinstance(made, ResolvedConv)
    x = torch.randn(2, 4, *size)
    for resolved in ((9, 9), size):
        made.resolve(*resolved)
        with torch.no_grad():
            torch.testing.assert_close(made(x), norm(conv(x)))


def test_a_dilated_convolution_stays_as_exact():
    """Rows of zeros would lie a dilation apart."""
    conv = Conv2dSame(3, 3, 3, 1, dilation=2, bias=False)
    made = folded(conv, torch.nn.BatchNorm2d(3).eval())
    x = torch.randn(1, 3, 8, 8)
    torch.testing.assert_close(made(x), conv(x) / (1 + 1e-5) ** 0.5)
