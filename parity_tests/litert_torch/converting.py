"""Convert a port to TFLite with litert-torch, in its own environment: ``python converting.py ...``.

Arguments: the network's name, the file of its state dict, classes, side of the images, and the
TFLite file to write, which takes images as TensorFlow does, NHWC.
"""

from __future__ import annotations

import sys

import litert_torch
import torch

import genmobilenet


def main(model, weights, classes, side, target):
    network = genmobilenet.create_model(
        model, num_classes=int(classes), checkpoint_path=weights
    ).eval()
    channels_last = litert_torch.to_channel_last_io(network, args=[0]).eval()
    example = torch.zeros(1, int(side), int(side), 3)
    litert_torch.convert(channels_last, (example,)).export(target)


if __name__ == "__main__":
    main(*sys.argv[1:])
