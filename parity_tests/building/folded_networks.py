"""A trained network as a TFLite file with folded batch norms."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch.nn import functional as F

from genmobilenet import get_config
from genmobilenet.network import GenMobileNet
from parity_tests.building.patterns import striped_images
from parity_tests.building.tflite_networks import NetworkFile

MODEL, SIDE, CLASSES = "tf_mobilenetv1_025", 64, 6


def trained_network(steps=100, seed=0):
    """MobileNet V1 at 0.25, trained for a few steps to classify stripes."""
    torch.manual_seed(seed)
    network = GenMobileNet(replace(get_config(MODEL), num_classes=CLASSES, drop_rate=0.0))
    norms = [part for part in network.modules() if isinstance(part, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 0.1  # the network's own momentum is for thousands of steps
    optimiser = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
    images, labels = (torch.from_numpy(each) for each in striped_images(240, SIDE, CLASSES, seed))
    inputs = (images.permute(0, 3, 1, 2).float() - 127.5) / 127.5
    for step in range(steps):
        batch = torch.arange(24 * step, 24 * (step + 1)) % len(images)
        loss = F.cross_entropy(network.train()(inputs[batch]), labels[batch])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return network.eval()


class FoldedFile(NetworkFile):
    """The TFLite file of a MobileNet V1 in PyTorch. ``dead`` channels of the stem stay at 0."""

    def __init__(self, network, dead=0):
        super().__init__(network.config, size=SIDE)
        self._stored = dict(_folded(network, dead))

    def constant(self, name, values):
        """The network's values instead of random ones."""
        stored = self._stored[name]
        assert stored.shape == values.shape, (name, stored.shape, values.shape)
        return super().constant(name, stored)


def _folded(network, dead):
    """Kernels and biases under the names of :class:`NetworkFile`, in TFLite's axis order."""
    layers = [("stem", network.conv_stem, network.bn1)]
    for block in network.config.resolve():
        part = network.get_submodule(block.path)
        layers.append((f"block_{block.index}/dw", part.conv_dw, part.bn1))
        layers.append((f"block_{block.index}/project", part.conv_pw, part.bn2))
    for name, conv, norm in layers:
        factor = (norm.weight / torch.sqrt(norm.running_var + norm.eps)).detach()
        kernel = conv.weight.detach() * factor.reshape(-1, 1, 1, 1)
        if name == "stem":
            kernel[:dead] = 0
        # OIHW to OHWI; depthwise (C, 1, k, k) to (1, k, k, C).
        axes = (1, 2, 3, 0) if conv.groups > 1 else (0, 2, 3, 1)
        yield f"{name}/kernel", kernel.permute(axes).numpy()
        yield f"{name}/bias", (norm.bias - norm.running_mean * factor).detach().numpy()
    yield "dense/kernel", network.classifier.weight.detach().numpy()
    yield "dense/bias", network.classifier.bias.detach().numpy()
