"""Naming schemes, one file each, and how a plan is made by one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from porting.errors import MappingError, WeightSetError
from porting.graph.layers import NetworkLayers
from porting.mapping.layouts import CONV_TF, DEPTHWISE_TF
from porting.mapping.plan import Fill, LeftOut, Plan
from porting.mapping.rules.efficientnet import EFFICIENTNET
from porting.mapping.rules.keras import KERAS
from porting.mapping.rules.mnasnet import MNASNET
from porting.mapping.rules.ruleset import RuleSet
from porting.mapping.rules.slim import SLIM_V1, SLIM_V2_V3
from porting.sources.checkpoint.weight_sets import EMA_SUFFIX, is_statistic
from porting.sources.source import Source

RULES: tuple[RuleSet, ...] = (MNASNET, EFFICIENTNET, SLIM_V1, SLIM_V2_V3, *KERAS)

Variables = dict[tuple[str, str], dict[int, list[tuple[str, str]]]]
"""Scope and kind of layer -> counter -> (name in the source, variable)."""


def is_named_by_keras(plan: Plan) -> bool:
    """Whether a plan was made from the names that Keras gives to layers and variables."""
    return plan.naming in {rules.name for rules in KERAS}


def rules_for(source: Source) -> RuleSet:
    """The naming scheme that knows the most of the source's names, with their variables.

    Raises:
        MappingError: no scheme knows any of them.
    """
    names = [name for name in source.tensors if source.not_a_weight(name) is None]

    def known(rules: RuleSet) -> int:
        plain = (name.removesuffix(EMA_SUFFIX) for name in names)
        matches = filter(None, map(rules.compiled.fullmatch, plain))
        return sum(
            (match["layer"] or "", match["variable"]) in rules.variables for match in matches
        )

    best = max(RULES, key=known)
    if not known(best):
        some = ", ".join(names[:3]) or "none at all"
        raise MappingError(
            f"{source.path}: no naming scheme knows these variables ({some}, ...); "
            f"known schemes: {', '.join(rules.name for rules in RULES)}"
        )
    return best


def choose_weight_set(source: Source, name: str | None) -> str:
    """``ema`` where it exists, unless ``name`` asks for another.

    Raises:
        WeightSetError: the set that is asked for is not in the source.
    """
    name = name or source.weight_sets[0]
    if name not in source.weight_sets:
        raise WeightSetError(
            f"{source.path}: has no {name} weights to choose; its weights: "
            f"{', '.join(source.weight_sets)}"
        )
    return name


class NamedVariables:
    """A weight set of a source without a graph, read by its naming scheme once for all networks.

    ``rules`` is the scheme, ``weight_count`` how many weights the set has: each must fill one key,
    which rules most networks out at a glance.

    Raises:
        MappingError: no naming scheme knows the names.
        WeightSetError: trainable variables have no average where averages are asked for.
    """

    def __init__(self, source: Source, weight_set: str) -> None:
        self.rules = rules_for(source)
        self._weight_set = weight_set
        reasons = {name: source.not_a_weight(name) for name in source.tensors}
        left_out = [LeftOut(name, reason) for name, reason in reasons.items() if reason]
        weights = [name for name, reason in reasons.items() if reason is None]
        variables, other_set, notes = _split_sets(weights, weight_set, source)
        self._left_out, self._notes = (*left_out, *other_set), notes + source.notes
        self._groups: Variables = defaultdict(lambda: defaultdict(list))
        self.weight_count = 0
        for plain, name in variables.items():
            match = self.rules.compiled.fullmatch(plain)
            if match:
                parts = match.groupdict()
                counter = int(parts.get("counter") or 0)
                place = parts["scope"], parts["layer"] or ""
                self._groups[place][counter].append((name, parts["variable"]))
                self.weight_count += 1

    def plan(self, model: str, layers: NetworkLayers, first_row: int = 0) -> Plan:
        """Plan a port from the names; :func:`check_total` says whether it is whole."""
        fills = [*_fills(self.rules, self._groups, layers, first_row)]
        fills += [
            Fill(key, constant="zeros") for key in layers.shapes() if key.endswith("_tracked")
        ]
        return Plan(
            model, self.rules.name, self._weight_set, tuple(fills), self._left_out, self._notes
        )


def _split_sets(
    names: Iterable[str], weight_set: str, source: Source
) -> tuple[dict[str, str], list[LeftOut], tuple[str, ...]]:
    """Plain variable name -> name to read; the tensors of the other set; and notes."""
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
    variables = averages | {name: name for name in bare}
    reason = "raw weight; its moving average is taken"
    raw = [LeftOut(name, reason) for name in plain if name in averages]
    if not bare:
        return variables, raw, ()
    have, are = ("statistic has", "is") if len(bare) == 1 else ("statistics have", "are")
    note = f"{len(bare)} batch-norm {have} no moving average and {are} taken raw: {_some(bare, 3)}"
    return variables, raw, (note,)


def _some(names: list[str], count: int) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(names[:count]) + more


def _fills(
    rules: RuleSet, groups: Variables, layers: NetworkLayers, first_row: int
) -> Iterator[Fill]:
    scaled_paths = layers.gated if rules.gate_factor != 1 else ()
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
                    rows = first_row if path == "classifier" else 0
                    factor = (
                        rules.gate_factor if path in scaled_paths and suffix == "weight" else 1.0
                    )
                    yield Fill(f"{path}.{suffix}", name, layout, first_row=rows, factor=factor)
