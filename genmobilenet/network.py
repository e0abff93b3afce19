"""The network that every configuration builds."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genmobilenet.blocks import BLOCK_CLASSES, make_norm
from genmobilenet.config import NetworkConfig
from genmobilenet.layers import make_conv


class GenMobileNet(nn.Module):
    """Stem, stages of blocks, 1x1 head, mean over space, linear classifier.

    Input (N, in_chans, H, W), already normalised; output (N, num_classes)
    logits. State-dict keys are timm's.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.drop_rate = config.drop_rate
        self.conv_stem = make_conv(config.in_chans, config.stem, 3, 2, padding=config.padding)
        self.bn1 = make_norm(config.stem, config)
        self.act1 = nn.ReLU(inplace=True)
        self.blocks = nn.Sequential(
            *(
                nn.Sequential(*(BLOCK_CLASSES[block.type](block, config) for block in stage))
                for stage in config.stages
            )
        )
        channels = config.stages[-1][-1].out_channels
        self.conv_head = make_conv(channels, config.head_channels, 1)
        self.bn2 = make_norm(config.head_channels, config)
        self.act2 = nn.ReLU(inplace=True)
        self.global_pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.classifier = nn.Linear(config.head_channels, config.num_classes)
        if self.conv_stem.weight.device.type != "meta":
            self.apply(init_weights)

    def forward_features(self, x: Tensor) -> Tensor:
        """(N, in_chans, H, W) -> (N, head_channels, ceil(H / 32), ceil(W / 32))."""
        x = self.act1(self.bn1(self.conv_stem(x)))
        x = self.act2(self.bn2(self.conv_head(self.blocks(x))))
        return x

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_chans, H, W) -> (N, num_classes)."""
        x = self.global_pool(self.forward_features(x))
        x = F.dropout(x, self.drop_rate, self.training)
        x = self.classifier(x)
        return x


@torch.no_grad()
def init_weights(module: nn.Module) -> None:
    """Initialise one module as Google's code does.

    Convolutions: normal, variance 2 over the fan-out, a depthwise kernel's
    fan-out being its area. Classifier: uniform within 1/sqrt(classes), bias 0.
    Source: ``conv_kernel_initializer`` and ``dense_kernel_initializer`` in
    tensorflow/tpu ``mnasnet_model.py``.
    """
    if isinstance(module, nn.Conv2d):
        fan_out = math.prod(module.kernel_size) * module.out_channels // module.groups
        nn.init.normal_(module.weight, 0.0, math.sqrt(2.0 / fan_out))
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Linear):
        bound = 1.0 / math.sqrt(module.out_features)
        nn.init.uniform_(module.weight, -bound, bound)
        nn.init.zeros_(module.bias)
