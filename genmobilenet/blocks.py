"""One class for each block type, and the table from type to class.

Submodules are named as in timm, so that state dicts are interchangeable.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from genmobilenet.config import Block, NetworkConfig
from genmobilenet.layers import ChannelShuffle, SqueezeExcite, make_activation, make_conv


def make_norm(channels: int, config: NetworkConfig) -> nn.BatchNorm2d:
    """Batch norm with the network's epsilon and momentum."""
    return nn.BatchNorm2d(channels, eps=config.bn_epsilon, momentum=config.bn_momentum)


def make_squeeze(channels: int, block: Block, config: NetworkConfig) -> nn.Module:
    """Squeeze-excite, or identity if the block has none."""
    if not block.squeeze:
        return nn.Identity()
    return SqueezeExcite(channels, block.squeeze, config.gate, config.squeeze_activation)


class DepthwiseSeparable(nn.Module):
    """Depthwise, then pointwise convolution; an activation follows the latter only in ``dsa``.

    Sources: ``MnasBlock`` with expansion 1 in tensorflow/tpu
    ``mnasnet_model.py``; for ``dsa`` slim ``mobilenet_v1.py``, Howard et al.,
    arXiv:1704.04861. With groups: FBNet's grouped blocks of expansion 1,
    facebookresearch/mobile-vision ``irf_block.py``.
    """

    def __init__(self, block: Block, config: NetworkConfig) -> None:
        super().__init__()
        channels, groups = block.in_channels, block.groups
        self.shuffle = ChannelShuffle(groups) if groups > 1 else nn.Identity()
        self.conv_dw = make_conv(
            channels, channels, block.kernel, block.stride, channels, config.padding
        )
        self.bn1 = make_norm(channels, config)
        self.act1 = make_activation(block.activation)
        self.se = make_squeeze(channels, block, config)
        self.conv_pw = make_conv(channels, block.out_channels, 1, groups=groups)
        self.bn2 = make_norm(block.out_channels, config)
        self.act2 = make_activation(block.activation) if block.type == "dsa" else nn.Identity()
        self.residual = block.residual

    def forward(self, x: Tensor) -> Tensor:
        """(N, in, H, W) -> (N, out, ceil(H / stride), ceil(W / stride))."""
        shortcut = x
        x = self.se(self.act1(self.bn1(self.conv_dw(self.shuffle(x)))))
        x = self.act2(self.bn2(self.conv_pw(x)))
        return x + shortcut if self.residual else x


class InvertedResidual(nn.Module):
    """Expansion, depthwise convolution, projection without activation.

    Sources: ``MnasBlock`` in tensorflow/tpu ``mnasnet_model.py``; Sandler et
    al., arXiv:1801.04381; with squeeze-excite Howard et al., arXiv:1905.02244.
    """

    def __init__(self, block: Block, config: NetworkConfig) -> None:
        super().__init__()
        mid, groups = block.mid_channels, block.groups
        self.conv_pw = make_conv(block.in_channels, mid, 1, groups=groups)
        self.bn1 = make_norm(mid, config)
        self.act1 = make_activation(block.activation)
        self.shuffle = ChannelShuffle(groups) if groups > 1 else nn.Identity()
        self.conv_dw = make_conv(mid, mid, block.kernel, block.stride, mid, config.padding)
        self.bn2 = make_norm(mid, config)
        self.act2 = make_activation(block.activation)
        self.se = make_squeeze(mid, block, config)
        self.conv_pwl = make_conv(mid, block.out_channels, 1, groups=groups)
        self.bn3 = make_norm(block.out_channels, config)
        self.residual = block.residual

    def forward(self, x: Tensor) -> Tensor:
        """(N, in, H, W) -> (N, out, ceil(H / stride), ceil(W / stride))."""
        shortcut = x
        x = self.shuffle(self.act1(self.bn1(self.conv_pw(x))))
        x = self.se(self.act2(self.bn2(self.conv_dw(x))))
        x = self.bn3(self.conv_pwl(x))
        return x + shortcut if self.residual else x


class FusedInvertedResidual(nn.Module):
    """One convolution that expands, projection without activation.

    The stride is the first convolution's, or in ``erp`` the projection's. Sources: ``mbv3_fused``
    of slim ``mobilenet_v3.py``, in V3_EDGETPU; for ``erp`` ``MBConvBlockWithoutDepthwise`` in
    tensorflow/tpu ``models/official/efficientnet/efficientnet_model.py``, of EfficientNet-EdgeTPU.
    """

    def __init__(self, block: Block, config: NetworkConfig) -> None:
        super().__init__()
        mid = block.mid_channels
        first, last = (1, block.stride) if block.type == "erp" else (block.stride, 1)
        self.conv_exp = make_conv(
            block.in_channels, mid, block.kernel, first, padding=config.padding
        )
        self.bn1 = make_norm(mid, config)
        self.act1 = make_activation(block.activation)
        self.se = make_squeeze(mid, block, config)
        self.conv_pwl = make_conv(mid, block.out_channels, 1, last)
        self.bn2 = make_norm(block.out_channels, config)
        self.residual = block.residual

    def forward(self, x: Tensor) -> Tensor:
        """(N, in, H, W) -> (N, out, ceil(H / stride), ceil(W / stride))."""
        shortcut = x
        x = self.se(self.act1(self.bn1(self.conv_exp(x))))
        x = self.bn2(self.conv_pwl(x))
        return x + shortcut if self.residual else x


class ConvNormAct(nn.Module):
    """One convolution with batch norm and activation.

    Source: the last layer before pooling of slim ``mobilenet_v3.py``.
    """

    def __init__(self, block: Block, config: NetworkConfig) -> None:
        super().__init__()
        self.conv = make_conv(
            block.in_channels, block.out_channels, block.kernel, block.stride,
            padding=config.padding,
        )  # fmt: skip
        self.bn1 = make_norm(block.out_channels, config)
        self.act1 = make_activation(block.activation)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in, H, W) -> (N, out, ceil(H / stride), ceil(W / stride))."""
        out: Tensor = self.act1(self.bn1(self.conv(x)))
        return out


class ShuffleUnit(nn.Module):
    """ShuffleNetV2's unit: half the channels pass, the other half is convolved.

    With stride 2 both halves are computed from all channels. The two are
    concatenated and shuffled. Source: Ma et al., arXiv:1807.11164, figure 3 (c) and (d).
    """

    def __init__(self, block: Block, config: NetworkConfig) -> None:
        super().__init__()
        half, downsamples = block.out_channels // 2, block.stride > 1
        channels = block.in_channels if downsamples else half
        self.pass_channels = 0 if downsamples else block.in_channels - half
        self.shortcut: nn.Module = nn.Identity()
        if downsamples:
            self.shortcut = nn.Sequential(
                make_conv(channels, channels, block.kernel, block.stride, channels, config.padding),
                make_norm(channels, config),
                make_conv(channels, half, 1),
                make_norm(half, config),
                make_activation(block.activation),
            )
        self.conv_pw = make_conv(channels, half, 1)
        self.bn1 = make_norm(half, config)
        self.act1 = make_activation(block.activation)
        self.conv_dw = make_conv(half, half, block.kernel, block.stride, half, config.padding)
        self.bn2 = make_norm(half, config)
        self.conv_pwl = make_conv(half, half, 1)
        self.bn3 = make_norm(half, config)
        self.act2 = make_activation(block.activation)
        self.shuffle = ChannelShuffle(2)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in, H, W) -> (N, out, ceil(H / stride), ceil(W / stride))."""
        first, second = x, x
        if self.pass_channels > 0:
            first, second = x[:, : self.pass_channels], x[:, self.pass_channels :]
        second = self.bn2(self.conv_dw(self.act1(self.bn1(self.conv_pw(second)))))
        second = self.act2(self.bn3(self.conv_pwl(second)))
        out: Tensor = self.shuffle(torch.cat([self.shortcut(first), second], dim=1))
        return out


BLOCK_CLASSES: dict[str, type[nn.Module]] = {
    "ds": DepthwiseSeparable,
    "dsa": DepthwiseSeparable,
    "ir": InvertedResidual,
    "cn": ConvNormAct,
    "er": FusedInvertedResidual,
    "erp": FusedInvertedResidual,
    "su": ShuffleUnit,
}
