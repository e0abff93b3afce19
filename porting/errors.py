"""Every error that this package raises on purpose, in one tree.

A message names the thing, the file it is in, what was found and what was
expected, and, where there is one, the way out. The inner layer raises; an
outer layer that knows more adds to it with ``raise ... from``.
"""

from __future__ import annotations


class PortingError(Exception):
    """Base of the tree: catching it catches everything raised on purpose."""


class BadInput(PortingError):
    """Something handed in cannot be used: the command line exits with 2."""


class BadSource(BadInput):
    """A source file is damaged, cut short or not of the format it claims."""


class UnsupportedSource(BadInput):
    """A source is valid, but holds something that this package cannot read."""


class WeightSetError(BadInput):
    """The source does not hold the weight set that was asked for."""


class MappingError(BadInput):
    """Source and network do not fit: names, shapes or operators differ."""


class UnsupportedNetwork(MappingError):
    """No TensorFlow source of a network is known, so nothing can be mapped onto it."""


class AmbiguousModel(MappingError):
    """More than one network fits the source; the message lists them."""


class BadExample(BadInput):
    """One image of a data set cannot be had; the others may be sound."""


class OutputError(BadInput):
    """A result cannot be written where it was asked for."""


class MissingPackage(BadInput):
    """A package that the work needs is not installed."""


class MissingJudge(MissingPackage):
    """The package that runs a judge is not installed."""


class NoPieces(BadInput):
    """A judge cannot run its network piece by piece, on values fed between.

    ``taps`` are those that it cannot be fed, where it may run without them.
    """

    def __init__(self, message: str, taps: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.taps = taps


class WorkerDied(PortingError):
    """A process that did a part of the work was killed, as where memory runs out."""


class RankEnded(PortingError):
    """Another process of a run that several share has ended: so does this one."""


class NotAtParity(PortingError):
    """The judge disagrees with the port: the command line exits with 1."""
