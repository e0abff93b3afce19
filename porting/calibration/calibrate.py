"""Giving the identity batch norms of a folded source the statistics of real images.

A source with its batch norms folded ports onto identities: right in
evaluation, and useless in training mode, where each would bring every channel
to mean 0 and deviation 1 and so undo the scales that the folded weights rely
on. With the statistics of its own convolution a batch norm takes out in
training mode what it puts back itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from genmobilenet.config import NetworkConfig
from porting.calibration.moments import Moments
from porting.calibration.norms import neutral_norm
from porting.errors import BadInput
from porting.mapping.convention import InputConvention
from porting.mapping.plan import Plan, calibrated_plan, identity_norms

if TYPE_CHECKING:
    import torch

    from porting.parity.inputs import ImageStream


@dataclass(frozen=True)
class Calibration:
    """What batch norms were calibrated on.

    ``norms`` are their paths. ``images`` counts those that were read;
    ``images_are`` says what they were, ``sha256`` is over their pixels, at the
    size at which the network took them, one image after another. ``skipped``
    are files that could not be read, with the reason.
    """

    norms: tuple[str, ...]
    images: int
    images_are: str
    sha256: str
    skipped: tuple[tuple[str, str], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain data for the release file."""
        return {
            "norms": list(self.norms),
            "images": self.images,
            "images_are": self.images_are,
            "pixels_sha256": self.sha256,
            "skipped": [{"file": name, "reason": why} for name, why in self.skipped],
            "variance": "over count - 1, as torch keeps it in running_var",
        }


def check_folded(plan: Plan, path: object) -> None:
    """See that there are identity batch norms to calibrate.

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
    """Plan and state dict with calibrated batch norms, and what they were calibrated on.

    The network runs in evaluation mode over one image (H, W, C), 0..255, after
    another; nothing of an image is kept but its part in mean and variance.
    ``progress`` is called with the images done.

    Raises:
        BadInput: no image can be read, or values on them are not finite.
    """
    import torch

    norms = identity_norms(plan)
    pixels = _Counted(images.plain(), progress)
    moments = _measure(state, config, norms, (convention.normalise(image) for image in pixels))
    if not pixels.count:
        raise BadInput(f"{images.what}: not one to calibrate on")
    calibrated = dict(state)
    for path, found in moments.items():
        bias = state[f"{path}.bias"].numpy()
        with np.errstate(over="ignore", invalid="ignore"):  # what comes of it is refused below
            parameters = neutral_norm(found.mean, found.variance, bias, config.bn_epsilon)
        for name, values in parameters.items():
            if not np.isfinite(values).all():
                raise BadInput(f"{path}: what it gets on {images.what} is beyond float32")
            calibrated[f"{path}.{name}"] = torch.from_numpy(values)
    what = f"{pixels.count} of {images.what}" if images.skipped else images.what
    done = Calibration(norms, pixels.count, what, pixels.sha256, tuple(images.skipped))
    return _noted(plan, done), calibrated, done


class _Counted:
    """Images on their way through, counted and hashed."""

    def __init__(
        self, images: Iterable[np.ndarray], progress: Callable[[int], None] | None
    ) -> None:
        self._images, self._progress = images, progress
        self._digest = hashlib.sha256()
        self.count = 0

    def __iter__(self) -> Iterator[np.ndarray]:
        for image in self._images:
            yield image
            # The generator goes on when the next image is asked for: this one is done.
            self._digest.update(np.ascontiguousarray(image).tobytes())
            self.count += 1
            if self._progress is not None:
                self._progress(self.count)

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()


def _measure(
    state: Mapping[str, torch.Tensor],
    config: NetworkConfig,
    norms: Iterable[str],
    inputs: Iterable[np.ndarray],
) -> dict[str, Moments]:
    """Mean and variance of what each batch norm gets, over inputs (H, W, C)."""
    import torch

    from genmobilenet.factory import build

    network = build(config, dict(state))
    moments = {path: Moments(len(state[f"{path}.bias"])) for path in norms}

    def take(found: Moments, module: torch.nn.Module, given: tuple[torch.Tensor, ...]) -> None:
        found.take(given[0].numpy())

    for path, found in moments.items():
        network.get_submodule(path).register_forward_pre_hook(partial(take, found))
    with torch.inference_mode():
        for image in inputs:
            # (H, W, C) -> (1, C, H, W)
            network(torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)[None])))
    return moments


def _noted(plan: Plan, done: Calibration) -> Plan:
    """The plan as it now is."""
    note = (
        f"{len(done.norms)} batch norms have the statistics of {done.images_are}; "
        "the function is that of the source"
    )
    notes = [note]
    if done.skipped:
        name, reason = done.skipped[0]
        others = f" and {len(done.skipped) - 1} more" if len(done.skipped) > 1 else ""
        notes.append(f"not among them, as it cannot be read: {name}{others} ({reason})")
    plan = calibrated_plan(plan, done.norms)
    return replace(plan, notes=(*plan.notes, *notes))
