"""The errors of this package, in one tree."""

from __future__ import annotations


class GenMobileNetError(Exception):
    """Base of the tree."""


class ArchitectureError(GenMobileNetError, ValueError):
    """A block string or a network configuration that describes no network."""


class UnknownModel(ArchitectureError):
    """No network has that name; the message lists the nearest that exist."""


class CheckpointError(GenMobileNetError, RuntimeError):
    """A weight file cannot be read, or does not fit the network."""


class DeployError(GenMobileNetError, ValueError):
    """A network that has no deploy form, or a deployed one asked for what it cannot do."""
