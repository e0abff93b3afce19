"""Convolutions that pad otherwise than the source's."""

from __future__ import annotations

from collections.abc import Iterator

from porting.parity.diagnosis import changes
from porting.parity.diagnosis.cause import Family, Hypothesis
from porting.parity.diagnosis.evidence import Piece

TIMM_REMEDY = "timm: pass pad_type='same', bn_eps=1e-3 to create_model"
"""What the networks with ``tf_`` before their names in timm do by themselves."""

_RULES: dict[str, changes.Pad] = {
    "SAME": changes.same,
    "symmetric padding": changes.symmetric,
    "no padding": changes.unpadded,
}
"""How sources pad, by name."""

_WRONG: dict[str, changes.Pad] = {
    "symmetric padding for SAME": changes.symmetric,
    # Where SAME's amount is odd, this is its odd element on the other side.
    "padding one place too far in front": changes.shifted,
}

_EXPLANATION = (
    "TensorFlow's SAME at stride 2 pads an even side by less in front than behind; PyTorch's "
    "padding=(k - 1) // 2 pads both alike. At stride 1 the two are one. genmobilenet's tf_ "
    "networks, and timm's with pad_type='same', pad as TensorFlow does."
)


def hypotheses(piece: Piece) -> Iterator[Hypothesis]:
    """Proposes each way to pad for a convolution of more than one place."""
    flow = piece.flow
    if flow is None or "weight" not in piece.step.parts:
        return
    weight = piece.around.network.state_dict().get(flow.weight)
    if weight is None or weight.ndim != 4 or tuple(weight.shape[2:]) == (1, 1):
        return
    place = flow.weight.removesuffix(".weight")
    for rule, pad in _RULES.items():
        wrong = _WRONG if rule == "SAME" else {"SAME for symmetric padding": changes.same}
        variants = {
            variant: changes.convolution(flow.weight, pad=other) for variant, other in wrong.items()
        }
        variants["no padding"] = changes.convolution(flow.weight, pad=changes.unpadded)
        remedy = _remedy(piece, place, rule)
        yield Hypothesis(
            "padding", f"other than the source's {rule}", place,
            changes.convolution(flow.weight, pad=pad),
            f"{place} does not pad as the source does, which is {rule}", remedy,
            emulations=variants,
        )  # fmt: skip


def _remedy(piece: Piece, place: str, rule: str) -> str:
    if rule == "SAME" and piece.around.has_parts_of_timm:
        return TIMM_REMEDY
    if rule == "SAME":
        return (
            f"{place}: genmobilenet.layers.Conv2dSame, which pads as TensorFlow does, in place of "
            "nn.Conv2d(padding=...)"
        )
    return f"{place}: nn.Conv2d with padding=(kernel_size - 1) // 2"


PADDING = Family({"padding": _EXPLANATION}, hypotheses)
