"""All causes that are known, a family a row: a new one is a file beside this one, and a row."""

from porting.parity.diagnosis.cause import Family
from porting.parity.diagnosis.causes import precision
from porting.parity.diagnosis.causes.activations import ACTIVATIONS
from porting.parity.diagnosis.causes.inputs import INPUTS
from porting.parity.diagnosis.causes.padding import PADDING
from porting.parity.diagnosis.causes.weights import WEIGHTS
from porting.parity.diagnosis.causes.wiring import WIRING

FAMILIES: tuple[Family, ...] = (
    WEIGHTS, INPUTS, PADDING, WIRING, ACTIVATIONS, precision.STATISTICS,
)  # fmt: skip
"""Causes of a piece, in the order in which they are tried."""

EXPLANATIONS = {
    **precision.EXPLANATIONS,
    **{name: text for family in FAMILIES for name, text in family.explanations.items()},
}
"""How each cause comes about, by its name."""
