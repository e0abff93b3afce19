"""The second order of sums computes the same functions with other rounding."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from porting.parity.summation_order import DepthwiseByShifts, ReversedSums


@pytest.mark.parametrize("size", [(9, 9), (8, 11)])
@pytest.mark.parametrize("stride", [1, 2, 3, (1, 2)])
@pytest.mark.parametrize("groups", [1, 2, 6])
@pytest.mark.parametrize("bias", [False, True])
def test_convolutions(size, stride, groups, bias):
    torch.manual_seed(0)
    x, conv = torch.randn(2, 6, *size), nn.Conv2d(6, 12 if groups < 6 else 6, (3, 5), stride,
                                                  (1, 2), groups=groups, bias=bias)  # fmt: skip
    with torch.inference_mode():
        plain = conv(x)
        with ReversedSums():
            other = conv(x)
    torch.testing.assert_close(other, plain, rtol=1e-5, atol=1e-5)
    # Groups of several channels are not changed.
    assert torch.equal(other, plain) == (groups == 2)


@pytest.mark.parametrize("affine", [False, True])
def test_batch_norm(affine):
    norm = nn.BatchNorm2d(5, affine=affine).eval()
    generator = torch.Generator().manual_seed(0)
    for values in norm.state_dict().values():
        if values.is_floating_point():
            values.copy_(0.5 + torch.rand(values.shape, generator=generator))
    x = torch.randn(2, 5, 7, 7, generator=generator)
    with torch.inference_mode():
        plain = norm(x)
        with ReversedSums():
            other = norm(x)
    torch.testing.assert_close(other, plain, rtol=1e-5, atol=1e-5)
    assert not torch.equal(other, plain)


@pytest.mark.parametrize("mode", [ReversedSums, DepthwiseByShifts])
def test_one_number_stands_for_height_and_width(mode):
    x, weight = torch.randn(1, 4, 9, 9).double(), torch.randn(4, 1, 3, 3).double()
    with torch.inference_mode():
        plain = F.conv2d(x, weight, None, 2, 1, 1, 4)
        with mode():
            torch.testing.assert_close(F.conv2d(x, weight, None, 2, 1, 1, 4), plain)
