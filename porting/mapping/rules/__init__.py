"""Naming schemes, one file each, and how a plan is made by one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from porting.errors import MappingError, WeightSetError
from porting.graph.layers import NetworkLayers
from porting.mapping.layouts import CONV_TF, DEPTHWISE_TF
from porting.mapping.plan import Fill, LeftOut, Plan
from porting.mapping.rules.keras import KERAS
from porting.mapping.rules.mnasnet import MNASNET
from porting.mapping.rules.ruleset import RuleSet
from porting.mapping.rules.slim import SLIM_V1, SLIM_V2_V3
from porting.sources.checkpoint.weight_sets import EMA_SUFFIX, is_statistic
from porting.sources.source import Source

RULES: tuple[RuleSet, ...] = (MNASNET, SLIM_V1, SLIM_V2_V3, *KERAS)

Variables = dict[tuple[str, str], dict[int, list[tuple[str, str]]]]
"""Scope and kind of layer -> counter -> (name in the source, variable)."""


def is_named_by_keras(plan: Plan) -> bool:
    """Whether a plan was made from the names that Keras gives to layers and variables."""
    return plan.naming in {rules.name for rules in KERAS}


def rules_for(source: Source) -> RuleSet:
    """The naming scheme that knows the most of the source's names.

    Raises:
        MappingError: no scheme knows any of them.
    """
    names = [name for name in source.tensors if source.not_a_weight(name) is None]

    def known(rules: RuleSet) -> int:
        plain = (name.removesuffix(EMA_SUFFIX) for name in names)
        return sum(bool(rules.compiled.fullmatch(name)) for name in plain)

    best = max(RULES, key=known)
    if not known(best):
        some = ", ".join(names[:3]) or "none at all"
        raise MappingError(
            f"{source.path}: no naming scheme knows these variables ({some}, ...); "
            f"known schemes: {', '.join(rules.name for rules in RULES)}"
        )
    return best


def choose_weight_set(source: Source, wanted: str | None) -> str:
    """``ema`` where it exists, unless ``wanted`` says otherwise.

    Raises:
        WeightSetError: the wanted set is not in the source.
    """
    chosen = wanted or source.weight_sets[0]
    if chosen not in source.weight_sets:
        raise WeightSetError(
            f"{source.path}: has no {chosen} weights to choose; its weights: "
            f"{', '.join(source.weight_sets)}"
        )
    return chosen


def weight_count(source: Source, weight_set: str) -> int | None:
    """How many weights of a set a source without a graph has; None where that is not known.

    It rules most networks out at a glance: each weight must fill one key.
    """
    if source.graph is not None:
        return None
    try:
        named = _named(source, weight_set)
    except MappingError:
        return None
    counters = (counter.values() for counter in named.groups.values())
    return sum(len(names) for found in counters for names in found)


def plan_by_rules(
    source: Source, model: str, layers: NetworkLayers, weight_set: str, first_row: int = 0
) -> Plan:
    """Plan a port from variable names; :func:`check_total` says whether it is whole.

    Raises:
        MappingError: no naming scheme knows the names.
        WeightSetError: trainable variables have no average where averages are asked for.
    """
    named = _named(source, weight_set)
    fills = [*_fills(named.rules, named.groups, layers, first_row)]
    fills += [Fill(key, constant="zeros") for key in layers.shapes() if key.endswith("_tracked")]
    return Plan(model, named.rules.name, weight_set, tuple(fills), named.left_out, named.notes)


@dataclass(frozen=True)
class _Named:
    """A weight set of a source as its naming scheme reads it: the same for every network tried."""

    rules: RuleSet
    groups: Variables
    left_out: tuple[LeftOut, ...]
    notes: tuple[str, ...]


_read: WeakKeyDictionary[Source, dict[str, _Named]] = WeakKeyDictionary()


def _named(source: Source, weight_set: str) -> _Named:
    read = _read.setdefault(source, {})
    if weight_set not in read:
        rules = rules_for(source)
        reasons = {name: source.not_a_weight(name) for name in source.tensors}
        left_out = [LeftOut(name, reason) for name, reason in reasons.items() if reason]
        weights = [name for name, reason in reasons.items() if reason is None]
        chosen, unused, notes = _split_sets(weights, weight_set, source)
        groups = _grouped(rules, chosen)
        notes += source.notes
        read[weight_set] = _Named(rules, groups, (*left_out, *unused), notes)
    return read[weight_set]


def _split_sets(
    names: Iterable[str], weight_set: str, source: Source
) -> tuple[dict[str, str], list[LeftOut], tuple[str, ...]]:
    """Plain variable name -> name to read, what the other set leaves over, and notes on it."""
    plain = [name for name in names if not name.endswith(EMA_SUFFIX)]
    averages = {n.removesuffix(EMA_SUFFIX): n for n in names if n.endswith(EMA_SUFFIX)}
    if weight_set != "ema":
        reason = "moving average; the raw weights were asked for"
        return {n: n for n in plain}, [LeftOut(n, reason) for n in averages.values()], ()
    bare = [name for name in plain if name not in averages]
    trainable = [name for name in bare if not is_statistic(name)]
    if trainable:
        have = "variable has" if len(trainable) == 1 else "variables have"
        raise WeightSetError(
            f"{source.path}: {len(trainable)} trainable {have} no moving average: "
            f"{_some(trainable, 10)}; ask for the raw weights"
        )
    chosen = averages | {name: name for name in bare}
    reason = "raw weight; its moving average is taken"
    return chosen, [LeftOut(name, reason) for name in plain if name in averages], _noted(bare)


def _noted(bare: list[str]) -> tuple[str, ...]:
    if not bare:
        return ()
    have, are = ("statistic has", "is") if len(bare) == 1 else ("statistics have", "are")
    return (
        f"{len(bare)} batch-norm {have} no moving average and {are} taken raw: {_some(bare, 3)}",
    )


def _some(names: list[str], count: int) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(names[:count]) + more


def _grouped(rules: RuleSet, names: dict[str, str]) -> Variables:
    groups: Variables = defaultdict(lambda: defaultdict(list))
    for plain, name in names.items():
        match = rules.compiled.fullmatch(plain)
        if match:
            parts = match.groupdict()
            counter = int(parts.get("counter") or 0)
            place = parts["scope"], parts["layer"] or ""
            groups[place][counter].append((name, parts["variable"]))
    return groups


def _fills(
    rules: RuleSet, groups: Variables, layers: NetworkLayers, first_row: int
) -> Iterator[Fill]:
    gated = layers.gated if rules.gate_factor != 1 else ()
    depthwise = {layer.path for layer in layers if layer.kind == "depthwise"}
    for place, paths in rules.places(layers).items():
        # Sorted as numbers: as text, conv2d_10 would come before conv2d_9.
        counters = sorted(groups.get(place, {}))
        for path, counter in zip(paths, counters, strict=False):
            for name, variable in groups[place][counter]:
                rule = rules.variables.get((place[1], variable))
                if rule is not None:
                    suffix, layout = rule
                    if layout == CONV_TF and path in depthwise:
                        layout = DEPTHWISE_TF  # Keras 3 calls it a kernel as any other in places
                    rows = first_row if path == layers.classifier.path else 0
                    factor = rules.gate_factor if path in gated and suffix == "weight" else 1.0
                    yield Fill(f"{path}.{suffix}", name, layout, first_row=rows, factor=factor)
