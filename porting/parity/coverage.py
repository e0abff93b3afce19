"""Which weights a comparison has exercised.

A weight shows in a comparison only where something flows in through its input channel and its
output channel is not cut off: a ReLU that gives 0 on every input hides all that is before it.
:class:`ChannelActivity` records, at the judge's own taps, which channels were active on which
input; a weight counts as exercised where one input had both of its channels active. What no
input exercised is compared with the source's value, read apart from the port's plan.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from porting.graph.tap_names import SOFTMAX
from porting.mapping.match import ENTRY, LayerFlow
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
        """Plain data for reports."""
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
    """Records which channels of which taps were active, input by input.

    ``flows`` are the layers of the port, ``taps`` those that the judge shows, and ``compared``
    those of them at which the port's values were compared: all, by default. What a layer gives
    between two of these shows at the next one alone, if no layer on the way cuts it off.
    """

    def __init__(
        self, flows: Iterable[LayerFlow], taps: Iterable[str],
        compared: Iterable[str] | None = None,
    ) -> None:  # fmt: skip
        visible = set(taps)
        comparable = visible if compared is None else visible & set(compared)
        self.results = {
            flow: next((tap for tap in flow.results if tap in visible), None) for flow in flows
        }
        self._taps = visible
        self._entry_taps = sorted({flow.entry for flow in self.results} & visible)
        # The tap at which a layer's values were compared, else those between which they were not.
        self._result_taps: dict[LayerFlow, tuple[str, ...]] = {}
        # A softmax hides classes that are rare, and what all of them gain alike.
        self._hidden_by_softmax: set[LayerFlow] = set()
        self._next_layers: dict[LayerFlow, tuple[LayerFlow, ...]] = {}
        for flow in self.results:
            candidates = [tap for tap in flow.results if tap in visible]
            tap = next((tap for tap in candidates if tap in comparable), None)
            if tap == SOFTMAX:
                self._hidden_by_softmax.add(flow)
            self._result_taps[flow] = tuple(candidates) if tap is None else (tap,)
            successors = (other for other in self.results if other.entry in flow.results)
            self._next_layers[flow] = tuple(successors) if tap is None else ()
        clamped_results = (
            tap for flow, taps in self._result_taps.items() for tap in taps if tap in flow.clamped
        )
        self._clamped_taps = sorted(set(clamped_results))
        self._entries: dict[str, list[np.ndarray]] = {}
        self._results: dict[str, list[np.ndarray]] = {}
        self._dense: list[bool] = []

    def add(
        self, values: Mapping[str, np.ndarray], substitutes: Mapping[str, np.ndarray] | None = None
    ) -> None:
        """Record one input's values, NHWC or (N, C), by tap.

        ``substitutes`` are the values fed to the pieces in place of the taps' own; a tap that is
        not among them passed on what was computed there.
        """
        self._dense.append(substitutes is not None)
        substitutes = substitutes or {}
        entries = {**values, **substitutes}
        extremes = {tap: _Extremes(values[tap]) for tap in self._clamped_taps if tap in values}
        for tap in self._entry_taps:
            active = self._no_channels(tap, self._entries)
            if tap in entries:
                extreme = None if tap in substitutes else extremes.get(tap)
                active = (extreme or _Extremes(entries[tap])).active_channels()
            self._entries.setdefault(tap, []).append(active)
        for tap in self._clamped_taps:
            unclamped = self._no_channels(tap, self._results)
            if tap in extremes:
                unclamped = extremes[tap].unclamped_channels()
            self._results.setdefault(tap, []).append(unclamped)

    def _no_channels(self, tap: str, history: Mapping[str, list[np.ndarray]]) -> np.ndarray:
        """No active channel: the port does not show the tap, so that it is not fed."""
        return np.zeros_like(history[tap][0]) if tap in history else np.zeros(0, bool)

    def exercised_weights(
        self, flow: LayerFlow, shape: tuple[int, ...], dense: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """Which of a layer's weights were exercised, (O, I) or (C, 1), and which biases, (O,).

        ``shape`` is that of the weight, OIHW or OI. Without ``dense`` by images alone.
        """
        inputs = [number for number, kind in enumerate(self._dense) if dense or not kind]
        result = self.results[flow]
        unseen = result is None or flow in self._hidden_by_softmax
        if unseen or (flow.entry != ENTRY and flow.entry not in self._taps) or not inputs:
            pairs = shape[:2] if len(shape) > 1 else (shape[0], 1)
            return np.zeros(pairs, bool), np.zeros(shape[0], bool)
        into = shape[0] // flow.multiplier if flow.depthwise else shape[1]
        entry = np.ones((len(inputs), into), np.float32)
        if flow.entry != ENTRY:
            entry = np.stack(self._entries[flow.entry])[inputs].astype(np.float32)
            if flow.channels is not None:
                entry = entry[:, flow.channels[0] : flow.channels[1]]
        out = np.ones((len(inputs), shape[0]), np.float32)
        if (channels := self._visible_channels(flow, {})) is not None:
            # The last ones: a port may have dropped the background class.
            out = channels[inputs][:, -shape[0] :].astype(np.float32)
        biases = np.asarray(out.any(axis=0))
        if flow.depthwise:
            entry = np.repeat(entry, flow.multiplier, axis=1)
            return np.asarray((entry * out).any(axis=0))[:, None], biases
        return np.asarray((out.T @ entry) > 0), biases

    def _visible_channels(
        self, flow: LayerFlow, cache: dict[LayerFlow, np.ndarray | None]
    ) -> np.ndarray | None:  # fmt: skip
        """Which output channels of a layer reached a tap that was compared, (inputs, channels).

        None stands for all. A channel that no layer takes directly, as where a gate scales it
        first, counts as reaching one. ``cache`` holds the result of each layer visited so far.
        """
        if flow in cache:
            return cache[flow]
        conditions = [
            np.stack(self._results[tap]) for tap in self._result_taps[flow] if tap in flow.clamped
        ]
        successors = [
            (layer, self._visible_channels(layer, cache)) for layer in self._next_layers[flow]
        ]
        if successors and all(channels is not None for _, channels in successors):
            # A dense layer sums all its channels: one of its outputs is enough.
            alternatives = (
                _among_all(layer, channels)
                for layer, channels in successors
                if channels is not None
            )
            conditions.append(np.logical_or.reduce(np.broadcast_arrays(*alternatives)))
        cache[flow] = (
            np.logical_and.reduce(np.broadcast_arrays(*conditions)) if conditions else None
        )
        return cache[flow]

    def coverage(
        self, shapes: Mapping[str, tuple[int, ...]], state: Mapping[str, np.ndarray] | None,
        stored_layer: Callable[[str], StoredLayer | None] | None, factors: Mapping[str, float],
    ) -> Coverage:  # fmt: skip
        """What was exercised, and of the rest what equals the source.

        ``shapes`` are those of the port's weights by state-dict key, ``state`` its values, None
        for a module whose keys are not known. ``stored_layer`` reads, by a judge's tap, the layer
        that the source has there, None where no second reader exists. ``factors`` gives, by tap,
        how many times the port's values the judge's are.
        """
        weights = on_images = exercised_count = equal = 0
        unproved: dict[str, tuple[int, str]] = {}
        for flow in self.results:
            shape = shapes[flow.weight]
            places = int(np.prod(shape[2:]))
            total = int(np.prod(shape)) + shape[0]
            pairs, biases = self.exercised_weights(flow, shape, dense=False)
            on_images += int(pairs.sum()) * places + int(biases.sum())
            pairs, biases = self.exercised_weights(flow, shape, dense=True)
            missing = int((~pairs).sum()) * places + int((~biases).sum())
            weights += total
            exercised_count += total - missing
            if not missing:
                continue
            result, layer = self.results[flow], None
            if stored_layer is not None and state is not None and result is not None:
                layer = None if _is_norm(flow) else stored_layer(result)
            if layer is None or state is None:
                unproved[flow.weight] = missing, "no input exercised them"
                continue
            odd_weights, odd_biases = _difference_counts(
                flow, state, layer, factors.get(flow.entry, 1.0)
            )
            count = int(odd_weights[~pairs].sum()) + int(odd_biases[~biases].sum())
            equal += missing - count
            if count:
                unproved[flow.weight] = count, "no input exercised them, and the source's differ"
        return Coverage(weights, on_images, exercised_count, equal, unproved)


def _among_all(flow: LayerFlow, channels: np.ndarray) -> np.ndarray:
    """Which channels a layer shows in its own, (inputs, channels), among all that flow in."""
    visible = np.asarray(
        channels.reshape(len(channels), -1, flow.multiplier).any(axis=2)
        if flow.depthwise
        else channels.any(axis=1, keepdims=True)
    )
    if flow.channels is None:
        return visible
    start, stop, total = flow.channels
    result = np.zeros((len(channels), total), bool)
    result[:, start:stop] = visible
    return result


class _Extremes:
    """The least and the largest value of each channel of a tap, (N, ..., C)."""

    def __init__(self, values: np.ndarray) -> None:
        self._flat = values.reshape(-1, values.shape[-1])
        self._low, self._high = self._flat.min(axis=0), self._flat.max(axis=0)

    def active_channels(self) -> np.ndarray:
        """Which channels have a value that rounding could not have made."""
        largest = np.maximum(self._high, -self._low)
        return np.asarray(largest > 4 * EPSILON * largest.max())

    def unclamped_channels(self) -> np.ndarray:
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


def _difference_counts(
    flow: LayerFlow, state: Mapping[str, np.ndarray], layer: StoredLayer, factor: float
) -> tuple[np.ndarray, np.ndarray]:
    """How many weights of each pair of channels are not the source's, (O, I) or (C, 1); biases."""
    weight, bias = fold_batch_norm(flow, state)
    kind, values, source_bias = layer
    source_weight = values[-len(weight) :].astype(np.float64) * factor / flow.scale
    places = int(np.prod(weight.shape[2:]))
    if (kind == "depthwise") != flow.depthwise or source_weight.size != weight.size:
        return np.full(weight.shape[:2], places), np.ones(len(weight), bool)
    flat, source_weight = (
        values.reshape(*weight.shape[:2], places) for values in (weight, source_weight)
    )
    roundings = _ROUNDINGS * EPSILON
    limit = roundings * np.abs(source_weight).max(axis=(1, 2))
    differing = np.abs(flat - source_weight) > limit[:, None, None]
    source_bias = (source_bias[-len(bias) :].astype(np.float64) - flow.offset) / flow.scale
    return differing.sum(axis=-1), np.abs(bias - source_bias) > roundings * np.abs(
        source_bias
    ).max()


def _is_norm(flow: LayerFlow) -> bool:
    """Whether a flow is that of a batch norm which is no part of a layer."""
    return flow.norm is not None and flow.norm.weight == flow.weight


def fold_batch_norm(
    flow: LayerFlow, state: Mapping[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """A layer's weight, OIHW or OI, and bias, in float64, with its batch norm folded in."""
    weight = state[flow.weight].astype(np.float64)
    norm = flow.norm
    if _is_norm(flow):
        weight = np.ones_like(weight)  # the norm's own is a factor below
    has_bias = flow.bias is not None and not _is_norm(flow)
    bias = state[str(flow.bias)].astype(np.float64) if has_bias else np.zeros(len(weight))
    if norm is None:
        return weight, bias
    factor = 1 / np.sqrt(state[norm.variance].astype(np.float64) + norm.epsilon)
    if norm.weight is not None:
        factor = factor * state[norm.weight]
    bias = (bias - state[norm.mean]) * factor
    if norm.bias is not None:
        bias = bias + state[norm.bias]
    return weight * factor.reshape(-1, *[1] * (weight.ndim - 1)), bias
