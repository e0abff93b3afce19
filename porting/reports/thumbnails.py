"""Small pictures of images as the networks saw them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING

from porting.accuracy.preprocessing import parse_pipeline
from porting.errors import BadExample
from porting.parity.inputs import thumbnail
from porting.reports.html import SHOWN

if TYPE_CHECKING:
    from porting.accuracy.evaluation.running import Evaluation

SIDE = 160
"""Pixels."""


def thumbnails(evaluation: Evaluation, numbers: Sequence[int]) -> Iterator[tuple[int, str | None]]:
    """Images' numbers, each with its picture: of the first, as data URIs; of the others None.

    They are the first side's pixels before what normalises, read from the data set once more.
    One that cannot be read any more has none.
    """
    pipeline = parse_pipeline(evaluation.sides[0].pipeline)

    def seen(number: int) -> str | None:
        try:
            return thumbnail(pipeline(evaluation.dataset.read(number)), SIDE)
        except BadExample:
            return None

    yield from zip_longest(numbers, map(seen, numbers[:SHOWN]))
