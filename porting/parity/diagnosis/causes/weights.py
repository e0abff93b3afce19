"""Causes that lie in the weights: a key of the port is not what the source has there.

What relates the two is exact (:mod:`porting.parity.relations`), so that a relation names the
cause; the source's values in its place are the change that proves it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from porting.errors import BadInput
from porting.graph.node import ModuleNorm
from porting.parity.diagnosis import changes
from porting.parity.diagnosis.cause import Change, Family, Hypothesis
from porting.parity.diagnosis.causes.padding import TIMM_REMEDY
from porting.parity.diagnosis.evidence import Piece
from porting.parity.relations import Pair, channel_factors
from porting.parity.weights import WeightFinding

PORT_AGAIN = "port the source anew, or let --fix FILE.pth write the mended weights"

_FOLDED = 1e-2
"""A batch norm that scales by less than so much is one that has been folded."""

_ENOUGH = 32
"""Values that must all lie on a grid before chance is ruled out."""

_LEVELS = 256
"""As many different values int8 has."""


@dataclass(frozen=True)
class WeightFault:
    """Weights of one layer that one mistake has changed, and what that mistake is called."""

    cause: str
    variant: str
    findings: tuple[WeightFinding, ...]
    sentence: str


Rule = Callable[[Piece, WeightFinding], "tuple[str, str] | None"]
"""Cause and variant of a finding by itself; None where it is something else."""


def faults_of(piece: Piece) -> Iterator[WeightFault]:
    """The mistakes in the weights of a piece, each key in one of them."""
    rest = {finding.key: finding for finding in piece.findings}
    for rule in _TOGETHER:
        for fault in rule(piece, list(rest.values())):
            yield fault
            for finding in fault.findings:
                rest.pop(finding.key, None)
    for finding in rest.values():
        cause, variant = next(
            names for names in (rule(piece, finding) for rule in _SINGLE) if names is not None
        )
        yield WeightFault(cause, variant, (finding,), f"{finding.key} is {finding.text}")


def hypotheses(piece: Piece) -> Iterator[Hypothesis]:
    """Proposes the source's values for each mistake in the weights of a piece."""
    for fault in faults_of(piece):
        # What was compared in a weight that it folds into is the source's with that alone.
        keys = (*(finding.key for finding in fault.findings), *piece.folded_keys)
        change = _restored(piece, keys)
        if change is not None:
            yield Hypothesis(
                fault.cause, fault.variant, keys[0], change, fault.sentence,
                _remedy(piece, keys[0]),
                tuple(key for key in keys if not key.endswith(".eps")),
            )  # fmt: skip


def _remedy(piece: Piece, key: str) -> str:
    path = key.removesuffix(".eps")
    if path == key:
        return PORT_AGAIN
    if piece.around.has_parts_of_timm:
        return TIMM_REMEDY
    return f"nn.BatchNorm2d(..., eps={source_epsilon(piece, path):g})"


def _restored(piece: Piece, keys: Sequence[str]) -> Change | None:
    """The change that gives keys the source's values; None where no plan has them."""
    steps, values = [], {}
    for key in keys:
        path = key.removesuffix(".eps")
        if path != key:
            steps.append(changes.epsilon(path, source_epsilon(piece, path)))
            continue
        try:
            values[key] = piece.value(key)
        except (BadInput, KeyError):
            return None
    return changes.every(changes.fill(values), *steps)


def source_epsilon(piece: Piece, path: str) -> float:
    """The epsilon that the source's batch norm has, whose counterpart is at a path of the port."""
    match, variance = piece.around.pairing.match, f"{path}.running_var".lstrip(".")
    return float(match.stated_epsilons.get(variance, match.epsilons[variance]))


# --- mistakes that show in several keys of a layer at once ---


def _norm_of(piece: Piece) -> ModuleNorm | None:
    return None if piece.flow is None else piece.flow.norm


def _exchanged_in_norm(piece: Piece, findings: Sequence[WeightFinding]) -> Iterator[WeightFault]:
    norm, by_key = _norm_of(piece), {finding.key: finding for finding in findings}
    if norm is None:
        return
    for one, other, cause in (
        (norm.weight, norm.bias, "gamma and beta swapped"),
        (norm.mean, norm.variance, "mean and variance swapped"),
    ):
        pair = [by_key[key] for key in (one, other) if key in by_key]
        if any(finding.other in (one, other) for finding in pair):
            path = norm.variance.rpartition(".")[0]
            yield WeightFault(cause, cause, tuple(pair), f"{path}: its {cause}")


_LEFT_OUT = {"weight": 1.0, "bias": 0.0, "mean": 0.0, "variance": 1.0}
"""What a batch norm has before it is filled."""


def _norm_left_out(piece: Piece, findings: Sequence[WeightFinding]) -> Iterator[WeightFault]:
    norm, by_key = _norm_of(piece), {finding.key: finding for finding in findings}
    if norm is None:
        return
    state = piece.around.network.state_dict()
    keys = {name: getattr(norm, name) for name in _LEFT_OUT}
    own = [
        by_key[key] for name, key in keys.items()
        if key in by_key and (state[key] == _LEFT_OUT[name]).all()
    ]  # fmt: skip
    as_built = all((state[k] == _LEFT_OUT[n]).all() for n, k in keys.items() if k in state)
    if as_built and len(own) > 1:
        path = norm.variance.rpartition(".")[0]
        sentence = f"{path} holds 1, 0, 0 and 1, as a batch norm is built, and not the source's"
        yield WeightFault("batch norm left out", "left out", tuple(own), sentence)


def _other_weight_set(piece: Piece, findings: Sequence[WeightFinding]) -> Iterator[WeightFault]:
    sets = [finding for finding in findings if finding.relation == "another weight set"]
    if not sets:
        return
    statistics = ("running_mean", "running_var")
    all_sets = [f for f in piece.around.findings.values() if f.relation == "another weight set"]
    only = all(finding.key.endswith(statistics) for finding in all_sets)
    none = not any(finding.key.endswith(statistics) for finding in all_sets)
    own = piece.around.weight_set
    other = "raw" if own == "ema" else "ema"
    variant = f"{other} weights for {own}"
    if only:
        variant = f"{own} weights with {other} statistics"
    elif none:
        variant = f"{other} weights with {own} statistics"
    sentence = f"its values are the source's {other} ones, where its {own} ones are asked for"
    yield WeightFault("another weight set", variant, tuple(sets), sentence)


def _folded_twice(piece: Piece, findings: Sequence[WeightFinding]) -> Iterator[WeightFault]:
    norm, flow = _norm_of(piece), piece.flow
    if norm is None or flow is None:
        return
    weight = next((f for f in findings if f.key == flow.weight), None)
    if weight is None or weight.relation not in ("ratio by channel", "ratio"):
        return
    try:
        gamma = 1.0 if norm.weight is None else piece.value(norm.weight).astype(np.float64)
        variance = piece.value(norm.variance).astype(np.float64)
        path = norm.variance.rpartition(".")[0]
        scale = gamma / np.sqrt(variance + source_epsilon(piece, path))
        factors = channel_factors(_pair(piece, flow.weight), 0)
    except (BadInput, KeyError):
        return
    if np.abs(np.asarray(scale) - 1).max() < _FOLDED:
        return  # the source has folded it: the port's batch norm changes nothing
    if factors is None or not np.allclose(factors, scale, rtol=1e-3, atol=1e-6):
        return
    others = [f for f in findings if f.key in (flow.bias, norm.bias) and f is not weight]
    sentence = (
        f"{flow.weight} has its batch norm folded in already, and {path} applies it once more"
    )
    yield WeightFault("batch norm folded twice", "folded twice", (weight, *others), sentence)


def _pair(piece: Piece, key: str) -> Pair:
    port = piece.around.network.state_dict()[key].detach().float().numpy()
    return Pair(np.asarray(port), piece.value(key))


def _swapped_squeeze(piece: Piece, findings: Sequence[WeightFinding]) -> Iterator[WeightFault]:
    for finding in findings:
        other = finding.other or ""
        squeeze = finding.key.rpartition(".se.")[0]
        names = {finding.key.rpartition(".se.")[2], other.rpartition(".se.")[2]}
        if squeeze and other.startswith(f"{squeeze}.se.") and len(names) == 2:
            sentence = f"{squeeze}.se: the kernels of its reduction and its expansion are exchanged"
            yield WeightFault(
                "squeeze-excite reduce and expand swapped", "swapped", (finding,), sentence
            )


def _classes_moved(piece: Piece, findings: Sequence[WeightFinding]) -> Iterator[WeightFault]:
    flow = piece.flow
    if flow is None or ("classifier" not in piece.tap and not _is_last(piece)):
        return
    moved = [
        finding for finding in findings
        if finding.key in (flow.weight, flow.bias)
        and finding.relation in ("channels moved", "reordered")
        and "input" not in finding.text
    ]  # fmt: skip
    if not moved:
        return
    text = moved[0].text
    if "in a ring" in text:
        cause, variant = "class offset", "class offset"
    else:
        cause, variant = "classes permuted", "classes permuted"
    yield WeightFault(cause, variant, tuple(moved), f"{moved[0].key} is {text}")


def _is_last(piece: Piece) -> bool:
    flows = piece.around.pairing.flows
    return bool(flows) and piece.flow is not None and flows[-1].weight == piece.flow.weight


_TOGETHER: tuple[Callable[[Piece, Sequence[WeightFinding]], Iterator[WeightFault]], ...] = (
    _other_weight_set, _exchanged_in_norm, _norm_left_out, _folded_twice, _swapped_squeeze,
    _classes_moved,
)  # fmt: skip


# --- mistakes that show in one key ---


def _epsilon(piece: Piece, finding: WeightFinding) -> tuple[str, str] | None:
    if finding.relation != "epsilon":
        return None
    if not finding.key.endswith(".eps"):
        return "batch-norm epsilon", "folded with another epsilon"
    return "batch-norm epsilon", f"epsilon {finding.text.split(',')[0]}"


def _statistic(piece: Piece, finding: WeightFinding) -> tuple[str, str] | None:
    if finding.relation != "function":
        return None
    names = {
        "the square root of the source's": "variance for its root",
        "the source's squared": "square for the variance",
        "1 over the square root of the source's": "inverse deviation for the variance",
        "1 over the source's": "inverse for the variance",
    }
    norm = _norm_of(piece)
    if norm is not None and finding.key == norm.variance and finding.text in names:
        return "variance for its root or square", names[finding.text]
    return "function of the source's weights", finding.text


def _bias(piece: Piece, finding: WeightFinding) -> tuple[str, str] | None:
    norm, flow = _norm_of(piece), piece.flow
    biases = [flow.bias if flow else None, norm.bias if norm else None]
    if finding.key not in biases:
        return None
    state = piece.around.network.state_dict()[finding.key]
    if (state == 0).all():
        return "bias missing", "bias missing"
    if finding.relation == "ratio" and finding.text.startswith("2 times"):
        return "bias doubled", "bias doubled"
    return None


_BGR = ("RGB for BGR", "red and blue exchanged in the weights")

_MOVED = {
    "BGR": _BGR,
    "its 3 input channels in reverse": _BGR,
    "dealt out": ("groups interleaved", "groups interleaved"),
    "": ("channels permuted", "channels permuted"),
}
"""Words in a relation -> cause and variant, for channels in other places; the first that occur."""

_TURNED = {
    "rotated by 180": ("kernel flipped", "rotated by 180 degrees"),
    "mirrored left": ("kernel flipped", "mirrored left to right"),
    "mirrored top": ("kernel flipped", "mirrored top to bottom"),
    "input and output": ("input and output channels swapped", "input and output channels swapped"),
    "reshaped": ("input and output channels swapped", "reshaped and not transposed"),
    "h and w": ("kernel transposed", "height and width exchanged"),
    "rotated": ("kernel transposed", "rotated by 90 degrees"),
    "another order": ("weights reordered", "in another order"),
    "": ("kernel transposed", "axes exchanged"),
}
"""The same for axes that were exchanged and kernels that were turned."""


def _first_in(text: str, names: Mapping[str, tuple[str, str]]) -> tuple[str, str]:
    return next(pair for words, pair in names.items() if words in text)


def _channels(piece: Piece, finding: WeightFinding) -> tuple[str, str] | None:
    if finding.relation != "channels moved":
        return None
    if "dealt out" in finding.text and piece.flow is not None:
        if piece.flow.depthwise:
            return "depthwise multiplier order", "multiplier first"
        if "input" in finding.text and _is_dense(piece, finding):
            return "flattened in another order", "NCHW for NHWC"
    return _first_in(finding.text, _MOVED)


def _axes(piece: Piece, finding: WeightFinding) -> tuple[str, str] | None:
    if finding.relation not in ("axes moved", "reordered"):
        return None
    if finding.relation == "axes moved" and _is_dense(piece, finding):
        return "dense layer transposed", "inputs and outputs exchanged"
    return _first_in(finding.text, _TURNED)


def _is_dense(piece: Piece, finding: WeightFinding) -> bool:
    return bool(piece.around.network.state_dict()[finding.key].ndim == 2)


def _elsewhere(piece: Piece, finding: WeightFinding) -> tuple[str, str] | None:
    if finding.relation == "exchanged":
        return "two layers swapped", "two layers swapped"
    if finding.relation == "another tensor":
        return "another layer's weights", "another layer's weights"
    return None


def _precision(piece: Piece, finding: WeightFinding) -> tuple[str, str] | None:
    if finding.relation == "rounded":
        return "weights rounded", finding.text.removeprefix("the source's ")
    if finding.relation in ("near", "elements"):
        port = piece.around.network.state_dict()[finding.key].detach().float()
        source = torch.from_numpy(np.array(piece.value(finding.key)))
        # A quantised source is on such a grid itself.
        if _in_few_levels(port) and not _in_few_levels(source):
            return "weights rounded", "rounded to int8"
    return None


def _in_few_levels(values: torch.Tensor) -> bool:
    """Whether values lie on a grid of at most 256 levels, by tensor or by output channel."""
    if values.ndim < 2 or values.numel() < 4 * _LEVELS:
        rows = [values.flatten()] if values.numel() >= _LEVELS else []
    else:
        rows = [values.flatten()]
    if rows and len(np.unique(rows[0].numpy())) <= _LEVELS:
        return True
    channels = values.flatten(1) if values.ndim > 1 else values[None]
    if channels.shape[1] < 2 or channels.numel() < _ENOUGH:
        return False
    for row in channels:
        step = float(row.abs().max()) / 127
        if step == 0:
            continue
        if float((row / step - (row / step).round()).abs().max()) > 1e-3:
            return False
    return True


def _quantisation(piece: Piece, finding: WeightFinding) -> tuple[str, str] | None:
    source = piece.around.stored_as(finding.source)
    quantised = source is not None and "int" in source
    if finding.relation == "offset" and quantised:
        return "zero point", "zero point ignored or off"
    if finding.relation == "ratio by channel" and quantised:
        return "per-channel scales permuted", "scales permuted"
    return None


def _scaled(piece: Piece, finding: WeightFinding) -> tuple[str, str] | None:
    names = {
        "ratio": "weights scaled", "negated": "weights negated", "offset": "weights shifted",
        "ratio by channel": "channels scaled", "constant": "weights constant",
        "not finite": "weights not finite", "elements": "single weights changed",
        "near": "weights off", "unrelated": "unrelated weights",
    }  # fmt: skip
    name = names.get(finding.relation, "weights off")
    return name, name


_SINGLE: tuple[Rule, ...] = (
    _epsilon, _bias, _statistic, _channels, _axes, _elsewhere, _precision, _quantisation, _scaled,
)  # fmt: skip


_EXPLANATIONS = {
    "another weight set": "A checkpoint holds its weights twice: as trained (raw), and averaged "
    "over training (EMA), which the published accuracy is of. The averages include the batch "
    "norms' statistics.",
    "gamma and beta swapped": "TensorFlow's batch norm has gamma (PyTorch: weight) and beta "
    "(bias).",
    "mean and variance swapped": "moving_mean is running_mean, moving_variance is running_var.",
    "batch norm left out": "The batch norm was never filled, or was expected to be folded.",
    "batch norm folded twice": "The source's kernel holds the batch norm's factor already; it "
    "must not be applied again.",
    "squeeze-excite reduce and expand swapped": "Both kernels of a squeeze-excite have as many "
    "values; only their order tells them apart.",
    "class offset": "Networks of slim count a background class, 0: class i of 1000 is i + 1 of "
    "1001.",
    "classes permuted": "The classifier's rows are in another order than the source's labels.",
    "batch-norm epsilon": "PyTorch's default is 1e-5, TensorFlow's and Keras's 1e-3. The epsilon "
    "is no weight: it must be set when the network is built.",
    "bias missing": "A bias that the port does not fill stays 0.",
    "bias doubled": "A bias was added to one that was there, or folded twice.",
    "variance for its root or square": "PyTorch's running_var is the variance; some formats "
    "store the deviation or its inverse.",
    "function of the source's weights": "The values went through a function on their way.",
    "RGB for BGR": "The first convolution's input channels are in the order that the pixels have.",
    "depthwise multiplier order": "TensorFlow stores a depthwise kernel as height, width, input, "
    "multiplier: channel i * multiplier + j of PyTorch is [..., i, j].",
    "flattened in another order": "TensorFlow flattens height, width, channels; PyTorch "
    "channels, height, width. The columns of the dense layer behind must be reordered.",
    "groups interleaved": "A grouped convolution's channels are group by group.",
    "channels permuted": "Channels are in other places than the source's.",
    "kernel transposed": "TensorFlow's kernels are height, width, input, output; PyTorch's are "
    "output, input, height, width. Where height and width are exchanged no shape tells.",
    "kernel flipped": "Both frameworks compute a correlation: kernels are not to be flipped.",
    "dense layer transposed": "TensorFlow's dense kernel is (inputs, outputs), PyTorch's "
    "(outputs, inputs).",
    "input and output channels swapped": "TensorFlow's kernels are height, width, input, output; "
    "PyTorch's output, input, height, width.",
    "weights reordered": "The values are the source's, in another order: reshaped where they "
    "should have been transposed.",
    "two layers swapped": "Layers of one shape are told apart by their names or their place alone.",
    "another layer's weights": "Layers of one shape are told apart by their names or their place "
    "alone.",
    "weights rounded": "The weights were stored in a shorter type on their way.",
    "zero point": "A quantised weight stands for scale * (q - zero point).",
    "per-channel scales permuted": "A weight that is quantised by channel has a scale for each; "
    "which axis they belong to is stated beside them.",
    "weights scaled": "All values are multiples of the source's.",
    "weights negated": "All values have the other sign.",
    "weights shifted": "All values differ by one summand.",
    "channels scaled": "Each channel is a multiple of the source's, as a batch norm or a scale "
    "makes it.",
    "weights constant": "The weights hold one value everywhere: they were never filled.",
    "weights not finite": "The weights hold NaN or infinities.",
    "single weights changed": "Most values are the source's.",
    "weights off": "The values lie near the source's: another training step, or arithmetic on the "
    "way.",
    "unrelated weights": "The values have nothing to do with the source's: another file, or never "
    "filled.",
}

WEIGHTS = Family(_EXPLANATIONS, hypotheses)
