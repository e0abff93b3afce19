"""What is wrong with a forward as a whole: randomness, half precision, batch statistics, output."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from porting.mapping.match import LayerFlow
from porting.parity.diagnosis import changes
from porting.parity.diagnosis.cause import Change, Family, Hypothesis
from porting.parity.diagnosis.evidence import Piece


def batch_statistics(piece: Piece) -> Iterator[Hypothesis]:
    """Proposes running statistics for a piece's batch norm."""
    norm = None if piece.flow is None else piece.flow.norm
    if norm is None or norm.weight is None or "norm" not in piece.step.parts:
        return
    path = norm.variance.rpartition(".")[0]
    yield Hypothesis(
        "batch norm in training mode", "statistics of the batch", path,
        changes.with_running_statistics({norm.weight: (norm.mean, norm.variance)}),
        f"{path} computes the statistics of the batch in evaluation mode", _EVALUATION,
    )  # fmt: skip


_IN_FORWARD: dict[str, tuple[str, Change, str, str]] = {
    "autocast": (
        "autocast inside forward", changes.without_autocast,
        "switches autocast on, and so computes in half precision",
        "leave torch.autocast out of forward, or disable it for inference",
    ),
    "dropout active": (
        "dropout in evaluation mode", changes.without_dropout,
        "drops values in evaluation mode too",
        "F.dropout(x, p, training=self.training), or nn.Dropout and model.eval()",
    ),
    "random noise": (
        "random numbers in evaluation mode", changes.without_noise,
        "draws random numbers in evaluation mode",
        "draw random numbers only where self.training is set",
    ),
    "values rounded": (
        "values cast to half precision", changes.without_casts,
        "casts values to float16 or bfloat16",
        "leave the casts out, or compare the network in float32",
    ),
}  # fmt: skip
"""Cause -> its variant, the change, what the forward does, and the remedy."""


def hypotheses(flows: Iterable[LayerFlow]) -> Iterator[Hypothesis]:
    """Proposes to switch off, in the whole network, what computes otherwise in training."""
    place = "the network's forward"
    for cause, (variant, change, what, remedy) in _IN_FORWARD.items():
        yield Hypothesis(cause, variant, place, change, f"its forward {what}", remedy)
    norms = {
        norm.weight: (norm.mean, norm.variance)
        for flow in flows
        if (norm := flow.norm) is not None and norm.weight is not None
    }
    yield Hypothesis(
        "batch norm in training mode", "statistics of the batch", place,
        changes.with_running_statistics(norms),
        "its batch norms compute the statistics of the batch in evaluation mode", _EVALUATION,
    )  # fmt: skip


_EVALUATION = "F.batch_norm(..., training=self.training), or nn.BatchNorm2d and model.eval()"

EXPLANATIONS = {
    "softmax for logits": "TensorFlow's files often end in a softmax, which PyTorch's losses "
    "take in: networks here, and timm's, end at the logits.",
    "log-softmax for logits": "A loss of PyTorch takes log-probabilities; the network ends at the "
    "logits.",
    "sigmoid for logits": "The network ends at the logits.",
    "class offset": "Class 0 of 1001 is the background in networks of slim.",
    "another output than the logits": "A hook or a forward of its own changes what the classifier "
    "gives.",
    "autocast": "A forward under autocast gives values of half precision, whatever the weights "
    "are.",
    "dropout active": "F.dropout is active unless its argument training says otherwise.",
    "random noise": "What is drawn anew for each run cannot be compared with anything.",
    "values rounded": "A cast inside the network rounds every value to 11 bits or 8.",
}

STATISTICS = Family(
    {
        "batch norm in training mode": "In training mode a batch norm divides by the deviation of "
        "the batch, and what it makes of an image depends on the others.",
    },
    batch_statistics,
)
