"""The networks by name: one file a family, each a literal table."""

from genmobilenet.zoo.registry import ALIASES, NETWORKS, get_config, list_models, tensorflow_form

__all__ = ["ALIASES", "NETWORKS", "get_config", "list_models", "tensorflow_form"]
