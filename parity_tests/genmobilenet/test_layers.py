"""``Conv2dSame`` against TensorFlow's own convolutions."""

import itertools

import numpy as np
import pytest
import torch

from genmobilenet.layers import Conv2dSame

KERNELS = (1, 2, 3, 5, 7)
GRID = [
    (size, kernel, stride, dilation)
    for size, kernel, stride, dilation in itertools.product(
        ((7, 8), (14, 9), (23, 16)), KERNELS, (1, 2, 3), (1, 2, 3)
    )
    # TensorFlow does not support stride and dilation together.
    if stride == 1 or dilation == 1
]


@pytest.mark.parametrize("depthwise", [False, True], ids=["conv2d", "depthwise_conv2d"])
def test_equals_tensorflow_over_the_grid(depthwise):
    tf = pytest.importorskip("tensorflow")
    generator = np.random.default_rng(1)
    for (height, width), kernel, stride, dilation in GRID:
        x = generator.standard_normal((2, height, width, 4)).astype(np.float32)
        outputs = 1 if depthwise else 6
        weight = generator.standard_normal((kernel, kernel, 4, outputs)).astype(np.float32)
        call = tf.nn.depthwise_conv2d if depthwise else tf.nn.conv2d
        strides = (1, stride, stride, 1) if depthwise else stride
        expected = call(x, weight, strides, "SAME", dilations=(dilation,) * 2).numpy()
        layer = Conv2dSame(4, 4 if depthwise else 6, kernel, stride, dilation,
                           groups=4 if depthwise else 1, bias=False)  # fmt: skip
        # HWIO -> OIHW; a depthwise kernel's inputs (axis 2) become the outputs.
        axes = (2, 3, 0, 1) if depthwise else (3, 2, 0, 1)
        layer.weight.data = torch.from_numpy(weight.transpose(axes).copy())
        with torch.no_grad():
            actual = layer(torch.from_numpy(x.transpose(0, 3, 1, 2).copy())).numpy()
        np.testing.assert_allclose(
            actual.transpose(0, 2, 3, 1), expected, rtol=0, atol=2e-5,
            err_msg=f"size {height}x{width}, kernel {kernel}, stride {stride}, "
                    f"dilation {dilation}",
        )  # fmt: skip


def test_sides_may_differ_in_kernel_and_stride():
    tf = pytest.importorskip("tensorflow")
    generator = np.random.default_rng(2)
    x = generator.standard_normal((1, 9, 12, 3)).astype(np.float32)
    weight = generator.standard_normal((3, 5, 3, 2)).astype(np.float32)
    expected = tf.nn.conv2d(x, weight, (2, 3), "SAME").numpy()
    layer = Conv2dSame(3, 2, (3, 5), (2, 3), bias=False)
    layer.weight.data = torch.from_numpy(weight.transpose(3, 2, 0, 1).copy())
    with torch.no_grad():
        actual = layer(torch.from_numpy(x.transpose(0, 3, 1, 2).copy())).numpy()
    np.testing.assert_allclose(actual.transpose(0, 2, 3, 1), expected, rtol=0, atol=2e-5)
