"""The weights of a network against those that the plan gives from its source.

The taps say whether a port computes what its source does, and where it does not;
the weights say why: which key differs, and what relates it to the source's. Equality
to the last bit is asked first, of one tensor at a time, and what relates two only of
those that differ.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import takewhile
from typing import TYPE_CHECKING, Any

import numpy as np

from porting.carry_out import PlannedValues, planned_values, planned_values_onto
from porting.errors import BadInput
from porting.graph.node import ModuleLayer, ModuleNorm
from porting.mapping.input_spec import InputConvention
from porting.mapping.match import Match
from porting.mapping.recognise import match_model
from porting.parity.relations import (
    RELATIONS,
    UNIT,
    Pair,
    Relation,
    bit_sum,
    bits_equal,
    relation_of,
)
from porting.sources import Source

if TYPE_CHECKING:
    from torch import nn

LINES = 5
"""Largest number of lines in which findings are listed."""

EPSILONS = (1e-3, 1e-5, 1e-4, 1e-6, 1e-2, 1e-7, 0.0)
"""Epsilons that frameworks and networks have by default, tried before one is worked out."""

_TRACKED = "num_batches_tracked"
"""PyTorch's count of batches: no source has it, and evaluation does not take it."""

_INSIDE_FOLDED = "taken in"
"""The relation of a batch norm's keys that are compared in the weight and bias they fold into."""

EQUAL = ("rounding", "folded", _INSIDE_FOLDED)
"""Relations of keys that are the source's all the same."""

_PLURALS = {name: relation.plural for name, relation in RELATIONS.items()} | {
    "folded": "equal once folded",
    "epsilon": "other than the source's",
    "another weight set": "those of another weight set",
    "another tensor": "other tensors of the source's",
    "exchanged": "exchanged",
}
"""Relations by name, in words for several keys of which each has words of its own."""

_AS_FOLDING_LEAVES_IT = ("ratio by channel", "elements", "near", "unrelated")
"""What relates a weight with its batch norm folded in to the same without."""

Values = Callable[[str], np.ndarray]
"""The values of a key, with PyTorch's axes."""


@dataclass(frozen=True)
class Farthest:
    """Where a key's two values differ most; ``place`` counts along PyTorch's axes, from 0."""

    place: tuple[int, ...]
    port: float
    source: float


@dataclass(frozen=True)
class WeightFinding:
    """A key that is not the source's to the last bit, and what relates the two.

    ``relation`` names it; ``text`` follows "is" or "are". ``source`` is the tensor that
    fills the key by the plan, or the constant. ``distance`` is the norm of the difference
    over the source's; it and ``farthest`` are None for an epsilon, which is no key of the
    state dict but ``eps`` of a module. ``other`` is the key whose values these are, where
    they are another's.
    """

    key: str
    relation: str
    text: str
    source: str | None = None
    distance: float | None = None
    farthest: Farthest | None = None
    other: str | None = None

    @property
    def agrees(self) -> bool:
        """Whether the values are the source's all the same."""
        return self.relation in EQUAL


@dataclass(frozen=True)
class WeightComparison:
    """Every weight of a network against the source's.

    ``keys`` counts those compared, ``findings`` has those that are not equal to the last
    bit, in the state dict's order. ``unpaired`` says why no key could be compared.
    """

    keys: int = 0
    findings: tuple[WeightFinding, ...] = ()
    unpaired: str | None = None

    @property
    def agrees(self) -> bool:
        """Whether all weights are the source's; False where they cannot be compared."""
        return self.unpaired is None and all(finding.agrees for finding in self.findings)

    @property
    def equal(self) -> int:
        """Keys that are equal to the last bit."""
        return self.keys - sum(finding.relation != "epsilon" for finding in self.findings)

    def headline(self) -> str:
        """How many weights are the source's."""
        if self.unpaired is not None:
            return f"cannot be compared: {self.unpaired}"
        if self.equal == self.keys:
            return f"all {self.keys} keys are the source's"
        return f"{self.equal} of {self.keys} keys are the source's to the last bit"

    def lines(self) -> tuple[str, ...]:
        """What differs, keys of one relation together, worst first."""
        groups = _group_findings(self.findings)
        visible = groups if len(groups) <= LINES else groups[: LINES - 1]
        lines = [_sentence(group, self.keys) for group in visible]
        if rest := sum(map(len, groups[len(visible) :])):
            lines.append(f"and {rest} keys in other ways")
        return tuple(lines)

    def summary(self, tap: str | None = None) -> str:
        """What to say of the weights in a clause of the verdict.

        Where several differ it names the one that lies nearest to ``tap``, the module path
        at which an error is born; without one the worst.
        """
        if self.unpaired is not None:
            return f"the weights cannot be compared: {self.unpaired}"
        if self.agrees:
            rest = f", {self.keys - self.equal} of them not to the last bit"
            return f"all {self.keys} weights are the source's" + (rest if self.findings else "")
        wrong = [finding for finding in self.findings if not finding.agrees]
        groups = _group_findings(wrong)
        group = groups[0]
        if tap is not None:
            nearest = max(wrong, key=lambda finding: _common_parts(finding.key, tap))
            group = next(members for members in groups if nearest in members)
            group = [nearest, *(finding for finding in group if finding is not nearest)]
        others = len(wrong) - len(group)
        more = f", and {others} more differ" if others else ""
        return _sentence(group, self.keys) + more

    def to_json(self) -> dict[str, Any]:
        """Plain data for the reports: all keys that differ."""
        return {
            "keys": self.keys,
            "equal": self.equal,
            "agrees": self.agrees,
            "unpaired": self.unpaired,
            "headline": self.headline(),
            "lines": list(self.lines()),
            "differing": [{**asdict(f), "agrees": f.agrees} for f in self.findings],
        }


def compare_weights(
    source: Source,
    match: Match,
    network: nn.Module,
    convention: InputConvention,
) -> WeightComparison:
    """Compare every key of a network with what the plan of its source gives.

    ``convention`` is the source's. A module whose keys no plan names has its weights
    left uncompared, and so has a source that cannot be read; the result says so.
    """
    state = network.state_dict()
    try:
        if match.architecture is None:
            plan_values = planned_values_onto(match.plan, source, network, match.epsilons)
        else:
            plan_values = planned_values(
                match.plan, source, match.config, convention.mean, convention.std
            )
        for key, shape in plan_values.shapes.items():
            if key.endswith(_TRACKED):
                continue
            if key not in state or tuple(state[key].shape) != shape:
                return WeightComparison(
                    unpaired=f"the module's keys are not those of {match.model}, and its structure "
                    f"was not matched, so that no plan says what fills them; {key} {shape} first"
                )
        return _WeightComparer(source, match, network, plan_values).result()
    except BadInput as error:
        return WeightComparison(unpaired=str(error))


@dataclass(frozen=True)
class _NormedLayer:
    """A layer with a batch norm: its keys, and the epsilons of source and network."""

    weight: str
    bias: str | None
    norm: ModuleNorm
    source_epsilon: float
    port_epsilon: float

    @property
    def scaling(self) -> list[str]:
        """The batch norm's keys but its bias."""
        norm = self.norm
        return [key for key in (norm.weight, norm.mean, norm.variance) if key is not None]

    @property
    def keys(self) -> list[str]:
        """All its keys."""
        others = (self.weight, self.bias, self.norm.bias)
        return [*(key for key in others if key is not None), *self.scaling]

    @property
    def other_epsilon(self) -> bool:
        """Whether the two epsilons differ; graphs keep theirs in float32."""
        return bool(np.float32(self.source_epsilon) != np.float32(self.port_epsilon))


@dataclass(frozen=True, eq=False)
class _FoldedLayer:
    """A layer with its batch norm folded in, in float64: it scales (C,) and gives a bias (C,).

    ``unfolded`` is the weight before that. ``terms`` are the sizes of what the bias is a sum of.
    """

    unfolded: np.ndarray
    scale: np.ndarray
    bias: np.ndarray
    terms: np.ndarray

    @property
    def finite(self) -> bool:
        """Whether the batch norm gives numbers at all: a variance may be below 0."""
        return bool(np.isfinite(self.scale).all() and np.isfinite(self.bias).all())

    @cached_property
    def weight(self) -> np.ndarray:
        """The weight with the scale, or as it is where that is 1."""
        if (np.abs(self.scale - 1) <= UNIT).all():
            return self.unfolded
        with np.errstate(all="ignore"):
            shape = (-1, *(1,) * (self.unfolded.ndim - 1))
            return np.asarray(self.unfolded * self.scale.reshape(shape))


class _WeightComparer:
    """Compares the weights of two sides, and collects findings by key."""

    def __init__(
        self, source: Source, match: Match, network: nn.Module,
        plan_values: PlannedValues,
    ) -> None:  # fmt: skip
        self._source, self._match, self._network = source, match, network
        self._plan_values, self._state = plan_values, network.state_dict()
        self._keys = [key for key in plan_values.fills if not key.endswith(_TRACKED)]
        self._findings: dict[str, WeightFinding] = {}

    def result(self) -> WeightComparison:
        """All keys compared."""
        differing = {
            key
            for key in self._keys
            if not bits_equal(self._port(key), self._plan_values.read(key))
        }
        for layer in self._layers():
            self._compare_layer(layer, [key for key in layer.keys if key in differing])
        for key in self._keys:
            if key in differing and key not in self._findings:
                self._relate(key, Pair(self._port(key), self._plan_values.read(key)))
        order = {key: place for place, key in enumerate(self._keys)}
        findings = sorted(self._findings.values(), key=lambda finding: order.get(finding.key, -1))
        return WeightComparison(len(self._keys), tuple(findings))

    def _port(self, key: str) -> np.ndarray:
        """The network's values of a key, in float32."""
        return np.asarray(self._state[key].detach().float().numpy())

    def _layers(self) -> Iterator[_NormedLayer]:
        """The layers that have a batch norm."""
        match = self._match
        for layer in match.layers:
            if isinstance(layer, ModuleLayer) and (norm := layer.norm) is not None:
                source_epsilon = match.stated_epsilons.get(norm.variance, norm.epsilon)
                if match.architecture is not None:
                    path = norm.mean.removesuffix(".running_mean")
                    own = getattr(self._network.get_submodule(path), "eps", norm.epsilon)
                    norm = replace(norm, epsilon=float(own))
                yield _NormedLayer(layer.weight, layer.bias, norm, source_epsilon, norm.epsilon)

    def _compare_layer(self, layer: _NormedLayer, differing: list[str]) -> None:
        """Find what no key shows by itself: batch norms folded otherwise, or another epsilon."""
        scaling = [key for key in layer.scaling if key in differing]
        if not layer.other_epsilon and not scaling and len(differing) < 2:
            return
        port = _fold(self._port, layer, layer.port_epsilon)
        source = _fold(self._plan_values.read, layer, layer.source_epsilon)
        if _equal(port, source):
            for key in differing:
                self._add(key, _ONCE_FOLDED)
            return
        if layer.other_epsilon:
            path = layer.norm.variance.rpartition(".")[0]
            key = f"{path}.eps".removeprefix(".")
            text = f"{layer.port_epsilon:g}, where the source has {layer.source_epsilon:g}"
            distance = _weight_pair(port, source).distance
            self._findings[key] = WeightFinding(key, "epsilon", text, distance=distance)
        identity = self._source_is_identity(layer) or _is_identity(port)
        if scaling and identity and port.finite and source.finite:
            self._compare_folded(layer, differing, port, source)

    def _compare_folded(
        self, layer: _NormedLayer, differing: list[str], port: _FoldedLayer, source: _FoldedLayer
    ) -> None:
        """Relate weight and bias as they are once folded: one side has no norm of its own."""
        whole = next(
            (
                self._weight_set(name)
                for name, values in self._other_sets.items()
                if _equal(port, _fold(values.read, layer, layer.source_epsilon))
            ),
            None,
        )
        whole = whole or self._folded_at_another_epsilon(layer, port, source)
        if whole is None and not (_is_identity(port) and _is_identity(source)):
            unfolded = Pair(port.unfolded, source.unfolded)
            if relation_of(unfolded).name not in _AS_FOLDING_LEAVES_IT:
                return  # the weight is related as it is, so the batch norm is to be looked at alone
        if whole is not None:
            for key in differing:
                self._add(key, whole)
            return
        bias = layer.norm.bias or layer.bias
        pairs = {layer.weight: _weight_pair(port, source)}
        if bias is not None:
            pairs[bias] = _bias_pair(port, source)
        for key, pair in pairs.items():
            if pair.equal:
                self._add(key, _ONCE_FOLDED)
            else:
                as_it_is = key == layer.weight and _is_identity(port) and _is_identity(source)
                self._relate(key, pair, "" if as_it_is else ", once folded")
        for key in differing:
            if key not in pairs:
                self._add(key, _IN_FOLDED_WEIGHT)

    def _folded_at_another_epsilon(
        self, layer: _NormedLayer, port: _FoldedLayer, source: _FoldedLayer
    ) -> Relation | None:
        """Whether the two are one at another epsilon of the side that has a batch norm."""
        if self._source_is_identity(layer):
            norm_epsilon = layer.port_epsilon
            epsilon = _epsilon_between(self._port, layer, source)
            words = "the source's with epsilon {:g} in the batch norm, which has {:g}"
        else:
            norm_epsilon = layer.source_epsilon
            epsilon = _epsilon_between(self._plan_values.read, layer, port)
            words = "the source's folded with epsilon {:g}, where it has {:g}"
        if epsilon is None or epsilon == norm_epsilon:
            return None
        return Relation("epsilon", words.format(epsilon, norm_epsilon))

    def _source_is_identity(self, layer: _NormedLayer) -> bool:
        """Whether the source has folded the batch norm, so that the plan makes it an identity."""
        return self._plan_values.fills[layer.norm.variance].constant == "unit variance"

    def _relate(self, key: str, pair: Pair, suffix: str = "") -> None:
        """Add what relates a key's values to the source's, of this key or of another."""
        if pair.in_singles and not pair.equal and not pair.constant:
            elsewhere, other = (
                next(
                    (
                        self._weight_set(name)
                        for name, values in self._other_sets.items()
                        if key in values.fills and bits_equal(pair.port, values.read(key))
                    ),
                    None,
                ),
                None,
            )
            if elsewhere is None:
                elsewhere, other = self._in_another_tensor(key, pair)
            if elsewhere is not None:
                self._add(key, elsewhere, pair, other)
                return
        relation = relation_of(pair)
        self._add(key, replace(relation, text=relation.text + suffix), pair)

    def _in_another_tensor(self, key: str, pair: Pair) -> tuple[Relation | None, str | None]:
        """The key whose values by the plan these are; it may have this key's in exchange."""
        one_way = None
        for other in self._by_sum.get((pair.port.size, bit_sum(pair.port)), ()):
            if other == key or not _same_values(pair.port, self._plan_values.read(other)):
                continue
            if _same_values(self._port(other), pair.source):
                return Relation("exchanged", f"exchanged with {_printable(other)}"), other
            one_way = one_way or other
        if one_way is None:
            return None, None
        return Relation("another tensor", f"the source's {_printable(one_way)}"), one_way

    @cached_property
    def _by_sum(self) -> Mapping[tuple[int, int], list[str]]:
        """Keys by size and sum of bits of the source's values."""
        keys = defaultdict(list)
        for key in self._keys:
            values = self._plan_values.read(key)
            keys[values.size, bit_sum(values)].append(key)
        return dict(keys)

    @cached_property
    def _other_sets(self) -> Mapping[str, PlannedValues]:
        """What plans for the source's other weight sets give, by the set's name."""
        match, sets = self._match, {}
        if match.architecture is None:
            return {}
        drops_background = any(fill.first_row for fill in match.plan.fills)
        for name in self._source.weight_sets:
            if name == match.plan.weight_set:
                continue
            try:
                other = match_model(self._source, match.model, name, drops_background)
            except BadInput:
                continue  # a set need not be whole
            sets[name] = planned_values(other.plan, self._source, other.config)
        return sets

    def _weight_set(self, name: str) -> Relation:
        own = self._match.plan.weight_set
        return Relation("another weight set", f"the source's {name} weights, not its {own} ones")

    def _add(
        self, key: str, relation: Relation, pair: Pair | None = None, other: str | None = None
    ) -> None:
        fill = self._plan_values.fills[key]
        finding = WeightFinding(
            key, relation.name, relation.text, fill.source or fill.constant, other=other
        )
        if pair is not None:
            place = pair.farthest
            farthest = Farthest(place, float(pair.port[place]), float(pair.source[place]))
            finding = replace(finding, distance=pair.distance, farthest=farthest)
        self._findings[key] = finding


_ONCE_FOLDED = Relation("folded", "equal once folded")
_IN_FOLDED_WEIGHT = Relation(_INSIDE_FOLDED, "compared in the weight and bias that they fold into")


def _fold(read: Values, layer: _NormedLayer, epsilon: float) -> _FoldedLayer:
    """A layer's weight and bias with its batch norm folded in."""
    norm = layer.norm
    with np.errstate(all="ignore"):  # what comes of it is equal to nothing
        gamma = 1.0 if norm.weight is None else read(norm.weight).astype(np.float64)
        scale = np.asarray(gamma / np.sqrt(read(norm.variance).astype(np.float64) + epsilon))
        beta = 0.0 if norm.bias is None else read(norm.bias).astype(np.float64)
        bias = 0.0 if layer.bias is None else read(layer.bias).astype(np.float64)
        mean = read(norm.mean).astype(np.float64)
        shift = beta + (bias - mean) * scale
        terms = np.abs(beta) + (np.abs(bias) + np.abs(mean)) * np.abs(scale)
    return _FoldedLayer(read(layer.weight), scale, shift, terms)


def _is_identity(layer: _FoldedLayer) -> bool:
    """Whether a batch norm scales by nothing but 1."""
    return layer.weight is layer.unfolded


def _weight_pair(port: _FoldedLayer, source: _FoldedLayer) -> Pair:
    """The weights, both float32 where neither is scaled."""
    dtype = np.result_type(port.weight, source.weight)
    return Pair(port.weight.astype(dtype, copy=False), source.weight.astype(dtype, copy=False))


def _bias_pair(port: _FoldedLayer, source: _FoldedLayer) -> Pair:
    return Pair(port.bias, source.bias, np.maximum(port.terms, source.terms))


def _equal(port: _FoldedLayer, source: _FoldedLayer) -> bool:
    """Whether two layers are one once folded, but for a few roundings."""
    return _bias_pair(port, source).equal and _weight_pair(port, source).equal


def _epsilon_between(read: Values, layer: _NormedLayer, target: _FoldedLayer) -> float | None:
    """The epsilon at which a layer with a batch norm is the folded one; None at no such."""
    plain = _fold(read, layer, 0.0)
    count = len(plain.scale)
    rows = plain.unfolded.reshape(count, -1).astype(np.float64)
    with np.errstate(all="ignore"):
        # sqrt(variance / (variance + epsilon)) of each channel.
        factors = (rows * target.weight.reshape(count, -1)).sum(1) / (rows * rows).sum(1)
        variance = read(layer.norm.variance).astype(np.float64)
        epsilons = variance / (factors / plain.scale) ** 2 - variance
    # The rounding of a weight moves it least where the variance is least.
    usable = np.isfinite(epsilons) & (variance > 0)
    worked_out = []
    if usable.any():
        epsilon = float(epsilons[usable][variance[usable].argmin()])
        worked_out = [float(f"{epsilon:.{digits}g}") for digits in (1, 2, 3)]
    for epsilon in (*EPSILONS, *worked_out):
        if epsilon >= 0 and _equal(target, _fold(read, layer, epsilon)):
            return epsilon
    return None


def _same_values(left: np.ndarray, right: np.ndarray) -> bool:
    """Whether two arrays hold the same float32 values in the same order, of whatever shapes."""
    return left.size == right.size and bits_equal(left.ravel(), right.ravel())


def _printable(key: str) -> str:
    """A key as text: a user-defined module may call its parts anything."""
    return key if key.isprintable() else key.encode("unicode_escape").decode()


def _common_parts(key: str, tap: str) -> int:
    """How many parts of their paths a key and a tap begin with alike."""
    pairs = zip(key.split("."), tap.split("."), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _group_findings(findings: Iterable[WeightFinding]) -> list[list[WeightFinding]]:
    """Findings of one relation together, what differs before what agrees, the worst first."""
    of_relation = defaultdict(list)
    for finding in findings:
        if finding.relation != _INSIDE_FOLDED:
            of_relation[finding.relation].append(finding)
    groups: list[list[WeightFinding]] = []
    for relation, members in of_relation.items():
        of_text = defaultdict(list)
        for finding in members:
            of_text[finding.text].append(finding)
        if relation == "exchanged":
            groups.append(members)
        else:
            groups += of_text.values() if len(of_text) <= 2 else [sorted(members, key=_badness)]
    return sorted(groups, key=lambda group: min(map(_badness, group)))


def _badness(finding: WeightFinding) -> tuple[bool, float]:
    """Sorts the worst first."""
    distance = finding.distance or 0.0
    return finding.agrees, -np.inf if np.isnan(distance) else -distance


def _sentence(group: Sequence[WeightFinding], keys: int) -> str:
    """Findings of one relation in a sentence."""
    first, count = group[0], len(group)
    name = _printable(first.key)
    if first.relation == "exchanged":
        pairs = {frozenset((finding.key, finding.other)) for finding in group}
        more = f", and {len(pairs) - 1} more pairs" if len(pairs) > 1 else ""
        return f"{name} and {_printable(str(first.other))} are exchanged{more}"
    if count == 1:
        return f"{name} is {first.text}"
    if len({finding.text for finding in group}) > 1:
        return f"{name} is {first.text}, and {count - 1} more are {_PLURALS[first.relation]}"
    if count == keys:
        return f"all {keys} keys are {first.text}"
    others = _printable(group[1].key) if count == 2 else f"{count - 1} more"
    return f"{name} and {others} are {first.text}"
