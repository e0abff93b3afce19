"""How near two classes must be for rounding to decide between them: measured, not chosen.

The network is run in float32 and float64 on the images in question, which gives the noise
of its logits (:mod:`porting.parity.noise`). A judge that computes the same function is
within :data:`~porting.parity.noise.FACTOR` times that of the port, in either class; so
where both computed the same, a first answer that changes had a margin of at most twice that.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from porting.accuracy.evaluation.batch import Evaluator, Work
from porting.accuracy.evaluation.predictors import Files, network_of, normalised
from porting.errors import BadInput
from porting.parity.noise import FACTOR

MEASURED = 8
"""Images on which the noise is measured: it is much the same on all."""


def tie_on(work: Work, numbers: Sequence[int]) -> float | None:
    """The margin in logits up to which rounding may decide, on the first of the images given.

    None for a module of somebody's own that does not run in both precisions.

    Raises:
        BadExample: one of the images can no longer be read.
    """
    import torch

    from genmobilenet.network import GenMobileNet
    from porting.parity.likeness import check_runs
    from porting.parity.taps import OUTPUT, PortRunner

    port = next(side for side in work.sides if side.on_device)
    images = Evaluator(work).images(numbers[:MEASURED], port)
    given = torch.from_numpy(normalised(images, port)).permute(0, 3, 1, 2).contiguous()
    network = network_of(Files(work.inputs), port)
    if not isinstance(network, GenMobileNet):
        try:
            check_runs(network, given)
        except BadInput:
            return None
    runner = PortRunner(network, [OUTPUT], logits=None)
    noise = runner.accumulated(given, thorough=True).noise[OUTPUT]
    return 2 * FACTOR * float(np.max(noise))
