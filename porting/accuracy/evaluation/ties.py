"""How near two classes must be for rounding to decide between them: measured, not chosen.

The network is run in float32 and float64 on the images in question, which gives the noise
of its logits (:mod:`porting.parity.noise`). A judge that computes the same function is
within :data:`~porting.parity.noise.FACTOR` times that of the port, in either class; so
where both computed the same, a first answer that changes had a margin of at most twice that.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import numpy as np

from porting.accuracy.evaluation.batch import Work
from porting.accuracy.evaluation.predictors import Files, network_of, normalised
from porting.accuracy.evaluation.side import Side
from porting.accuracy.preprocessing import parse_pipeline
from porting.errors import BadExample, BadInput
from porting.parity.noise import FACTOR

MEASURED = 8
"""Images on which the noise is measured: between images it differs by a factor of two or so."""


def tie_on(work: Work, numbers: Sequence[int]) -> float | None:
    """The margin in logits up to which rounding may decide, on the first of the images given.

    None where none of them can be read any more, and for a module of somebody's
    own that does not run in both precisions.
    """
    import torch

    from genmobilenet.network import GenMobileNet
    from porting.parity.port_runner import PortRunner
    from porting.parity.tap_matching import check_runs
    from porting.parity.tap_names import OUTPUT

    port = next(side for side in work.sides if side.on_device)
    images = _images(work, numbers[:MEASURED], port)
    if not images:
        return None
    given = torch.from_numpy(normalised(np.stack(images), port)).permute(0, 3, 1, 2).contiguous()
    network = network_of(Files(work.inputs), port)
    if not isinstance(network, GenMobileNet):
        try:
            check_runs(network, given)
        except BadInput:
            return None
    runner = PortRunner(network, [OUTPUT], logits=None)
    noise = runner.run_with_noise(given, thorough=True).noise[OUTPUT]
    return 2 * FACTOR * float(np.max(noise))


def _images(work: Work, numbers: Sequence[int], side: Side) -> list[np.ndarray]:
    """Pixels (size, size, 3) of those images that can still be read."""
    pipeline, found = parse_pipeline(side.pipeline), []
    for number in numbers:
        with suppress(BadExample):
            found.append(pipeline(work.dataset.read(number)))
    return found
