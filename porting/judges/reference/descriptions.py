"""Networks as their authors' tables describe them, resolved into steps.

A third reading, beside the network's own (``genmobilenet.config``) and the judge's (``blocks.py``
and ``slim.py`` here), which both begin from one block string: strides, declared inputs,
activations and residuals reach them from one place. This one begins from other tables, and takes
nothing from those modules.

Sources of the rules: ``round_filters``, ``MnasBlock._build`` and ``MnasNetModel._build`` in
tensorflow/tpu ``mnasnet_model.py``; ``mobilenet_v1_base``, ``depth_multiplier``,
``_make_divisible``, ``expanded_conv`` and ``squeeze_excite`` in slim's ``mobilenet_v1.py``,
``mobilenet/mobilenet.py`` and ``mobilenet/conv_blocks.py``; the heads in slim's
``mobilenet_v2.py`` and ``mobilenet_v3.py``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby

from porting.judges.reference import published_tables as tables
from porting.judges.reference.published_tables import FIGURES, Figures
from porting.judges.reference.steps import SAME, SIXTH, Step, Steps


@dataclass(frozen=True)
class DescribedBlock:
    """One block with every width decided.

    ``path`` is its place in the PyTorch network. ``expanded`` is 0 where no convolution expands,
    ``squeeze`` 0 without squeeze-excite. ``activation`` stands behind the expansion and the
    depthwise convolution and, where ``activates_last``, behind the pointwise one.
    """

    path: str
    inputs: int
    expanded: int
    outputs: int
    kernel: int
    stride: int
    squeeze: int
    residual: bool
    activation: str
    activates_last: bool = False


@dataclass(frozen=True)
class Description:
    """A network as it is described outside this package.

    ``title`` and ``cited`` say which and where, ``multiplier`` is its width multiplier, None for
    a network that has none. ``last`` is V3's 1x1 convolution before the pooling, 0 for none;
    ``head`` the channels of the head, 0 for none, and ``pools_first`` says that it stands behind
    the pooling, with a bias. ``figures`` are those stated of it, None where none are.
    """

    title: str
    cited: str
    multiplier: float | None
    stem: int
    blocks: tuple[DescribedBlock, ...]
    last: int
    head: int
    pools_first: bool
    activation: str
    gate: str
    gate_number: float
    figures: Figures | None = None
    stated_at: int = 224
    stated_classes: int = 1000

    @property
    def name(self) -> str:
        """The network with its multiplier."""
        whole = self.multiplier in (None, 1)
        return self.title if whole else f"{self.title} at {self.multiplier:g}"

    def steps(self, channels: int, classes: int, gate_number: float | None = None) -> Steps:
        """The network for images of ``channels`` and with ``classes`` outputs.

        ``gate_number`` is the constant of the squeeze-excites' hard sigmoid, by default that of
        the authors' code.
        """
        return _Writer(self, channels, gate_number or self.gate_number).write(classes)


def descriptions_of(model: str) -> tuple[Description, ...]:
    """What is described under a network's name (``tf_`` in front or not), the usual form first.

    Several where the network is published with heads of several widths; empty where nothing
    outside this package describes it.
    """
    plain = model.removeprefix("tf_")
    family, multiplier = _split(plain)
    if family not in FAMILIES:
        return ()
    usual, *others = FAMILIES[family](multiplier)
    return replace(usual, figures=FIGURES.get(plain)), *others


def _split(plain: str) -> tuple[str, float | None]:
    """``mobilenetv2_035`` -> the family and 0.35; a name that is listed whole has no multiplier."""
    parts = None if plain in FAMILIES else re.fullmatch(r"(.+)_(\d)(\d\d)", plain)
    return (plain, None) if parts is None else (parts[1], float(f"{parts[2]}.{parts[3]}"))


def round_to_eighths(channels: float) -> int:
    """A width as a multiple of 8, not below 8, and not below nine tenths of itself."""
    eights = max(1, int(channels + 4) // 8)
    return 8 * (eights + 1) if 8 * eights < 0.9 * channels else 8 * eights


# --- Google's MnasNet code ---


def _mnasnet(
    title: str, function: str, rows: tuple[tables.MnasRow, ...], multiplier: float | None,
    stem: int = 32, side: int = 224,
) -> tuple[Description, ...]:  # fmt: skip
    citation = f"{function} of tensorflow/tpu's mnasnet_models.py"
    return (_mnas_description(title, citation, rows, multiplier, stem, side),)


def _mnas_description(
    title: str, citation: str, rows: tuple[tables.MnasRow, ...], multiplier: float | None,
    stem: int, side: int,
) -> Description:  # fmt: skip
    def scale(channels: int) -> int:
        return round_to_eighths(channels * multiplier) if multiplier else channels

    blocks = tuple(_mnas_blocks(rows, scale, scale(stem), side // 2))
    return Description(
        title, citation, multiplier, scale(stem), blocks, last=0, head=1280, pools_first=False,
        activation="relu", gate="sigmoid", gate_number=0.0, stated_at=side,
    )  # fmt: skip


def _mnas_blocks(
    rows: tuple[tables.MnasRow, ...],
    scale: Callable[[int], int],
    channels: int,
    side: int,
) -> Iterator[DescribedBlock]:
    for stage, row in enumerate(rows):
        nominal, outputs = scale(row.inputs), scale(row.filters)
        for layer in range(row.layers):
            stride = side // row.side
            yield DescribedBlock(
                path=f"blocks.{stage}.{layer}",
                inputs=channels,
                expanded=nominal * row.expansion if row.expansion != 1 else 0,
                outputs=outputs,
                kernel=row.kernel,
                stride=stride,
                squeeze=max(1, int(nominal * row.squeeze)) if row.squeeze else 0,
                residual=row.identity and stride == 1 and nominal == outputs,
                activation="relu",
            )
            channels = nominal = outputs
            side = row.side


def _single_path(multiplier: float | None) -> tuple[Description, ...]:
    """The layers that the search chose, between the first row and the last of MNASNet-B1."""
    stages: list[tuple[tables.MnasRow, ...]] = [tables.MNASNET_B1[:1]]
    inputs = tables.MNASNET_B1[0].filters
    for group in tables.SINGLE_PATH:
        layers = []
        for choice in group.choices:
            sides, expansion = choice.split("-")
            kernel = int(sides.split("x")[0])
            row = tables.MnasRow(
                group.side, kernel, int(expansion), group.filters, 1, 0, inputs, True
            )
            layers.append(row)
            inputs = group.filters
        stages.append(tuple(layers))
    stages.append(tables.MNASNET_B1[-1:])
    rows = tuple(row for stage in stages for row in stage)
    description = _mnas_description(
        "Single-Path NAS",
        "parse_netarch.py of dstamoulis/single-path-nas",
        rows, None, 32, 224,
    )  # fmt: skip
    paths = [f"blocks.{n}.{i}" for n, stage in enumerate(stages) for i in range(len(stage))]
    blocks = zip(description.blocks, paths, strict=True)
    return (replace(description, blocks=tuple(replace(block, path=p) for block, p in blocks)),)


# --- slim's MobileNets ---


def _v1(multiplier: float | None) -> tuple[Description, ...]:
    def scale(channels: int) -> int:
        return max(int(channels * (multiplier or 1.0)), 8)

    rows, channels, side = tables.MOBILENET_V1, scale(32), 112
    blocks = []
    for path, row in zip(_paths([row.channels for row in rows]), rows, strict=True):
        outputs = scale(row.channels)
        blocks.append(
            DescribedBlock(path, channels, 0, outputs, 3, side // row.side, 0, False, "relu6", True)
        )
        channels, side = outputs, row.side
    return (
        Description(
            "MobileNet V1", "table 1 of arXiv:1704.04861 and slim's mobilenet_v1.py", multiplier,
            scale(32), tuple(blocks), last=0, head=0, pools_first=False, activation="relu6",
            gate="", gate_number=0.0, stated_classes=1001,
        ),
    )  # fmt: skip


def _v2(multiplier: float | None) -> tuple[Description, ...]:
    alpha = multiplier or 1.0
    blocks, channels = [], round_to_eighths(32 * alpha)
    for stage, row in enumerate(tables.MOBILENET_V2):
        outputs = round_to_eighths(row.c * alpha)
        for number in range(row.n):
            stride = row.s if number == 0 else 1
            expanded = round_to_eighths(channels * row.t) if row.t > 1 else 0
            residual = stride == 1 and channels == outputs
            blocks.append(
                DescribedBlock(
                    f"blocks.{stage}.{number}", channels, expanded, outputs, 3, stride, 0,
                    residual, "relu6",
                )
            )  # fmt: skip
            channels = outputs
    return (
        Description(
            "MobileNet V2", "table 2 of arXiv:1801.04381 and slim's mobilenet_v2.py", multiplier,
            round_to_eighths(32 * alpha), tuple(blocks), last=0,
            # finegrain_classification_mode: the head is not narrowed.
            head=round_to_eighths(1280 * max(alpha, 1.0)), pools_first=False, activation="relu6",
            gate="", gate_number=0.0, stated_classes=1001,
        ),
    )  # fmt: skip


def _v3(
    size: str, rows: tuple[tables.Bneck, ...], table: int, minimalistic: bool,
    multiplier: float | None,
) -> tuple[Description, ...]:  # fmt: skip
    """V3 as Google's files have it and, below 1, with the head that slim's code scales by itself.

    Minimalistic: 3x3 kernels, ReLU and no squeeze-excite; the widths are the table's.
    """
    alpha = multiplier or 1.0
    activation = "relu" if minimalistic else "hard_swish"
    words = {"RE": "relu", "HS": activation}
    blocks, channels, nominal = [], round_to_eighths(16 * alpha), 16
    for path, row in zip(_paths([row.out for row in rows]), rows, strict=True):
        # The code has factors, such as 184/80: of the scaled input, and rounded.
        expansion = round_to_eighths(channels * row.exp_size / nominal)
        outputs = round_to_eighths(row.out * alpha)
        has_squeeze = row.squeezed and not minimalistic
        blocks.append(
            DescribedBlock(
                path, channels, expansion if expansion > channels else 0, outputs,
                3 if minimalistic else row.kernel, row.stride,
                round_to_eighths(expansion / 4) if has_squeeze else 0,
                row.stride == 1 and channels == outputs, words[row.nonlinearity],
            )
        )  # fmt: skip
        channels, nominal = outputs, row.out
    head = tables.V3_HEAD[size]
    form = "_MINIMALISTIC" if minimalistic else ""
    usual = Description(
        f"MobileNet V3 {size.capitalize()}{' minimalistic' if minimalistic else ''}",
        f"table {table} of arXiv:1905.02244 and V3_{size.upper()}{form} of slim's mobilenet_v3.py",
        multiplier, round_to_eighths(16 * alpha), tuple(blocks),
        last=round_to_eighths(tables.LAST_CONVOLUTION[size] * alpha),
        head=round_to_eighths(head * max(alpha, 1.0)), pools_first=True, activation=activation,
        gate="hard_sigmoid", gate_number=tables.SLIM_GATE, stated_classes=1001,
    )  # fmt: skip
    return (usual, replace(usual, head=round_to_eighths(head * alpha))) if alpha < 1 else (usual,)


def _paths(widths: list[int]) -> Iterator[str]:
    """Blocks in a row of one width, before any multiplier, make a stage."""
    for stage, (_, group) in enumerate(groupby(widths)):
        yield from (f"blocks.{stage}.{number}" for number, _ in enumerate(group))


_LARGE, _SMALL = tables.MOBILENET_V3_LARGE, tables.MOBILENET_V3_SMALL

FAMILIES: dict[str, Callable[[float | None], tuple[Description, ...]]] = {
    "mnasnet": lambda m: _mnasnet("MNASNet-B1", "mnasnet_b1", tables.MNASNET_B1, m),
    "semnasnet": lambda m: _mnasnet("MNASNet-A1", "mnasnet_a1", tables.MNASNET_A1, m),
    "mnasnet_small": lambda m: _mnasnet(
        "MNASNet-small", "mnasnet_small", tables.MNASNET_SMALL, m, stem=8
    ),
    "mnasnet_d1": lambda m: _mnasnet("MNASNet-D1", "mnasnet_d1", tables.MNASNET_D1, m),
    "mnasnet_d1_320": lambda m: _mnasnet(
        "MNASNet-D1-320", "mnasnet_d1_320", tables.MNASNET_D1_320, m, side=320
    ),
    "spnasnet_100": _single_path,
    "mobilenetv1": _v1,
    "mobilenetv2": _v2,
    "mobilenetv3_large": lambda m: _v3("large", _LARGE, 1, False, m),
    "mobilenetv3_small": lambda m: _v3("small", _SMALL, 2, False, m),
    "mobilenetv3_large_minimal": lambda m: _v3("large", _LARGE, 1, True, m),
    "mobilenetv3_small_minimal": lambda m: _v3("small", _SMALL, 2, True, m),
}  # fmt: skip
"""Name without its multiplier -> what describes it."""


class _Writer:
    """Writes a description's steps in the order of execution."""

    def __init__(self, description: Description, channels: int, gate_number: float) -> None:
        self.description, self.gate_number = description, gate_number
        self.steps = [Step("image", (), channels)]

    def write(self, classes: int) -> Steps:
        about = self.description
        x = self.layer(0, "conv", "conv_stem", "bn1", about.stem, 3, 2)
        x = self.activation(x, about.activation, "act1")
        for block in about.blocks:
            x = self.block(x, block)
        if about.last:
            stage = 1 + int(about.blocks[-1].path.split(".")[1])
            path = f"blocks.{stage}.0"
            x = self.layer(x, "conv", f"{path}.conv", f"{path}.bn1", about.last, 1, 1)
            x = self.activation(x, about.activation, f"{path}.act1")
        if about.head and not about.pools_first:
            x = self.layer(x, "conv", "conv_head", "bn2", about.head, 1, 1)
            x = self.activation(x, about.activation, "act2")
        x = self.add("mean", x, place="global_pool")
        if about.head and about.pools_first:
            x = self.layer(x, "conv", "conv_head", None, about.head, 1, 1)
            x = self.activation(x, about.activation, "act2")
        self.layer(x, "conv", "classifier", None, classes, 1, 1)
        return tuple(self.steps)

    def block(self, x: int, block: DescribedBlock) -> int:
        entry, path, number = x, block.path, 1
        if block.expanded:
            x = self.layer(x, "conv", f"{path}.conv_pw", f"{path}.bn1", block.expanded, 1, 1)
            x = self.activation(x, block.activation, f"{path}.act1")
            number = 2
        width = self.steps[x].channels
        x = self.layer(
            x, "depthwise", f"{path}.conv_dw", f"{path}.bn{number}", width, block.kernel,
            block.stride,
        )  # fmt: skip
        x = self.activation(x, block.activation, f"{path}.act{number}")
        if block.squeeze:
            x = self.squeeze(x, block)
        conv = f"{path}.conv_pwl" if block.expanded else f"{path}.conv_pw"
        x = self.layer(x, "conv", conv, f"{path}.bn{number + 1}", block.outputs, 1, 1)
        if block.activates_last:
            x = self.activation(x, block.activation, f"{path}.act{number + 1}")
        return self.add("add", x, entry, place=path) if block.residual else x

    def squeeze(self, x: int, block: DescribedBlock) -> int:
        path, gate = f"{block.path}.se", self.description.gate
        y = self.add("mean", x, place=f"{path}.pool")
        y = self.layer(y, "conv", f"{path}.conv_reduce", None, block.squeeze, 1, 1)
        y = self.activation(y, "relu", f"{path}.act1")
        width = self.steps[x].channels
        y = self.layer(y, "conv", f"{path}.conv_expand", None, width, 1, 1)
        number = self.gate_number if gate == "hard_sigmoid" else 0.0
        y = self.add(gate, y, number=number, place=f"{path}.gate")
        return self.add("multiply", y, x, place=path)

    def layer(
        self, x: int, kind: str, path: str, norm: str | None, channels: int, kernel: int,
        stride: int,
    ) -> int:  # fmt: skip
        """A convolution with the batch norm at ``norm``, or with a bias."""
        layer = Step(kind, (x,), channels, (kernel, kernel), (stride, stride), SAME, place=path)
        self.steps.append(layer)
        x = len(self.steps) - 1
        if norm is None:
            return self.add("bias", x, place=path)
        return self.add("norm", x, number=tables.EPSILON, place=norm)

    def activation(self, x: int, kind: str, place: str) -> int:
        return self.add(kind, x, number=SIXTH if kind == "hard_swish" else 0.0, place=place)

    def add(self, kind: str, *inputs: int, number: float = 0.0, place: str) -> int:
        """A step that keeps the channels of what it takes."""
        channels = self.steps[inputs[0]].channels
        self.steps.append(Step(kind, inputs, channels, number=number, place=place))
        return len(self.steps) - 1
