"""One class for each block type, and the table from type to class.

Submodules are named as in timm, so that state dicts are interchangeable.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

from genmobilenet.config import Block, NetworkConfig
from genmobilenet.layers import (
    ChannelShuffle,
    SqueezeExcite,
    make_activation,
    make_conv,
    make_depthwise,
    make_pointwise,
)


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
        self.conv_dw = make_depthwise(channels, block.kernels, block.stride, config.padding)
        self.bn1 = make_norm(channels, config)
        self.act1 = make_activation(block.activation)
        self.se = make_squeeze(channels, block, config)
        self.conv_pw = make_pointwise(channels, block.out_channels, block.end_kernels, groups)
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
    al., arXiv:1801.04381; with squeeze-excite Howard et al., arXiv:1905.02244; with mixed
    kernels Tan and Le, arXiv:1907.09595.
    """

    def __init__(self, block: Block, config: NetworkConfig) -> None:
        super().__init__()
        mid, groups = block.mid_channels, block.groups
        self.conv_pw = make_pointwise(block.in_channels, mid, block.start_kernels, groups)
        self.bn1 = make_norm(mid, config)
        self.act1 = make_activation(block.activation)
        self.shuffle = ChannelShuffle(groups) if groups > 1 else nn.Identity()
        self.conv_dw = make_depthwise(mid, block.kernels, block.stride, config.padding)
        self.bn2 = make_norm(mid, config)
        self.act2 = make_activation(block.activation)
        self.se = make_squeeze(mid, block, config)
        self.conv_pwl = make_pointwise(mid, block.out_channels, block.end_kernels, groups)
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


class UniversalInvertedResidual(nn.Module):
    """Expansion and projection, and depthwise convolutions before, between and behind them.

    Each depthwise convolution may be missing; the stride is that of the one in the middle, or else
    of the first that there is. Source: ``UniversalInvertedBottleneckBlock`` in tensorflow/models
    ``official/vision/modeling/layers/nn_blocks.py``; Qin et al., arXiv:2404.10518, figure 4.
    """

    def __init__(self, block: Block, config: NetworkConfig) -> None:
        super().__init__()
        channels, mid, out = block.in_channels, block.mid_channels, block.out_channels
        strides = block.strides
        self.dw_start = self._depthwise(channels, block.start_kernels, strides[0], config)
        self.pw_exp = _conv_norm_act(make_conv(channels, mid, 1), config, block.activation)
        self.dw_mid = self._depthwise(mid, block.kernels, strides[1], config, block.activation)
        self.se = make_squeeze(mid, block, config)
        self.pw_proj = _conv_norm_act(make_conv(mid, out, 1), config)
        self.dw_end = self._depthwise(out, block.end_kernels, strides[2], config)
        self.residual = block.residual

    @staticmethod
    def _depthwise(
        channels: int, kernels: tuple[int, ...], stride: int, config: NetworkConfig,
        activation: str = "none",
    ) -> nn.Module:  # fmt: skip
        if not any(kernels):
            return nn.Identity()
        conv = make_conv(channels, channels, kernels[0], stride, channels, config.padding)
        return _conv_norm_act(conv, config, activation)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in, H, W) -> (N, out, ceil(H / stride), ceil(W / stride))."""
        y: Tensor = self.se(self.dw_mid(self.pw_exp(self.dw_start(x))))
        y = self.dw_end(self.pw_proj(y))
        return y + x if self.residual else y


def _conv_norm_act(
    conv: nn.Conv2d, config: NetworkConfig, activation: str = "none"
) -> nn.Sequential:
    """A convolution, its batch norm and an activation, named as in timm's ``ConvNormAct``."""
    norm = make_norm(conv.out_channels, config)
    return nn.Sequential(OrderedDict(conv=conv, bn=norm, act=make_activation(activation)))


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
    "uir": UniversalInvertedResidual,
}
