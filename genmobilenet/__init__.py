"""Mobile networks in PyTorch, built from block strings.

Names are handed on lazily: describing a network costs no ``import torch``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from genmobilenet.arch import BlockSpec, parse_block
    from genmobilenet.config import NetworkConfig
    from genmobilenet.deployment import DeployedNet, deploy
    from genmobilenet.errors import ArchitectureError, CheckpointError, DeployError
    from genmobilenet.factory import create_model, load_weights
    from genmobilenet.network import GenMobileNet
    from genmobilenet.zoo import get_config, list_models

__version__ = "0.1.0"

_HOME = {
    "ArchitectureError": "genmobilenet.errors",
    "BlockSpec": "genmobilenet.arch",
    "CheckpointError": "genmobilenet.errors",
    "DeployError": "genmobilenet.errors",
    "DeployedNet": "genmobilenet.deployment",
    "GenMobileNet": "genmobilenet.network",
    "NetworkConfig": "genmobilenet.config",
    "create_model": "genmobilenet.factory",
    "deploy": "genmobilenet.deployment",
    "get_config": "genmobilenet.zoo",
    "list_models": "genmobilenet.zoo",
    "load_weights": "genmobilenet.factory",
    "parse_block": "genmobilenet.arch",
}

__all__ = [
    "ArchitectureError",
    "BlockSpec",
    "CheckpointError",
    "DeployError",
    "DeployedNet",
    "GenMobileNet",
    "NetworkConfig",
    "create_model",
    "deploy",
    "get_config",
    "list_models",
    "load_weights",
    "parse_block",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
