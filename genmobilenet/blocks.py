"""One class a block type, and the table from type to class.

Names of the parts are timm's, so that state dicts go back and forth.
"""

from __future__ import annotations

from torch import Tensor, nn

from genmobilenet.config import Block, NetworkConfig
from genmobilenet.layers import SqueezeExcite, make_conv


def make_norm(channels: int, config: NetworkConfig) -> nn.BatchNorm2d:
    """Batch norm with the network's epsilon and momentum."""
    return nn.BatchNorm2d(channels, eps=config.bn_epsilon, momentum=config.bn_momentum)


class DepthwiseSeparable(nn.Module):
    """Depthwise convolution, then a pointwise one without activation.

    Source: ``MnasBlock`` with expansion 1 in tensorflow/tpu ``mnasnet_model.py``.
    """

    def __init__(self, block: Block, config: NetworkConfig) -> None:
        super().__init__()
        channels = block.in_channels
        self.conv_dw = make_conv(
            channels, channels, block.kernel, block.stride, channels, config.padding
        )
        self.bn1 = make_norm(channels, config)
        self.act1 = nn.ReLU(inplace=True)
        self.se = SqueezeExcite(channels, block.squeeze) if block.squeeze else nn.Identity()
        self.conv_pw = make_conv(channels, block.out_channels, 1)
        self.bn2 = make_norm(block.out_channels, config)
        self.residual = block.residual

    def forward(self, x: Tensor) -> Tensor:
        """(N, in, H, W) -> (N, out, ceil(H / stride), ceil(W / stride))."""
        shortcut = x
        x = self.se(self.act1(self.bn1(self.conv_dw(x))))
        x = self.bn2(self.conv_pw(x))
        return x + shortcut if self.residual else x


class InvertedResidual(nn.Module):
    """Expansion, depthwise convolution, projection without activation.

    Source: ``MnasBlock`` in tensorflow/tpu ``mnasnet_model.py``; Sandler et
    al., arXiv:1801.04381.
    """

    def __init__(self, block: Block, config: NetworkConfig) -> None:
        super().__init__()
        mid = block.mid_channels
        self.conv_pw = make_conv(block.in_channels, mid, 1)
        self.bn1 = make_norm(mid, config)
        self.act1 = nn.ReLU(inplace=True)
        self.conv_dw = make_conv(mid, mid, block.kernel, block.stride, mid, config.padding)
        self.bn2 = make_norm(mid, config)
        self.act2 = nn.ReLU(inplace=True)
        self.se = SqueezeExcite(mid, block.squeeze) if block.squeeze else nn.Identity()
        self.conv_pwl = make_conv(mid, block.out_channels, 1)
        self.bn3 = make_norm(block.out_channels, config)
        self.residual = block.residual

    def forward(self, x: Tensor) -> Tensor:
        """(N, in, H, W) -> (N, out, ceil(H / stride), ceil(W / stride))."""
        shortcut = x
        x = self.act1(self.bn1(self.conv_pw(x)))
        x = self.se(self.act2(self.bn2(self.conv_dw(x))))
        x = self.bn3(self.conv_pwl(x))
        return x + shortcut if self.residual else x


BLOCK_CLASSES: dict[str, type[nn.Module]] = {"ds": DepthwiseSeparable, "ir": InvertedResidual}
