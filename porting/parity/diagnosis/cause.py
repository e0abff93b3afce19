"""What a diagnosis is made of: causes, the changes that would mend a port, and what they prove.

A :class:`Family` of causes is a row of a table: names with explanations, and a function that looks
at the :class:`~porting.parity.diagnosis.evidence.Piece` of a port that disagrees and proposes
changes. A change is a counterfactual: it is carried out on a copy of the port, and the cause is
named only if the piece then agrees with the judge, on inputs that were not used to choose it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

    from porting.parity.compare import Comparison
    from porting.parity.diagnosis.evidence import Piece

Change = Callable[["nn.Module"], None]
"""Changes a copy of the port in place. The paths of its parts stay the same."""


@dataclass(frozen=True)
class Difference:
    """How far a tap of the port lies from the judge's, over the judge's largest value.

    ``before`` and ``after`` are with the fault and with the change, on the held-out inputs;
    ``limit`` is what float32 rounding accounts for. ``tap`` is the port's.
    """

    tap: str
    before: float
    after: float
    limit: float


@dataclass(frozen=True, eq=False)
class Hypothesis:
    """A change of the port at one place that mends it if ``cause`` is what is wrong there.

    ``variant`` says in which way, ``place`` is a module path or a state-dict key. ``sentence``
    tells a reader what is wrong at the place, ``keys`` are the state-dict keys that the change
    fills; without any the remedy is in the port's code. ``emulations`` are changes, by variant,
    that would break a mended port in the ways in which this cause may have come about: those that
    give what the port gives name the variant, several together where they are one function on
    these inputs.
    """

    cause: str
    variant: str
    place: str
    change: Change
    sentence: str
    remedy: str
    keys: tuple[str, ...] = ()
    emulations: Mapping[str, Change] = field(default_factory=dict)


@dataclass(frozen=True)
class Family:
    """Causes of one sort: a row of :data:`~porting.parity.diagnosis.causes.FAMILIES`.

    ``explanations`` says by the name of each cause how the mistake comes about. ``hypotheses``
    proposes changes for a piece that disagrees, none where the evidence speaks against these
    causes.
    """

    explanations: Mapping[str, str]
    hypotheses: Callable[[Piece], Iterable[Hypothesis]]


@dataclass(frozen=True)
class NamedCause:
    """A cause that was proved: the change brings every place of it to what rounding accounts for.

    ``variants`` are several where they are one function on the inputs. ``places`` are the module
    paths or state-dict keys concerned, ``of`` how many of their sort the port has.
    """

    cause: str
    variants: tuple[str, ...]
    sentence: str
    explanation: str
    remedy: str
    places: tuple[str, ...]
    of: int
    differences: tuple[Difference, ...]
    keys: tuple[str, ...]

    @property
    def everywhere(self) -> bool:
        """Whether every place of its sort in the port has it."""
        return len(self.places) > 1 and len(self.places) == self.of

    @property
    def largest(self) -> Difference:
        """The difference of the place where the fault is largest."""
        assert self.differences  # every cause is proved at a tap at least
        return max(self.differences, key=lambda difference: difference.before)


@dataclass(frozen=True)
class Trial:
    """A change that was tried and did not mend the piece."""

    cause: str
    variant: str
    place: str
    difference: Difference


@dataclass(frozen=True)
class Unexplained:
    """A piece for whose error no cause is proved, and what was tried.

    ``remarks`` say what the error looks like, as far as that was measured.
    """

    tap: str
    judge_name: str
    before: float
    limit: float
    trials: tuple[Trial, ...]
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """What is wrong with a port.

    ``before`` is the comparison of the port as it is, None where its values have other shapes than
    the judge's; ``after`` that of a copy with all named causes mended, which is ``mended``; both
    are None where no cause is named. ``notes`` say what differs without an effect.
    """

    before: Comparison | None
    causes: tuple[NamedCause, ...] = ()
    unexplained: tuple[Unexplained, ...] = ()
    after: Comparison | None = None
    mended: nn.Module | None = None
    notes: tuple[str, ...] = ()
    held_out: int = 0
    seconds: float = 0.0

    @property
    def at_parity(self) -> bool:
        """Whether there is nothing to diagnose."""
        return self.before is not None and bool(self.before)

    @property
    def complete(self) -> bool:
        """Whether the causes named account for all of the disagreement."""
        return self.at_parity or (self.after is not None and bool(self.after))

    def summary(self) -> str:
        """The diagnosis in a sentence."""
        if self.at_parity:
            return "at parity: there is nothing to diagnose"
        if not self.causes:
            first = self.unexplained[0].tap if self.unexplained else "no tap"
            return f"no cause is proved; the first piece that disagrees is {first}"
        names = "; ".join(f"{cause.cause} ({cause.sentence})" for cause in self.causes)
        rest = "" if self.complete else "; that does not account for all of the disagreement"
        return f"{names}{rest}"

    def to_json(self) -> dict[str, Any]:
        """Plain data for reports, without the comparisons."""
        return {
            "at_parity": self.at_parity,
            "complete": self.complete,
            "summary": self.summary(),
            "causes": [asdict(cause) for cause in self.causes],
            "unexplained": [asdict(piece) for piece in self.unexplained],
            "notes": list(self.notes),
            "held_out": self.held_out,
            "seconds": self.seconds,
        }
