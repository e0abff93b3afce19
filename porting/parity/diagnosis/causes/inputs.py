"""What the port does to its input before the first layer."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from porting.graph.tap_names import INPUT_OF
from porting.mapping.match import ENTRY
from porting.parity.diagnosis import changes
from porting.parity.diagnosis.cause import Family, Hypothesis
from porting.parity.diagnosis.evidence import Piece, channel_fit


def hypotheses(piece: Piece) -> Iterator[Hypothesis]:
    """Proposes that the first layer gets what the judge's gets."""
    flow, around = piece.flow, piece.around
    if flow is None or flow.entry != ENTRY:
        return
    path = flow.weight.removesuffix(".weight")
    place = path + INPUT_OF
    if path not in dict(around.network.named_modules()):
        return
    # In a grey image the channels are one; the image that shows most decides.
    pairs = []
    for probe in around.runner.choosing:
        values = around.runner.values(around.network, probe, taps=(place,)).get(place)
        if values is not None and values.shape == probe.data.shape and values.ndim == 4:
            pairs.append((float((values - probe.data).abs().max()), values, probe.data))
    if not pairs:
        return
    distance, own, expected = max(pairs, key=lambda pair: pair[0])
    if not distance > 0:
        return
    if own.shape[1] == 3 and torch.allclose(own.flip(1), expected, atol=1e-6):
        yield Hypothesis(
            "RGB for BGR", "red and blue exchanged", place,
            changes.convolution(flow.weight, inputs=lambda x: x.flip(1)),
            f"{path} is fed red and blue exchanged",
            f"leave out what reverses the channels before {path}",
        )  # fmt: skip
    fit = channel_fit(expected, own)
    if len(fit.slope) and fit.affine and (abs(fit.slope) > 1e-12).all():
        slope, offset = (
            torch.from_numpy(v.astype("float64"))[None, :, None, None]
            for v in (fit.slope, fit.offset)
        )

        def undone(x: Tensor) -> Tensor:
            return ((x.double() - offset) / slope).to(x.dtype)

        scale, shift = (
            " or ".join(dict.fromkeys(f"{value:.6g}" for value in np.round(values, 6) + 0.0))
            for values in (fit.slope, fit.offset)
        )
        yield Hypothesis(
            "input normalisation", f"{scale} * x + {shift} before the first layer", place,
            changes.convolution(flow.weight, inputs=undone),
            f"{path} is fed {scale} times the normalised input plus {shift}",
            f"normalise once: leave out what the module does to its input before {path}",
        )  # fmt: skip


INPUTS = Family(
    {
        "RGB for BGR": "Networks of Google take red, green, blue; OpenCV reads blue, green, red.",
        "input normalisation": "The input convention turns pixels into what the first layer takes. "
        "A module that normalises by itself must be fed pixels, and one that does not must not.",
    },
    hypotheses,
)
