"""Calibrate the batch norms of a port whose source has folded its own: statistics from images.

Such a port has identities for batch norms: right in evaluation mode, and useless in training mode,
where each would normalise every channel to mean 0 and deviation 1 and so undo the scales that the
folded weights rely on. With the statistics of what reaches it, and a weight and bias that restore
them, a batch norm changes nothing in either mode.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from genmobilenet.config import NetworkConfig
from porting.card import Calibration
from porting.errors import BadInput
from porting.mapping.input_spec import InputConvention
from porting.mapping.plan import Plan, calibrated_plan, identity_norms

if TYPE_CHECKING:
    import torch

    from porting.parity.inputs import ImageStream

_CANDIDATES, _STEP = 256, 2.0**-20
"""Deviations tried for a channel, each this part larger than the one before: 2.4e-4 in all."""


def check_folded(plan: Plan, path: object) -> None:
    """Check that there are identity batch norms to calibrate.

    Raises:
        BadInput: there are none.
    """
    if not identity_norms(plan):
        raise BadInput(
            f"{path}: its batch norms are not folded: they come with the statistics of their own "
            "training, and are trainable as they are; leave out --bn calibrate"
        )


def calibrate(
    plan: Plan,
    state: Mapping[str, torch.Tensor],
    config: NetworkConfig,
    convention: InputConvention,
    images: ImageStream,
    progress: Callable[[int], None] | None = None,
) -> tuple[Plan, dict[str, torch.Tensor], Calibration]:
    """Return plan and state dict with calibrated batch norms, and what they were calibrated on.

    The network runs in evaluation mode over one image (H, W, C), 0..255, after
    another; only its part in mean and variance is kept of an image.
    ``progress`` is called with the number of images that are done.

    Raises:
        BadInput: no image can be read, or values on them are not finite.
    """
    import torch

    from genmobilenet.factory import build

    norms = identity_norms(plan)
    network = build(config, dict(state))
    moments = {path: Moments(len(state[f"{path}.bias"])) for path in norms}
    for path, statistics in moments.items():
        network.get_submodule(path).register_forward_pre_hook(
            lambda _, inputs, statistics=statistics: statistics.update(inputs[0].numpy())
        )
    digest, count = hashlib.sha256(), 0
    with torch.inference_mode():
        for image in images.plain():
            pixels = convention.normalise(image)
            # (H, W, C) -> (1, C, H, W)
            network(torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])))
            digest.update(np.ascontiguousarray(image).tobytes())
            count += 1
            if progress is not None:
                progress(count)
    if not count:
        raise BadInput(f"{images.what}: there is no image to calibrate on")
    new_state = dict(state)
    for path, statistics in moments.items():
        bias = state[f"{path}.bias"].numpy()
        with np.errstate(over="ignore", invalid="ignore"):  # refused below
            parameters = neutral_norm(
                statistics.mean, statistics.variance, bias, config.bn_epsilon
            )  # fmt: skip
        for name, values in parameters.items():
            if not np.isfinite(values).all():
                raise BadInput(f"{path}: what it gets on {images.what} is beyond float32")
            new_state[f"{path}.{name}"] = torch.from_numpy(values)
    what = f"{count} of {images.what}" if images.skipped else images.what
    calibration = Calibration(norms, count, what, digest.hexdigest(), tuple(images.skipped))
    return _with_notes(plan, calibration), new_state, calibration


def _with_notes(plan: Plan, calibration: Calibration) -> Plan:
    """The plan of the calibrated port, with a note on the images."""
    notes = [
        f"{len(calibration.norms)} batch norms have the statistics of {calibration.images_are}; "
        "the function is that of the source"
    ]
    if calibration.skipped:
        name, reason = calibration.skipped[0]
        more = len(calibration.skipped) - 1
        others = f" and {more} more" if more else ""
        notes.append(f"not among them, as it cannot be read: {name}{others} ({reason})")
    plan = calibrated_plan(plan, calibration.norms)
    return replace(plan, notes=(*plan.notes, *notes))


class Moments:
    """Running mean and variance of each channel, in float64.

    Two sets of values are joined as in Chan, Golub and LeVeque, "Updating
    formulae and a pairwise algorithm for computing sample variances" (1979):
    nothing large is subtracted from anything large, and three numbers a channel
    are all that is kept.
    """

    def __init__(self, channels: int) -> None:
        self.count = 0
        self.mean = np.zeros(channels)
        self._squares = np.zeros(channels)  # sum of squared distances from the mean

    def update(self, values: np.ndarray) -> None:
        """Count in values (N, C, H, W)."""
        more = values.size // len(self.mean)
        mean = values.mean((0, 2, 3), dtype=np.float64)
        distance = values - mean.reshape(1, -1, 1, 1)  # float64, as the mean is
        apart, total = mean - self.mean, self.count + more
        self._squares += np.square(distance).sum((0, 2, 3))
        self._squares += np.square(apart) * (self.count * more / total)
        self.mean = self.mean + apart * (more / total)
        self.count = total

    @property
    def variance(self) -> np.ndarray:
        """The sum of squared distances over ``count - 1``, (C,).

        This is what ``torch.nn.BatchNorm2d`` keeps in ``running_var``; only
        within a batch it divides by the count itself.
        """
        return self._squares / max(self.count - 1, 1)


def neutral_norm(
    mean: np.ndarray, variance: np.ndarray, bias: np.ndarray, epsilon: float
) -> dict[str, np.ndarray]:
    """Parameters, float32 (C,), of a batch norm with these statistics that computes x + bias.

    ``mean`` and ``variance`` are float64, ``bias`` float32, all (C,). A channel
    whose variance is 0 gets the weight sqrt(epsilon).

    With mean m, variance v and old bias b the parameters are running_mean m,
    running_var v, weight sqrt(v + epsilon) and bias b + m, and the function stays
    x + b. Each of the four has to be rounded, and rounded one by one they would
    scale by 1 +- 6e-8 and shift by a rounding of m. The statistics are an estimate
    and may be moved by far more than that, so they are moved to where the roundings
    cancel: v + epsilon by up to 5e-4 of itself.
    """
    channels = np.arange(len(bias))
    # Weight and variance, of which one undoes the other as nearly as can be.
    steps = 1 + _STEP * np.arange(_CANDIDATES).reshape(-1, 1)  # (candidates, 1)
    weights = (np.sqrt(variance + epsilon) * steps).astype(np.float32)
    squares = np.square(weights.astype(np.float64))
    variances = np.maximum(squares - epsilon, 0).astype(np.float32)
    exact = weights / np.sqrt(variances.astype(np.float64) + epsilon)
    # As PyTorch computes it. A scale of exactly 1 there goes before all.
    single = weights * (1 / np.sqrt(variances + np.float32(epsilon)))
    scale = (np.abs(exact - 1) + np.abs(single.astype(np.float64) - 1)).argmin(0)
    # Mean and new bias, whose difference is the old bias as nearly as can be: exactly, unless the
    # mean is the larger, whose float32 has no room for the last bits of a smaller number. Then
    # half of its last bit is lost.
    grid = np.spacing(np.abs(bias)).astype(np.float64)
    candidates = [mean, (bias + mean).astype(np.float32) - bias.astype(np.float64)]
    candidates.append(np.round(mean / grid) * grid)
    means = np.stack(candidates).astype(np.float32)  # (candidates, C)
    biases = (bias.astype(np.float64) + means).astype(np.float32)
    shift = np.abs(biases.astype(np.float64) - means - bias).argmin(0)
    return {
        "weight": weights[scale, channels],
        "bias": biases[shift, channels],
        "running_mean": means[shift, channels],
        "running_var": variances[scale, channels],
    }
