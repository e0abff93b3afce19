"""Which weights a comparison has exercised.

A weight shows in a comparison only where something flows in through its input channel and its
output channel is not cut off: a ReLU that gives 0 on every input hides all that is before it.
:class:`ChannelActivity` notes, at the judge's own taps, which channels were active on which
input; a weight counts as exercised where one input had both of its channels active. What no
input exercised is compared with the source's value, read apart from the port's plan.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from porting.mapping.flows import ENTRY, LayerFlow
from porting.parity.names import SOFTMAX
from porting.parity.noise import EPSILON

StoredLayer = tuple[str, np.ndarray, np.ndarray]
"""Kind, weight (OIHW or OI) and bias of a layer as a source stores it."""

_ROUNDINGS = 16
"""Roundings of a row's largest value by which a weight may differ from the source's: folding a
batch norm costs a few."""


@dataclass(frozen=True)
class Coverage:
    """How many weights and biases of convolutions and dense layers a comparison rests on.

    ``on_images`` of all ``weights`` were exercised by images, ``exercised`` by images or by dense
    values. Of the rest ``equal`` are the source's own, and ``unproved`` says by state-dict key
    how many are neither, and why.
    """

    weights: int
    on_images: int
    exercised: int
    equal: int
    unproved: Mapping[str, tuple[int, str]]

    @property
    def complete(self) -> bool:
        """Whether every weight was exercised or is equal to the source's."""
        return self.exercised + self.equal == self.weights

    def summary(self) -> str:
        """A clause for a verdict."""
        if self.exercised == self.weights:
            share = "every weight exercised"
        else:
            # Rounded down, as 100 % is every one.
            percent = np.floor(1e4 * self.exercised / self.weights) / 100
            share = f"{percent:.2f} % of weights exercised"
        if self.complete:
            return (
                share
                if self.exercised == self.weights
                else f"{share}, the rest equal to the source's"
            )
        missing = self.weights - self.exercised - self.equal
        key, (count, reason) = max(self.unproved.items(), key=lambda entry: entry[1][0])
        return f"{share}, but {missing:,} are not proved, {count:,} of them in {key}: {reason}"

    def to_json(self) -> dict[str, Any]:
        """Plain data for card and report."""
        return {
            "weights": self.weights,
            "on_images": self.on_images,
            "exercised": self.exercised,
            "equal_to_the_source": self.equal,
            "unproved": [
                {"key": key, "weights": count, "reason": reason}
                for key, (count, reason) in self.unproved.items()
            ],
        }


class ChannelActivity:
    """Notes which channels of which taps were active, input by input.

    ``flows`` are the layers of the port, ``taps`` those that the judge shows, and ``compared``
    those of them at which the port's values were compared: all, by default. What a layer gives
    between two of these shows at the next one alone, if no layer on the way cuts it off.
    """

    def __init__(
        self, flows: Iterable[LayerFlow], taps: Iterable[str],
        compared: Iterable[str] | None = None,
    ) -> None:  # fmt: skip
        shown = set(taps)
        seen = shown if compared is None else shown & set(compared)
        self.results = {
            flow: next((tap for tap in flow.results if tap in shown), None) for flow in flows
        }
        self._shown = shown
        self._entry_taps = sorted({flow.entry for flow in self.results} & shown)
        # Where its values were compared, or else the taps between which they were not.
        self._behind: dict[LayerFlow, tuple[str, ...]] = {}
        # A softmax hides classes that are rare, and what all of them gain alike.
        self._spread: set[LayerFlow] = set()
        self._onward: dict[LayerFlow, tuple[LayerFlow, ...]] = {}
        for flow in self.results:
            known = [tap for tap in flow.results if tap in shown]
            at = next((tap for tap in known if tap in seen), None)
            if at == SOFTMAX:
                self._spread.add(flow)
            self._behind[flow] = tuple(known) if at is None else (at,)
            further = (other for other in self.results if other.entry in flow.results)
            self._onward[flow] = tuple(further) if at is None else ()
        clamped = (
            tap for flow, taps in self._behind.items() for tap in taps if tap in flow.clamped
        )
        self._clamped_taps = sorted(set(clamped))
        self._entries: dict[str, list[np.ndarray]] = {}
        self._results: dict[str, list[np.ndarray]] = {}
        self._dense: list[bool] = []

    def add(
        self, values: Mapping[str, np.ndarray], fed: Mapping[str, np.ndarray] | None = None
    ) -> None:
        """Note one input's values, NHWC or (N, C), by tap.

        ``fed`` are those that flowed into the pieces where they are not the taps' own; a tap that
        is not among them passed on what was computed there.
        """
        self._dense.append(fed is not None)
        fed = fed or {}
        entries = {**values, **fed}
        extremes = {tap: _Extremes(values[tap]) for tap in self._clamped_taps if tap in values}
        for tap in self._entry_taps:
            active = self._nothing(tap, self._entries)
            if tap in entries:
                known = None if tap in fed else extremes.get(tap)
                active = (known or _Extremes(entries[tap])).active()
            self._entries.setdefault(tap, []).append(active)
        for tap in self._clamped_taps:
            unclamped = self._nothing(tap, self._results)
            if tap in extremes:
                unclamped = extremes[tap].unclamped()
            self._results.setdefault(tap, []).append(unclamped)

    def _nothing(self, tap: str, noted: Mapping[str, list[np.ndarray]]) -> np.ndarray:
        """No channel at all, of a tap that the port does not show and so is not fed."""
        return np.zeros_like(noted[tap][0]) if tap in noted else np.zeros(0, bool)

    def exercised(
        self, flow: LayerFlow, shape: tuple[int, ...], dense: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """Which of a layer's weights were exercised, (O, I) or (C, 1), and which biases, (O,).

        ``shape`` is that of the weight, OIHW or OI. Without ``dense`` by images alone.
        """
        inputs = [number for number, kind in enumerate(self._dense) if dense or not kind]
        result = self.results[flow]
        unseen = result is None or flow in self._spread
        if unseen or (flow.entry != ENTRY and flow.entry not in self._shown) or not inputs:
            return np.zeros(shape[:2], bool), np.zeros(shape[0], bool)
        into = shape[0] if flow.depthwise else shape[1]
        entry = np.ones((len(inputs), into), np.float32)
        if flow.entry != ENTRY:
            entry = np.stack(self._entries[flow.entry])[inputs].astype(np.float32)
        out = np.ones((len(inputs), shape[0]), np.float32)
        if (reaching := self._reaching(flow, {})) is not None:
            # The last ones: a port may have dropped the background class.
            out = reaching[inputs][:, -shape[0] :].astype(np.float32)
        biases = np.asarray(out.any(axis=0))
        if flow.depthwise:
            return np.asarray((entry * out).any(axis=0))[:, None], biases
        return np.asarray((out.T @ entry) > 0), biases

    def _reaching(
        self, flow: LayerFlow, known: dict[LayerFlow, np.ndarray | None]
    ) -> np.ndarray | None:  # fmt: skip
        """Which output channels of a layer reached a tap that was compared, (inputs, channels).

        None stands for all. What no layer takes by itself, as where it is scaled by a gate first,
        counts as going on. ``known`` are the layers that were asked already.
        """
        if flow in known:
            return known[flow]
        parts = [np.stack(self._results[t]) for t in self._behind[flow] if t in flow.clamped]
        further = [(other, self._reaching(other, known)) for other in self._onward[flow]]
        if further and all(reaching is not None for _, reaching in further):
            # A dense layer sums all its channels: one of its outputs is enough.
            each = (
                reaching if other.depthwise else reaching.any(axis=1, keepdims=True)
                for other, reaching in further
                if reaching is not None
            )
            parts.append(np.logical_or.reduce(np.broadcast_arrays(*each)))
        known[flow] = np.logical_and.reduce(np.broadcast_arrays(*parts)) if parts else None
        return known[flow]

    def coverage(
        self, shapes: Mapping[str, tuple[int, ...]], state: Mapping[str, np.ndarray] | None,
        stored: Callable[[str], StoredLayer | None] | None, factors: Mapping[str, float],
    ) -> Coverage:  # fmt: skip
        """What was exercised, and of the rest what equals the source.

        ``shapes`` are those of the port's weights by state-dict key, ``state`` its values, None
        for a module whose keys are not known. ``stored`` reads, by a judge's tap, the layer that
        the source has there, or is None where nothing reads the source apart. ``factors`` gives,
        by tap, how many times the port's values the judge's are.
        """
        weights = on_images = exercised = equal = 0
        unproved: dict[str, tuple[int, str]] = {}
        for flow in self.results:
            shape = shapes[flow.weight]
            places = int(np.prod(shape[2:]))
            total = int(np.prod(shape)) + shape[0]
            pairs, biases = self.exercised(flow, shape, dense=False)
            on_images += int(pairs.sum()) * places + int(biases.sum())
            pairs, biases = self.exercised(flow, shape, dense=True)
            missing = int((~pairs).sum()) * places + int((~biases).sum())
            weights += total
            exercised += total - missing
            if not missing:
                continue
            result, layer = self.results[flow], None
            if stored is not None and state is not None and result is not None:
                layer = stored(result)
            if layer is None or state is None:
                unproved[flow.weight] = missing, "no input exercised them"
                continue
            odd_weights, odd_biases = _differing(flow, state, layer, factors.get(flow.entry, 1.0))
            count = int(odd_weights[~pairs].sum()) + int(odd_biases[~biases].sum())
            equal += missing - count
            if count:
                unproved[flow.weight] = count, "no input exercised them, and the source's differ"
        return Coverage(weights, on_images, exercised, equal, unproved)


class _Extremes:
    """The least and the largest value of each channel of a tap, (N, ..., C)."""

    def __init__(self, values: np.ndarray) -> None:
        self._flat = values.reshape(-1, values.shape[-1])
        self._low, self._high = self._flat.min(axis=0), self._flat.max(axis=0)

    def active(self) -> np.ndarray:
        """Which channels have a value that rounding could not have made."""
        largest = np.maximum(self._high, -self._low)
        return np.asarray(largest > 4 * EPSILON * largest.max())

    def unclamped(self) -> np.ndarray:
        """Which channels have a value that no activation has cut off.

        What is cut off lies at the least or the largest value of the whole tap, or at 0.
        """
        low, high = self._low, self._high
        least, largest = low.min(), high.max()
        between = ((low > least) & (low < largest)) | ((high > least) & (high < largest))
        # Channels that reach both ends may have something in between as well.
        both = ~between & (low == least) & (high == largest)
        inner = self._flat[:, both]
        between[both] = ((inner > least) & (inner < largest)).any(axis=0)
        # A hard swish cuts off at 0 as well, and is least below it.
        return np.asarray(between & ((low != 0) | (high != 0)))


def _differing(
    flow: LayerFlow, state: Mapping[str, np.ndarray], layer: StoredLayer, factor: float
) -> tuple[np.ndarray, np.ndarray]:
    """How many weights of each pair of channels are not the source's, (O, I) or (C, 1); biases."""
    weight, bias = folded(flow, state)
    kind, values, added = layer
    stored = values[-len(weight) :].astype(np.float64) * factor
    places = int(np.prod(weight.shape[2:]))
    if (kind == "depthwise") != flow.depthwise or stored.size != weight.size:
        return np.full(weight.shape[:2], places), np.ones(len(weight), bool)
    flat, stored = (values.reshape(*weight.shape[:2], places) for values in (weight, stored))
    roundings = _ROUNDINGS * EPSILON
    allowed = roundings * np.abs(stored).max(axis=(1, 2))
    differing = np.abs(flat - stored) > allowed[:, None, None]
    added = added[-len(bias) :].astype(np.float64)
    return differing.sum(axis=-1), np.abs(bias - added) > roundings * np.abs(added).max()


def folded(flow: LayerFlow, state: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """A layer's weight, OIHW or OI, and bias, in float64, with its batch norm folded in."""
    weight = state[flow.weight].astype(np.float64)
    bias = np.zeros(len(weight)) if flow.bias is None else state[flow.bias].astype(np.float64)
    norm = flow.norm
    if norm is None:
        return weight, bias
    factor = 1 / np.sqrt(state[norm.variance].astype(np.float64) + norm.epsilon)
    if norm.weight is not None:
        factor = factor * state[norm.weight]
    bias = (bias - state[norm.mean]) * factor
    if norm.bias is not None:
        bias = bias + state[norm.bias]
    return weight * factor.reshape(-1, *[1] * (weight.ndim - 1)), bias
