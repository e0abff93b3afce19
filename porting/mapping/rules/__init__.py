"""Naming schemes: one file a scheme, each a table from variable names to layers."""

from porting.mapping.rules.registry import (
    RULES,
    choose_weight_set,
    is_named_by_keras,
    plan_by_rules,
    weight_count,
)

__all__ = ["RULES", "choose_weight_set", "is_named_by_keras", "plan_by_rules", "weight_count"]
