"""A small network trained in a minute, whose averages score better than its raw weights.

Its classes are told by fine stripes, which resizing at points keeps and
antialiasing wipes out: it needs the pixels that it was trained on.
"""

from __future__ import annotations

import copy
from itertools import count
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from genmobilenet import create_model
from parity_tests.building.checkpoints import variables_of
from parity_tests.building.photos import encoded
from parity_tests.building.tables import write_checkpoint
from porting.accuracy.preprocessing import named_pipeline

MODEL, SCHEME, ROOT = "tf_mnasnet_small", "keras", "mnasnet-small"
SIZE, SIDE, CLASSES = 32, 128, ("a", "b", "c", "d")
TRAINED_ON, STEPS, BATCH, RATE = 640, 100, 48, 4e-3
DECAY = 0.95
WORSE = 0.15
"""By so much are the raw weights to be worse than the averages, on images they know."""

_MEAN, _STD = np.float32([123.675, 116.28, 103.53]), np.float32([58.395, 57.12, 57.375])


def striped(label: int, number: int) -> bytes:
    """A JPEG of 128 x 128 pixels in one of four classes: direction of fine stripes, and tint."""
    generator = np.random.default_rng([number, label])
    warm, upright = divmod(label, 2)
    place = np.mgrid[:SIDE, :SIDE][upright] / generator.choice([3, 5, 8]) + generator.random()
    stripes = generator.uniform(15, 60) * np.sin(2 * np.pi * place)
    image = generator.normal(128, 8, 3) + generator.normal(0, 8, (SIDE, SIDE, 3))
    image += generator.uniform(-2, 26) * np.array([1, 0, -1]) * (2 * warm - 1)
    image += stripes[..., None] * generator.normal(1, 0.3, 3)
    pixels = Image.fromarray(np.clip(image, 0, 255).astype(np.uint8))
    return encoded(pixels, "JPEG", quality=85, subsampling="4:2:0")


def write_images(folder: Path, images: int) -> Path:
    """Images that are not in the training set, in a folder for each class."""
    for number in range(images):
        label = number % len(CLASSES)
        place = folder / CLASSES[label]
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number:04}.jpg").write_bytes(striped(label, 10_000 + number))
    return folder


def write_trained(prefix: Path) -> Path:
    """Train, and write a checkpoint with raw weights and averages, under Google's names."""
    threads = torch.get_num_threads()
    torch.set_num_threads(
        1
    )  # the order of sums, and so the network, depends on the number of threads
    try:
        raw, averages = _trained()
    finally:
        torch.set_num_threads(threads)
    made = variables_of(raw, MODEL, SCHEME, ROOT)
    shadows = variables_of(averages, MODEL, SCHEME, ROOT)
    made |= {f"{name}/ExponentialMovingAverage": values for name, values in shadows.items()}
    made["global_step"] = np.asarray(STEPS, np.int64)
    write_checkpoint(prefix, made)
    return prefix


def _trained() -> tuple[dict, dict]:
    """State dicts: raw weights after steps at too high a rate, and averages of all steps."""
    labels = np.arange(TRAINED_ON) % len(CLASSES)
    inputs, known = _inputs(labels, "mnasnet"), torch.from_numpy(labels)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = create_model(MODEL, num_classes=len(CLASSES), drop_rate=0.0)
    torch.nn.init.zeros_(network.classifier.weight)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 0.1  # TensorFlow's momentum of 0.01 needs more steps than there are
    averages = copy.deepcopy(network)
    seen, order = _inputs(labels[:240], "pillow"), torch.Generator().manual_seed(1)
    optimizer = torch.optim.Adam(network.parameters(), RATE)
    for step in count():
        optimizer.param_groups[0]["lr"] = RATE if step < STEPS else 8 * RATE
        chosen = torch.randint(0, TRAINED_ON, (BATCH,), generator=order)
        loss = torch.nn.functional.cross_entropy(network.train()(inputs[chosen]), known[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        _average(averages, network, min(DECAY, (1 + step) / (10 + step)))
        if step >= STEPS:
            scores = [_top1(one, seen, known[:240]) for one in (network, averages)]
            if scores[1] - scores[0] > WORSE:
                return network.state_dict(), averages.state_dict()
            assert step < STEPS + 40, "the raw weights stay as good as the averages"
    raise AssertionError


def _inputs(labels: np.ndarray, preprocessing: str) -> torch.Tensor:
    """Normalised images (N, 3, 32, 32)."""
    pipeline = named_pipeline(preprocessing, SIZE)
    pixels = [pipeline(striped(int(label), number)) for number, label in enumerate(labels)]
    # N H W C -> N C H W
    return torch.from_numpy(((np.stack(pixels) - _MEAN) / _STD).transpose(0, 3, 1, 2).copy())


@torch.no_grad()
def _average(averages: torch.nn.Module, network: torch.nn.Module, decay: float) -> None:
    now = network.state_dict()
    for key, average in averages.state_dict().items():
        if average.dtype.is_floating_point:
            average.mul_(decay).add_(now[key], alpha=1 - decay)


@torch.no_grad()
def _top1(network: torch.nn.Module, inputs: torch.Tensor, labels: torch.Tensor) -> float:
    return float((network.eval()(inputs).argmax(1) == labels).float().mean())
