"""The network class, built from a configuration."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genmobilenet.blocks import BLOCK_CLASSES, make_norm
from genmobilenet.config import NetworkConfig
from genmobilenet.layers import FLATTENS, POOLS, Normalise, make_activation, make_conv


class GenMobileNet(nn.Module):
    """Stem, stages of blocks, head, mean over space, dense layers, linear classifier.

    Input (N, in_chans, H, W), already normalised unless the configuration
    ``normalises``; output (N, num_classes) logits, or (N, C, H, W) where its ``pool`` is
    ``"none"``. State-dict keys are timm's. ``num_features`` is the number of the classifier's
    inputs.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.drop_rate = config.drop_rate
        self.num_features = config.classifier_inputs
        self.pools_first = config.head.endswith("after_pool")
        self.normalise = Normalise(config.in_chans) if config.normalises else nn.Identity()
        self.conv_stem = make_conv(
            config.in_chans, config.stem, config.stem_kernel, config.stem_stride,
            padding=config.padding,
        )  # fmt: skip
        self.bn1 = make_norm(config.stem, config)
        self.act1 = make_activation(config.activation)
        # Only ShuffleNetV2 has one; Ma et al., arXiv:1807.11164, table 5.
        self.stem_pool = nn.MaxPool2d(3, 2, 1) if config.stem_pool else nn.Identity()
        self.blocks = nn.Sequential(
            *(
                nn.Sequential(*(BLOCK_CLASSES[block.type](block, config) for block in stage))
                for stage in config.stages
            )
        )
        channels = config.stages[-1][-1].out_channels
        self.conv_head: nn.Module = nn.Identity()
        self.bn2: nn.Module = nn.Identity()
        self.norm_head: nn.Module = nn.Identity()
        self.act2: nn.Module = nn.Identity()
        if config.head == "conv":
            self.conv_head = make_conv(channels, config.head_width, 1)
            self.bn2 = make_norm(config.head_width, config)
        elif config.head == "norm_after_pool":
            self.conv_head = make_conv(channels, config.head_width, 1)
            self.norm_head = make_norm(config.head_width, config)
        elif config.head == "after_pool":
            self.conv_head = nn.Conv2d(channels, config.head_width, 1)
        if config.head != "none":
            self.act2 = make_activation(config.activation)
        self.global_pool = POOLS.get(config.pool, nn.Identity)()
        self.flatten = FLATTENS.get(config.pool, nn.Flatten)()
        self.head = make_dense_layers(config)
        self.classifier = self._make_classifier(config.num_classes)
        if self.conv_stem.weight.device.type != "meta":
            self.apply(init_weights)

    def _make_classifier(self, num_classes: int) -> nn.Module:
        if not num_classes:
            return nn.Identity()
        return nn.Linear(self.num_features, num_classes, self.config.classifier_bias)

    def reset_classifier(self, num_classes: int) -> None:
        """Replace the classifier by a newly initialised one; with 0 classes, return features."""
        device, dtype = self.conv_stem.weight.device, self.conv_stem.weight.dtype
        self.config = replace(self.config, num_classes=num_classes)
        self.classifier = self._make_classifier(num_classes).to(device, dtype)
        self.classifier.apply(init_weights)

    def _after_stem(self, x: Tensor) -> Tensor:
        out: Tensor = self.stem_pool(self.act1(self.bn1(x)))
        return out

    def features(self, x: Tensor) -> list[Tensor]:
        """(N, in_chans, H, W) -> the output of each stage, (N, C, H, W), finest first."""
        x = self._after_stem(self.conv_stem(self.normalise(x)))
        outputs: list[Tensor] = []
        for stage in self.blocks:
            x = stage(x)
            outputs.append(x)
        return outputs

    def forward_features(self, x: Tensor) -> Tensor:
        """(N, in_chans, H, W) -> (N, C, ceil(H / 32), ceil(W / 32)), before pooling."""
        return self._features_after_stem(self.conv_stem(self.normalise(x)))

    def _features_after_stem(self, x: Tensor) -> Tensor:
        x = self.blocks(self._after_stem(x))
        if not self.pools_first:
            x = self.act2(self.bn2(self.conv_head(x)))
        return x

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_chans, H, W) -> (N, num_classes)."""
        return self.forward_after_stem(self.conv_stem(self.normalise(x)))

    def forward_after_stem(self, x: Tensor) -> Tensor:
        """Output of the stem's convolution, (N, C, H, W) -> (N, num_classes)."""
        x = self.global_pool(self._features_after_stem(x))
        if self.pools_first:
            x = self.act2(self.norm_head(self.conv_head(x)))
        x = F.dropout(self.head(self.flatten(x)), self.drop_rate, self.training)
        x = self.classifier(x)
        return x


HEAD_PARTS = ("conv_head", "bn2", "norm_head", "head", "classifier")
"""First parts of the keys that :class:`FeatureNet` does not have."""


class FeatureNet(GenMobileNet):
    """Stem and stages alone, which give the features at each stride, finest first.

    As timm's ``create_model(..., features_only=True)`` has it: one output for each stride, that of
    the last stage before the next stride, or of the stem where the first stage strides at once.
    ``feature_info`` says of each ``module``, ``num_chs`` and ``reduction`` (the stride). Source:
    ``EfficientNetBuilder`` of timm ``_efficientnet_builder.py``, ``feature_location="bottleneck"``.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(replace(config, head="none", hidden=(), pool="none", num_classes=0))
        reduction = config.stem_stride * (2 if config.stem_pool else 1)
        self.feature_info: list[dict[str, str | int]] = []
        self._from_stem = config.stages[0][0].stride > 1
        if self._from_stem:
            self.feature_info.append(_feature("act1", config.stem, reduction))
        self._ends: list[bool] = []
        for number, stage in enumerate(config.stages):
            reduction *= stage[0].stride
            following = config.stages[number + 1 : number + 2]
            self._ends.append(not following or following[0][0].stride > 1)
            if self._ends[-1]:
                info = _feature(f"blocks.{number}", stage[-1].out_channels, reduction)
                self.feature_info.append(info)

    def forward(self, x: Tensor) -> list[Tensor]:  # type: ignore[override]
        """(N, in_chans, H, W) -> (N, C, H / stride, W / stride) for each stride."""
        x = self._after_stem(self.conv_stem(self.normalise(x)))
        outputs = [x] if self._from_stem else []
        for stage, is_last in zip(self.blocks, self._ends, strict=True):
            x = stage(x)
            outputs += [x] if is_last else []
        return outputs


def _feature(module: str, channels: int, reduction: int) -> dict[str, str | int]:
    """An entry of ``feature_info``, with timm's keys."""
    return {"module": module, "num_chs": channels, "reduction": reduction}


def make_dense_layers(config: NetworkConfig) -> nn.Sequential:
    """The dense layers before the classifier, each followed by its batch norm and activation."""
    modules: list[nn.Module] = []
    width = config.head_width * config.places
    for layer in config.dense:
        if layer.channels:
            modules.append(nn.Linear(width, layer.channels, layer.bias and not layer.norm))
            width = layer.channels
        if layer.norm:
            modules.append(
                nn.BatchNorm1d(width, eps=config.bn_epsilon, momentum=config.bn_momentum)
            )
        modules.append(make_activation(layer.activation))
    return nn.Sequential(*modules)


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
        if module.bias is not None:
            nn.init.zeros_(module.bias)
