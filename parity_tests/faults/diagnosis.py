"""Plant faults and print which the diagnosis names, and where: ``make diagnosis``.

Every kind of fault is planted in ports of several sources, at a layer chosen at random or
everywhere, some two at a time, some too small to matter, some none at all. The diagnosis is not
told. ``--out`` writes the table as Markdown. Exits with 1 where a cause is named that is not there.
"""

from __future__ import annotations

import argparse
import copy
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from torch import nn
from torch.nn import functional as F

from parity_tests.faults import fault_kinds
from parity_tests.faults.__main__ import subjects
from parity_tests.faults.cases import Subject
from porting.graph.layers import Layer
from porting.parity.diagnosis.cause import Diagnosis
from porting.parity.diagnosis.engine import diagnose_port
from porting.parity.inputs import image_stream

HARMLESS = 1e-6
"""A fault that changes logits by less, over their scale, need not be named."""

Plant = Callable[[Subject, nn.Module, np.random.Generator], "str | None"]
"""Plants a fault in a network; returns its place, empty for everywhere, None where there is no
layer to which it applies."""


@dataclass(frozen=True)
class Kind:
    """A fault, and the causes that are right for it."""

    plant: Plant
    causes: tuple[str, ...]


def _in_layer(change: fault_kinds.Change, applies: Callable[[Layer], bool]) -> Plant:
    def plant(subject: Subject, network: nn.Module, generator: np.random.Generator) -> str | None:
        layers = [layer for layer in subject.layers if applies(layer)]
        if not layers:
            return None
        layer = layers[int(generator.integers(len(layers)))]
        change(network, layer, generator)
        return layer.path

    return plant


def _everywhere(change: Callable[[nn.Module], None]) -> Plant:
    def plant(_subject: Subject, network: nn.Module, _generator: np.random.Generator) -> str:
        with torch.no_grad():
            change(network)
        return ""

    return plant


def _norms(change: Callable[[nn.BatchNorm2d], None]) -> Plant:
    """A change of one batch norm that is one: a source may have folded it."""

    def plant(_subject: Subject, network: nn.Module, generator: np.random.Generator) -> str | None:
        norms = {
            path: part
            for path, part in network.named_modules()
            if isinstance(part, nn.BatchNorm2d) and float(part.running_var.std()) > 0
        }
        if not norms:
            return None
        path = list(norms)[int(generator.integers(len(norms)))]
        with torch.no_grad():
            change(norms[path])
        return path

    return plant


def _unless_folded(change: Callable[[nn.Module], None]) -> Plant:
    """A change of all batch norms, of which a source that has folded them leaves none."""

    def plant(_subject: Subject, network: nn.Module, _generator: np.random.Generator) -> str | None:
        if float(network.bn1.running_var.std()) == 0:
            return None
        with torch.no_grad():
            change(network)
        return ""

    return plant


def _swap_affine(norm: nn.BatchNorm2d) -> None:
    gamma = norm.weight.clone()
    norm.weight.copy_(norm.bias)
    norm.bias.copy_(gamma)


def _symmetric(network: nn.Module) -> None:
    for part in network.modules():
        if type(part).__name__ == "Conv2dSame":
            part.__class__ = nn.Conv2d
            part.padding = ((part.kernel_size[0] - 1) // 2,) * 2


def _reversed_pixels(network: nn.Module) -> None:
    network.register_forward_pre_hook(lambda _m, args: (args[0].flip(1),))


def _normalised_twice(network: nn.Module) -> None:
    network.register_forward_pre_hook(lambda _m, args: ((args[0] - 0.45) / 0.22,))


def _softmax(subject: Subject, network: nn.Module, _generator: np.random.Generator) -> str | None:
    if "softmax" in subject.judge_set.names:
        return None  # the source ends so itself, and both are compared
    network.register_forward_hook(lambda _m, _args, output: output.softmax(-1))
    return ""


def _training(network: nn.Module) -> None:
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.__class__ = _BatchStatistics


class _BatchStatistics(nn.BatchNorm2d):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean, variance = self.running_mean.clone(), self.running_var.clone()
        return F.batch_norm(x, mean, variance, self.weight, self.bias, True, 0.0, self.eps)


def _autocast(network: nn.Module) -> None:
    plain = type(network).forward

    def forward(self: nn.Module, x: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return plain(self, x).float()

    network.__class__ = type("Autocast", (type(network),), {"forward": forward})


def _half(network: nn.Module) -> None:
    network.half().float()


def _int8(network: nn.Module) -> None:
    for part in network.modules():
        if isinstance(part, nn.Conv2d):
            step = part.weight.abs().amax((1, 2, 3), keepdim=True).clamp_min(1e-12) / 127
            part.weight.copy_((part.weight / step).round() * step)


def _int8_of_floats(
    subject: Subject, network: nn.Module, _generator: np.random.Generator
) -> str | None:
    if getattr(subject.source, "quantised_weights", False):
        return None  # on a grid already: rounding it to another is no rounding to int8
    with torch.no_grad():
        _int8(network)
    return ""


def _bgr_weights(network: nn.Module) -> None:
    network.conv_stem.weight.copy_(network.conv_stem.weight.flip(1).clone())


def _rows(order: Callable[[int], torch.Tensor]) -> Callable[[nn.Module], None]:
    def change(network: nn.Module) -> None:
        layer = network.classifier
        index = order(len(layer.bias))
        layer.weight.copy_(layer.weight[index].clone())
        layer.bias.copy_(layer.bias[index].clone())

    return change


def _momentum(network: nn.Module) -> None:
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = 0.99


def _roots(network: nn.Module) -> None:
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_var.sqrt_()


def _max_pool(network: nn.Module) -> None:
    network.global_pool = nn.AdaptiveMaxPool2d(1)


def _stride(subject: Subject, network: nn.Module, generator: np.random.Generator) -> str | None:
    blocks = [
        block
        for block in subject.layers.blocks
        if block.block.stride == 2 and {"expand", "depthwise"} <= {*block.main}
    ]
    if not blocks:
        return None
    block = blocks[int(generator.integers(len(blocks)))]
    network.get_submodule(block.main["expand"].path).stride = (2, 2)
    network.get_submodule(block.main["depthwise"].path).stride = (1, 1)
    return block.block.path


def _residual(expected: bool) -> Plant:
    def plant(subject: Subject, network: nn.Module, generator: np.random.Generator) -> str | None:
        blocks = [
            b.block.path for b in subject.layers.blocks
            if b.block.residual == expected and b.block.stride == 1
            and b.block.in_channels == b.block.out_channels
        ]  # fmt: skip
        if not blocks:
            return None
        path = blocks[int(generator.integers(len(blocks)))]
        network.get_submodule(path).residual = not expected
        return path

    return plant


def _gate(change: Callable[[nn.Module, object], None]) -> Plant:
    def plant(subject: Subject, network: nn.Module, generator: np.random.Generator) -> str | None:
        blocks = [b for b in subject.layers.blocks if b.squeeze]
        if not blocks:
            return None
        block = blocks[int(generator.integers(len(blocks)))]
        change(network, block)
        return block.block.path

    return plant


def _squeeze_swapped(
    subject: Subject, network: nn.Module, generator: np.random.Generator
) -> str | None:
    blocks = [b for b in subject.layers.blocks if b.squeeze]
    if not blocks:
        return None
    block = blocks[int(generator.integers(len(blocks)))]
    reduce, expand = (network.get_submodule(layer.path).weight for layer in block.squeeze)
    with torch.no_grad():
        values = reduce.clone()
        reduce.copy_(expand.reshape(reduce.shape).clone())
        expand.copy_(values.reshape(expand.shape))
    return block.block.path


def _two_layers(subject: Subject, network: nn.Module, generator: np.random.Generator) -> str | None:
    pairs = [(x, fault_kinds.same_shape(subject.layers, x)) for x in subject.layers]
    pairs = [pair for pair in pairs if pair[1] is not None]
    if not pairs:
        return None
    layer, other = pairs[int(generator.integers(len(pairs)))]
    one, two = (fault_kinds.weight_of(network, x) for x in (layer, other))
    with torch.no_grad():
        values = one.clone()
        one.copy_(two)
        two.copy_(values)
    return layer.path


def _other_set(subject: Subject, network: nn.Module, _generator: np.random.Generator) -> str | None:
    if subject.other_state is None:
        return None
    network.load_state_dict(subject.other_state)
    return ""


def _other_statistics(
    subject: Subject, network: nn.Module, _generator: np.random.Generator
) -> str | None:
    if subject.other_state is None:
        return None
    state = {
        k: v for k, v in subject.other_state.items() if ".running_" in k or k[:9] == "running_"
    }
    network.load_state_dict({**network.state_dict(), **state})
    return ""


_BY_LAYER = {
    "weight scaled by 1.05": ("weights scaled",),
    "weight scaled by 1.0001": ("weights scaled",),
    "two output channels exchanged": ("channels permuted", "classes permuted"),
    # Two of the three colours, red and blue, exchanged are BGR.
    "two input channels exchanged": ("channels permuted", "RGB for BGR"),
    "kernel transposed": ("kernel transposed",),
    "kernel flipped": ("kernel flipped",),
    "one channel's sign": ("channels scaled", "single weights changed"),
    "one weight zeroed": ("single weights changed",),
    "weight rounded to bfloat16": ("weights rounded",),
    "weight rounded to float16": ("weights rounded",),
    "padding on the other side": ("padding",),
    "one bias shifted": ("single weights changed", "weights shifted", "weights off"),
    "biases missing": ("bias missing",),
    "epsilon 1e-5 in one batch norm": ("batch-norm epsilon",),
    "ReLU6 for ReLU": ("activation",),
    "ReLU for ReLU6": ("activation",),
    "ReLU6 for hard-swish": ("activation",),
    "swish for hard-swish": ("activation",),
    "leaky ReLU for ReLU": ("activation",),
}

KINDS: dict[str, Kind] = {
    **{
        name: Kind(_in_layer(fault.change, fault.applies), _BY_LAYER[name])
        for name, fault in fault_kinds.LAYER_FAULTS.items()
    },
    "epsilon 1e-5 everywhere": Kind(
        _everywhere(fault_kinds.SPREAD["epsilon 1e-5 everywhere"]), ("batch-norm epsilon",)
    ),
    "symmetric padding": Kind(_everywhere(_symmetric), ("padding",)),
    "gamma and beta swapped": Kind(_norms(_swap_affine), ("gamma and beta swapped",)),
    "variance for its root": Kind(_unless_folded(_roots), ("variance for its root or square",)),
    "batch norm left out": Kind(
        _norms(lambda norm: norm.reset_parameters()), ("batch norm left out",)
    ),
    "batch norm in training mode": Kind(
        _everywhere(_training), ("batch norm in training mode",)
    ),
    "autocast": Kind(_everywhere(_autocast), ("autocast",)),
    "float16 weights": Kind(_everywhere(_half), ("weights rounded",)),
    "int8 kernels": Kind(_int8_of_floats, ("weights rounded",)),
    "BGR kernel": Kind(_everywhere(_bgr_weights), ("RGB for BGR",)),
    "BGR pixels": Kind(_everywhere(_reversed_pixels), ("RGB for BGR",)),
    "normalised twice": Kind(_everywhere(_normalised_twice), ("input normalisation",)),
    "softmax for logits": Kind(_softmax, ("softmax for logits",)),
    "class offset": Kind(
        _everywhere(_rows(lambda n: torch.arange(n).roll(1))), ("class offset",)
    ),
    "classes permuted": Kind(
        _everywhere(_rows(lambda n: torch.arange(n).flip(0))), ("classes permuted",)
    ),
    "max for mean": Kind(_everywhere(_max_pool), ("pooling",)),
    "stride on the wrong convolution": Kind(_stride, ("stride",)),
    "residual missing": Kind(_residual(True), ("residual missing",)),
    "residual added": Kind(_residual(False), ("residual added",)),
    "gate not clipped": Kind(_gate(fault_kinds.unclip_gate), ("squeeze-excite gate",)),
    "gate exchanged": Kind(_gate(fault_kinds.exchange_gate), ("squeeze-excite gate",)),
    "gate open": Kind(_gate(fault_kinds.open_gate), ("squeeze-excite gate",)),
    "squeeze-excite kernels swapped": Kind(
        _squeeze_swapped, ("squeeze-excite reduce and expand swapped",)
    ),
    "two layers swapped": Kind(_two_layers, ("two layers swapped",)),
    "raw for EMA": Kind(_other_set, ("another weight set",)),
    "EMA with raw statistics": Kind(_other_statistics, ("another weight set",)),
    "dropout active": Kind(
        _in_layer(fault_kinds.UNSOUND["dropout that stays active"],
                  lambda x: x.activation != "none" and ".se." not in x.path),
        ("dropout active",),
    ),
    "random noise": Kind(
        _in_layer(fault_kinds.UNSOUND["random noise"],
                  lambda x: x.activation != "none" and ".se." not in x.path),
        ("random noise",),
    ),
}  # fmt: skip

NONE = {
    "healthy": _everywhere(lambda _network: None),
    "momentum": _everywhere(_momentum),
    "below rounding": _everywhere(fault_kinds.everywhere(fault_kinds._scale_all(1 + 3e-8))),
}
"""What must be named nothing."""


@dataclass(frozen=True)
class Outcome:
    """A case, what was planted where, and what was named."""

    source: str
    kinds: tuple[str, ...]
    places: tuple[str, ...]
    diagnosis: Diagnosis

    @property
    def named(self) -> tuple[bool, ...]:
        """Of each planted fault whether its cause is named, at its place."""
        return tuple(
            any(
                cause.cause in KINDS[kind].causes
                and (not place or any(_is_at(place, at) for at in cause.places))
                for cause in self.diagnosis.causes
            )
            for kind, place in zip(self.kinds, self.places, strict=True)
        )

    @property
    def wrong(self) -> tuple[str, ...]:
        """Causes that were named and were not planted."""
        right = {cause for kind in self.kinds for cause in KINDS[kind].causes}
        return tuple(c.cause for c in self.diagnosis.causes if c.cause not in right)

    @property
    def right(self) -> bool:
        """Whether all is named, and nothing else."""
        return all(self.named) and not self.wrong


def _is_at(place: str, named: str) -> bool:
    """Whether a named place is the planted one: the layer, its batch norm or its block."""
    block = ".".join(place.split(".")[:3]) if place.startswith("blocks.") else place
    if place in named or named in place or named.startswith(f"{block}."):
        return True
    # The stem's and the head's batch norms and activations have names of their own.
    own = {"conv_stem": ("bn1", "act1"), "conv_head": ("bn2", "act2", "norm_head")}
    return any(named.startswith(name) for name in own.get(place, ()))


def cases(ports: list[Subject], count: int, generator: np.random.Generator) -> Iterator[Outcome]:
    """So many cases: of six five have one fault and one has two; every eighth has none."""
    names = list(KINDS)
    order: list[str] = []
    for number in range(count):
        subject = ports[int(generator.integers(len(ports)))]
        network = copy.deepcopy(subject.network)
        torch.manual_seed(number)
        if number % 8 == 7:
            name = list(NONE)[int(generator.integers(len(NONE)))]
            NONE[name](subject, network, generator)
            yield Outcome(subject.name, (), (), _diagnosed(subject, network))
            continue
        kinds, places = [], []
        while len(kinds) < 1 + (number % 6 == 5):
            if not order:
                order = [names[i] for i in generator.permutation(len(names))]
            candidate, kind = copy.deepcopy(network), order.pop()
            # Of two faults, one that makes a forward meaningless hides the other.
            if kinds and kind in ("autocast", "dropout active", "random noise", "raw for EMA"):
                continue
            place = KINDS[kind].plant(subject, candidate, generator)
            if place is None or not _matters(subject, network, candidate):
                continue
            network = candidate
            kinds.append(kind)
            places.append(place)
        yield Outcome(subject.name, tuple(kinds), tuple(places), _diagnosed(subject, network))


def pixels_of(subject: Subject) -> list[np.ndarray]:
    """The images of ``porting diagnose``."""
    return list(
        image_stream(None, 10, subject.convention.size, subject.convention.channels).plain()
    )


def _diagnosed(subject: Subject, network: nn.Module) -> Diagnosis:
    return diagnose_port(
        subject.source, subject.match, network, subject.convention, pixels_of(subject)
    )


def _matters(subject: Subject, before: nn.Module, after: nn.Module) -> bool:
    """Whether a fault changes what a network returns."""
    pixels = np.stack(pixels_of(subject)[:2])
    one, other = (subject.logits(network, pixels) for network in (before, after))
    if one.shape != other.shape:
        return True
    distance = float((one - other).abs().nan_to_num(nan=np.inf).max())
    return distance > HARMLESS * float(one.abs().max())


def main() -> None:
    """Plant, diagnose, and print the score."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--cases", type=int, default=300)
    parser.add_argument("--source", default="", help="part of a source's name")
    parser.add_argument("--out", type=Path, help="Markdown file for the table")
    options = parser.parse_args()
    generator = np.random.default_rng(options.seed)
    outcomes = []
    with subjects() as ports:
        chosen = [subject for subject in ports if options.source in subject.name]
        for outcome in cases(chosen, options.cases, generator):
            outcomes.append(outcome)
            if not outcome.right:
                diagnosis = outcome.diagnosis
                print(
                    f"{outcome.source}: {outcome.kinds or 'nothing'} at {outcome.places}: "
                    f"{diagnosis.summary()} [{[c.places[:3] for c in diagnosis.causes]}]",
                    file=sys.stderr, flush=True,
                )  # fmt: skip
    text = score(outcomes, options.seed)
    Console(width=100, highlight=False).print(text, markup=False)
    if options.out is not None:
        options.out.write_text(text, encoding="utf-8")
    sys.exit(any(outcome.wrong for outcome in outcomes))


def score(outcomes: list[Outcome], seed: int) -> str:
    """The figures as Markdown."""
    single = [o for o in outcomes if len(o.kinds) == 1]
    double = [o for o in outcomes if len(o.kinds) == 2]
    none = [o for o in outcomes if not o.kinds]
    seconds = [o.diagnosis.seconds for o in outcomes]
    lines = [
        "# Faults named by `porting diagnose`",
        "",
        f"`python -m parity_tests.faults.diagnosis --seed {seed} --cases {len(outcomes)}`, on two "
        f"cores, ports of {len({o.source for o in outcomes})} sources.",
        "",
        "| What | Figure |",
        "|---|---|",
        f"| one fault: right cause and place, nothing else | {sum(o.right for o in single)} of "
        f"{len(single)} |",
        f"| two faults: both named | {sum(all(o.named) for o in double)} of {len(double)} |",
        f"| no fault, or one below rounding: nothing named | "
        f"{sum(not o.diagnosis.causes for o in none)} of {len(none)} |",
        f"| causes named that were not planted | {sum(len(o.wrong) for o in outcomes)} |",
        f"| seconds a case | median {np.median(seconds):.1f}, largest {max(seconds):.1f} |",
        "",
        "| Fault | Planted | Named | Named instead, or besides |",
        "|---|---|---|---|",
    ]
    planted: dict[str, list[tuple[bool, Outcome]]] = defaultdict(list)
    for outcome in outcomes:
        for kind, named in zip(outcome.kinds, outcome.named, strict=True):
            planted[kind].append((named, outcome))
    for kind in KINDS:
        entries = planted.get(kind, [])
        others = sorted({cause for _, o in entries for cause in o.wrong})
        lines.append(
            f"| {kind} | {len(entries)} | {sum(named for named, _ in entries)} | "
            f"{', '.join(others)} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
