"""Fine-tuning a port of a folded source: identity batch norms against calibrated ones.

For each: the worst tap in multiples of its noise; the relative distance of the logits in
training mode from those in evaluation mode (all images in one batch, and 32 random ones);
and the loss on all images in evaluation mode before and after a few steps of SGD with 32
random images each, with a new classifier of eight classes, which are consecutive images.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch.nn import functional as F

from benchmarks.sources import bench_sources
from genmobilenet import create_model
from genmobilenet.network import GenMobileNet
from porting import Port, port
from porting.parity.inputs import image_stream, seeded_pixels

STEPS, RATE, BATCH, CLASSES = 10, 0.02, 32, 8
IMAGES = 48
"""Number of seeded images if there is no folder of real ones."""


def network_of(candidate: Port) -> GenMobileNet:
    """The network with the port's weights, without dropout."""
    model = create_model(candidate.model, num_classes=candidate.convention.classes, drop_rate=0.0)
    model.load_state_dict(candidate.state_dict)
    return model


def inputs_of(candidate: Port, images: Path | None) -> torch.Tensor:
    """All images as the network takes them, (N, C, H, W)."""
    size, channels = candidate.convention.size, candidate.convention.channels
    pixels = np.stack(list(image_stream(images, IMAGES, size, channels)))
    inputs = candidate.convention.normalise(pixels).transpose(0, 3, 1, 2)
    return torch.from_numpy(np.ascontiguousarray(inputs))


def batches(images: int) -> Iterator[torch.Tensor]:
    """Random image numbers for each step, the same for every port."""
    order = torch.Generator().manual_seed(0)
    while True:
        yield torch.randperm(images, generator=order)[:BATCH]


def distance(candidate: Port, x: torch.Tensor) -> float:
    """Relative distance of the logits in training mode from those in evaluation mode."""
    model = network_of(candidate)
    with torch.no_grad():
        expected, in_training = model.eval()(x), model.train()(x)
    return float((in_training - expected).norm() / expected.norm())


def losses(candidate: Port, x: torch.Tensor) -> tuple[float, float]:
    """Losses in evaluation mode before and after the steps."""
    labels = torch.arange(len(x)) * CLASSES // len(x)
    model = network_of(candidate)
    model.reset_classifier(CLASSES)
    torch.nn.init.zeros_(model.classifier.weight)
    optimiser = torch.optim.SGD(model.parameters(), lr=RATE)

    def loss() -> float:
        with torch.no_grad():
            return float(F.cross_entropy(model.eval()(x), labels))

    before = loss()
    for batch in islice(batches(len(x)), STEPS):
        optimiser.zero_grad()
        F.cross_entropy(model.train()(x[batch]), labels[batch]).backward()
        optimiser.step()
    return before, loss()


def main() -> None:
    """Measure and print."""
    table = Table(
        "source", "batch norms", "x noise", "train-eval, all", "of 32", "loss", f"after {STEPS}"
    )
    with bench_sources() as sources:
        for path in filter(None, (sources.b1, sources.trained)):
            plain = port(path)
            x = inputs_of(plain, sources.images)
            size, channels = plain.convention.size, plain.convention.channels
            images = sources.images or seeded_pixels(IMAGES, size, channels)
            for candidate in (plain, port(path, bn="calibrate", images=images)):
                assert candidate.comparison is not None
                before, after = losses(candidate, x)
                table.add_row(
                    path.name,
                    "identity" if candidate.calibration is None else "calibrated",
                    f"{candidate.comparison.worst.figures.ratio:.1f}",
                    f"{distance(candidate, x):.2g}",
                    f"{distance(candidate, x[next(batches(len(x)))]):.2g}",
                    f"{before:.2f}",
                    f"{after:.2f}",
                )
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
