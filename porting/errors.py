"""Every error that this package raises on purpose, in one tree.

A message names the thing, its file, the actual and the expected value, and what to do where
there is a remedy. An outer layer that knows more adds to an error with ``raise ... from``.
"""

from __future__ import annotations


class PortingError(Exception):
    """Base of the tree: catching it catches everything raised on purpose."""


class BadInput(PortingError):
    """An input cannot be used: the command line exits with 2."""


class BadSource(BadInput):
    """A source file is damaged, cut short or not of the format it claims."""


class UnsupportedSource(BadInput):
    """A source is valid, but holds something that this package cannot read."""


class WeightSetError(BadInput):
    """The source does not hold the requested weight set."""


class MappingError(BadInput):
    """Source and network do not fit: names, shapes or operators differ."""


class UnsupportedNetwork(MappingError):
    """No TensorFlow source of a network is known, so nothing can be mapped onto it."""


class AmbiguousModel(MappingError):
    """More than one network fits the source; the message lists them."""


class BadExample(BadInput):
    """An image of a data set cannot be read; the others may be readable."""


class OutputError(BadInput):
    """A result cannot be written to its path."""


class MissingPackage(BadInput):
    """A package that the work needs is not installed."""


class MissingJudge(MissingPackage):
    """The package that runs a judge is not installed."""


class NoPieces(BadInput):
    """A judge cannot run its network piece by piece, on values fed in between.

    ``taps`` are those at which it cannot be fed, where it may run without them.
    """

    def __init__(self, message: str, taps: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.taps = taps


class WorkerDied(PortingError):
    """A worker process was killed, for example because memory ran out."""


class RankEnded(PortingError):
    """Another rank of a distributed run has ended, and so does this one."""


class NotAtParity(PortingError):
    """The judge disagrees with the port: the command line exits with 1."""
