"""The dense reading: the pieces of both sides fed the same random values.

On images a channel may stay at 0 throughout, and the weights that it feeds are then not compared;
an activation may never reach the values where it bends. Random values that leave no channel at 0
and reach far enough show both, for any images.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from porting.errors import NoPieces
from porting.graph.tap_names import INPUT_OF
from porting.judges.judge import INPUT
from porting.parity.pairing import JudgeRuns, TapPairing

AMPLITUDES = (1.0, 8.0)
"""In standard deviations of each tap on an image: as images have them, and far out."""

_POOL = (1 << 20) + 7
"""Values that differ. A prime that divides no axis of a network, so that no channels are alike."""


@dataclass(frozen=True, eq=False)
class DenseRun:
    """Both sides on one draw of random values.

    ``judge_taps`` are the judge's values by its own taps, ``judge_inputs`` the random values that
    its pieces were fed. ``judge`` and ``port`` are the values to compare, by the port's taps;
    ``data`` and ``substitutes`` are what the port was fed at its input and at its taps.
    """

    judge_taps: Mapping[str, np.ndarray]
    judge_inputs: Mapping[str, np.ndarray]
    judge: Mapping[str, Tensor]
    port: Mapping[str, Tensor]
    data: Tensor
    substitutes: Mapping[str, Tensor]


def dense_runs(
    pairing: TapPairing, image: JudgeRuns, shapes: Mapping[str, tuple[int, ...]]
) -> Iterator[DenseRun]:
    """Run both sides on random values, once for each of :data:`AMPLITUDES`.

    The values have the size that the judge's have on ``image``; ``shapes`` are those of the port's
    taps. A tap that the judge cannot be fed is computed on both sides; nothing is run where the
    judge cannot run its pieces at all.
    """
    judge, normalises = pairing.judge_set.judges[0], pairing.match.normalises
    names = {INPUT: INPUT, **judge.taps}
    # What flows into one part of a module may flow elsewhere too, where nothing replaces it; of
    # what the source computes twice, one tensor would be replaced.
    taps = [
        tap
        for tap, port_tap in pairing.taps.items()
        if INPUT_OF not in port_tap and tap not in pairing.match.computed_twice
    ]
    taps += [] if normalises else [INPUT]
    # By the judge's names: one tensor of it may stand behind two taps.
    values_on_image = {names[tap]: image.taps.get(tap, image.inputs) for tap in taps}
    generator = DenseValues(max(values.size for values in values_on_image.values()))
    for amplitude in AMPLITUDES:
        draws = {name: generator.like(v, amplitude) for name, v in values_on_image.items()}
        run = None
        while run is None:
            judge_inputs = {tap: draws[names[tap]] for tap in taps}
            entry = image.inputs if INPUT in image.taps or normalises else judge_inputs[INPUT]
            try:
                run = judge.run_pieces(entry, judge_inputs, {*pairing.taps, *judge_inputs})
            except NoPieces as error:
                if not error.taps:
                    return
                taps = [tap for tap in taps if tap not in error.taps]
        data = pairing.port_input(entry, image.pixels, judge_inputs)
        substitutes = pairing.as_port(judge_inputs, shapes)
        yield DenseRun(
            run.taps, judge_inputs, pairing.as_port(run.taps, shapes),
            pairing.runner.run(data, substitutes), data, substitutes,
        )  # fmt: skip


class DenseValues:
    """Normally distributed values for one tap after another; seeded, the same each time.

    ``most`` is the largest number of values that a tap has.
    """

    def __init__(self, most: int) -> None:
        self._generator = np.random.default_rng(0)
        pool = self._generator.standard_normal(_POOL, np.float32)
        self._values = np.resize(pool, _POOL + most)

    def like(self, values: np.ndarray, amplitude: float) -> np.ndarray:
        """Values of another array's shape, with ``amplitude`` times its standard deviation.

        An array of equal values counts as of deviation 1.
        """
        deviation = amplitude * (float(values.std()) or 1.0)
        start = int(self._generator.integers(_POOL))
        dense = self._values[start : start + values.size].reshape(values.shape)
        return np.asarray(dense * np.float32(deviation))
