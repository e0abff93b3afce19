"""A network as the mapping sees it: its layers in order and its canonical graph, without torch.

One :class:`Layer` is what TensorFlow calls a convolution or a dense layer,
together with the batch norm and the activation behind it. Rules and graph
alignment both map onto layers; only here is known which state-dict keys a
layer has.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from genmobilenet.arch import shares
from genmobilenet.config import Block, NetworkConfig
from porting.errors import UnsupportedNetwork
from porting.graph.node import NORM, Graph, ModuleLayer, ModuleNorm, Node, Tap, layer_kind

NORMALISES = "normalise"
"""Module path, and tap, of the normalisation in a network that normalises pixels itself."""

NORMALISATION = (f"{NORMALISES}.mean", f"{NORMALISES}.std")
"""Its state-dict keys."""


@dataclass(frozen=True)
class Layer:
    """One convolution or dense layer of the PyTorch network.

    ``kind`` is ``conv``, ``depthwise`` or ``dense``. ``norm`` is the path of
    the batch norm behind it, or None; a layer without one has a bias, unless ``bias`` is False.
    Of kind ``norm`` it is a batch norm by itself, whose path both are.
    ``tap`` is the path at which the layer's result, after norm and activation, can be
    seen. Of several ``kernels`` it is a mixed convolution, whose :attr:`parts` share the channels.
    """

    path: str
    kind: str
    kernel: int
    stride: int
    in_channels: int
    out_channels: int
    norm: str | None
    activation: str
    tap: str
    bias: bool = True
    kernels: tuple[int, ...] = ()

    @property
    def parts(self) -> tuple[Layer, ...]:
        """The convolutions of a mixed one, each of its share of the channels; of others itself."""
        if len(self.kernels) < 2:
            return (self,)
        count = len(self.kernels)
        widths = zip(shares(self.in_channels, count), shares(self.out_channels, count), strict=True)
        return tuple(
            replace(
                self, path=f"{self.path}.{number}", kernel=self.kernels[number], kernels=(),
                in_channels=inputs, out_channels=outputs, norm=None, bias=False,
                activation="none", tap=f"{self.path}.{number}",
            )
            for number, (inputs, outputs) in enumerate(widths)
        )  # fmt: skip

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """Shape of the weight in PyTorch's axis order (OIHW, or OI)."""
        if self.kind == "dense":
            return (self.out_channels, self.in_channels)
        inputs = 1 if self.kind == "depthwise" else self.in_channels
        return (self.out_channels, inputs, self.kernel, self.kernel)

    def shapes(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """State-dict keys and shapes of the layer and of its batch norm."""
        vector = (self.out_channels,)
        for part in self.parts if self.kind != "norm" else ():
            yield f"{part.path}.weight", part.weight_shape
        if self.norm is None:
            if self.bias:
                yield f"{self.path}.bias", vector
            return
        for name in ("weight", "bias", "running_mean", "running_var"):
            yield f"{self.norm}.{name}", vector
        yield f"{self.norm}.num_batches_tracked", ()

    def describe(self) -> str:
        """For messages: path, kind, kernel, stride, channels, activation."""
        if self.kind == "dense":
            return f"{self.path} (dense, {self.in_channels} -> {self.out_channels})"
        if self.kind == "norm":
            return f"{self.path} (batch norm of {self.in_channels} channels)"
        sides = " and ".join(f"{kernel}x{kernel}" for kernel in self.kernels or (self.kernel,))
        return (
            f"{self.path} ({self.kind} {sides}, stride {self.stride}, "
            f"{self.in_channels} -> {self.out_channels}, activation {self.activation})"
        )


_ROLES: dict[str, tuple[tuple[str, str, str, str | None], ...]] = {
    "ds": (
        ("depthwise", "conv_dw", "bn1", "act1"),
        ("project", "conv_pw", "bn2", None),
    ),
    "dsa": (
        ("depthwise", "conv_dw", "bn1", "act1"),
        ("project", "conv_pw", "bn2", "act2"),
    ),
    "ir": (
        ("expand", "conv_pw", "bn1", "act1"),
        ("depthwise", "conv_dw", "bn2", "act2"),
        ("project", "conv_pwl", "bn3", None),
    ),
    "cn": (("conv", "conv", "bn1", "act1"),),
    **dict.fromkeys(
        ("er", "erp"),
        (
            ("fused", "conv_exp", "bn1", "act1"),
            ("project", "conv_pwl", "bn2", None),
        ),
    ),
    "uir": (
        ("start", "dw_start.conv", "dw_start.bn", None),
        ("expand", "pw_exp.conv", "pw_exp.bn", "pw_exp.act"),
        ("depthwise", "dw_mid.conv", "dw_mid.bn", "dw_mid.act"),
        ("project", "pw_proj.conv", "pw_proj.bn", None),
        ("end", "dw_end.conv", "dw_end.bn", None),
    ),
}
"""Block type -> role, convolution, batch norm and activation of each layer, in order."""


@dataclass(frozen=True)
class BlockLayers:
    """The layers of one block by role; ``squeeze`` is empty where there is none."""

    block: Block
    main: dict[str, Layer]
    squeeze: tuple[Layer, ...]

    def __iter__(self) -> Iterator[Layer]:
        for role, layer in self.main.items():
            if role == "project":
                yield from self.squeeze
            yield layer


@dataclass(frozen=True)
class NetworkLayers:
    """All layers of a network, and its squeeze-excites' ``gate``.

    ``head`` is None where there is none; it ``pools_first`` where it stands
    behind the pooling, of kind ``pool``. ``hidden`` are the dense layers between these and the
    classifier, which is None for a network that gives features.
    """

    stem: Layer
    blocks: tuple[BlockLayers, ...]
    head: Layer | None
    hidden: tuple[Layer, ...]
    classifier: Layer | None
    pools_first: bool
    gate: str
    normalises: bool = False
    pool: str = "mean"

    def __iter__(self) -> Iterator[Layer]:
        yield self.stem
        for block in self.blocks:
            yield from block
        if self.head is not None:
            yield self.head
        yield from self.hidden
        if self.classifier is not None:
            yield self.classifier

    @property
    def gated(self) -> tuple[str, ...]:
        """Paths of the projections behind a squeeze-excite that is gated by a hard sigmoid."""
        if self.gate != "hard_sigmoid":
            return ()
        return tuple(block.main["project"].path for block in self.blocks if block.squeeze)

    @property
    def weight_count(self) -> int:
        """How many tensors a source of its weights holds: all but PyTorch's batch counters."""
        return sum(not key.endswith("_tracked") for layer in self for key, _ in layer.shapes())

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Every state-dict key of the network with its shape."""
        channels = (self.stem.in_channels,)
        buffers = dict.fromkeys(NORMALISATION, channels) if self.normalises else {}
        return {**buffers, **dict(pair for layer in self for pair in layer.shapes())}


def layers_of(config: NetworkConfig) -> NetworkLayers:
    """The layers of a configured network, in the order data passes them.

    Raises:
        UnsupportedNetwork: it has blocks that no TensorFlow source has.
    """
    blocks = tuple(_block_layers(block, config.squeeze_activation) for block in config.resolve())
    stem, act = config.stem, config.activation
    head = None
    if config.head != "none":
        channels = blocks[-1].block.out_channels
        norm = {"conv": "bn2", "norm_after_pool": "norm_head"}.get(config.head)
        head = Layer("conv_head", "conv", 1, 1, channels, config.head_width, norm, act, "act2")
    return NetworkLayers(
        Layer(
            "conv_stem", "conv", config.stem_kernel, config.stem_stride, config.in_chans, stem,
            "bn1", act, "act1",
        ),
        blocks,
        head,
        tuple(_hidden(config)),
        _classifier(config),
        config.head.endswith("after_pool"),
        config.gate,
        config.normalises,
        config.pool,
    )  # fmt: skip


def _classifier(config: NetworkConfig) -> Layer | None:
    if not config.num_classes:
        return None
    return Layer(
        "classifier", "dense", 1, 1, config.classifier_inputs, config.num_classes, None, "none",
        "classifier", config.classifier_bias,
    )  # fmt: skip


def _hidden(config: NetworkConfig) -> Iterator[Layer]:
    """The dense layers and batch norms before the classifier, each activation with a place."""
    width, place = config.head_width * config.places, 0
    for spec in config.dense:
        path, kind, inputs = f"head.{place}", "dense" if spec.channels else "norm", width
        width = spec.channels or width
        place += bool(spec.channels) + spec.norm
        norm = f"head.{place - 1}" if spec.norm else None
        tap = norm or path if spec.activation == "none" else f"head.{place}"
        place += 1
        yield Layer(path, kind, 1, 1, inputs, width, norm, spec.activation, tap, spec.bias)


def _kernels_and_strides(block: Block) -> dict[str, tuple[tuple[int, ...], int]]:
    """By role; a kernel of 0 where the block has no such layer, none for a pointwise one."""
    if block.type == "uir":
        start, middle, end = block.strides
        return {
            "start": (block.start_kernels or (0,), start), "depthwise": (block.kernels, middle),
            "end": (block.end_kernels or (0,), end),
        }  # fmt: skip
    first, last = (1, block.stride) if block.type == "erp" else (block.stride, 1)
    roles = dict.fromkeys(("depthwise", "conv", "fused"), (block.kernels, first))
    return {**roles, "expand": (block.start_kernels, 1), "project": (block.end_kernels, last)}


def _block_layers(block: Block, squeeze_activation: str) -> BlockLayers:
    if block.type not in _ROLES or block.groups > 1:
        raise UnsupportedNetwork(f"{block.path}: no TensorFlow source has blocks of its kind")
    expands = block.type in ("ir", "er", "erp", "uir")
    mid = block.mid_channels if expands else block.in_channels
    widths = {
        "expand": (block.in_channels, mid),
        "depthwise": (mid, mid),
        "project": (mid, block.out_channels),
        "conv": (block.in_channels, block.out_channels),
        "fused": (block.in_channels, mid),
        "start": (block.in_channels, block.in_channels),
        "end": (block.out_channels, block.out_channels),
    }
    by_role = _kernels_and_strides(block)
    main = {}
    for role, conv, norm, act in _ROLES[block.type]:
        kernels, stride = by_role.get(role, ((), 1))
        if kernels == (0,):
            continue  # a universal inverted residual without this depthwise convolution
        main[role] = Layer(
            f"{block.path}.{conv}",
            "depthwise" if role in ("start", "depthwise", "end") else "conv",
            (kernels or (1,))[0],
            stride,
            *widths[role],
            f"{block.path}.{norm}",
            block.activation if act else "none",
            f"{block.path}.{act or norm}",
            kernels=kernels if len(kernels) > 1 else (),
        )
    squeeze: tuple[Layer, ...] = ()
    if block.squeeze:
        path, narrow = f"{block.path}.se", block.squeeze
        reduce, expand = f"{path}.conv_reduce", f"{path}.conv_expand"
        squeeze = (
            Layer(reduce, "conv", 1, 1, mid, narrow, None, squeeze_activation, f"{path}.act1"),
            Layer(expand, "conv", 1, 1, narrow, mid, None, "none", expand),
        )
    return BlockLayers(block, main, squeeze)


def graph_of_network(layers: NetworkLayers, side: int, epsilon: float) -> Graph:
    """The graph of a network, on images of ``side`` pixels, up to its logits.

    ``epsilon`` is that of its batch norms. Taps are module paths; a layer with an activation has
    two, before and behind it.
    """
    builder = _Builder(side, epsilon)
    x = builder.layer(layers.stem, Node("input", place="the input"))
    for block in layers.blocks:
        entry, path = x, block.block.path
        for role, layer in block.main.items():
            if role == "project" and block.squeeze:
                gate = builder.pooled("mean", x, f"{path}.se.pool")
                for squeeze in block.squeeze:
                    gate = builder.layer(squeeze, gate, on_one_pixel=True)
                place = f"{path}.se.gate ({layers.gate})"
                gate = builder.shown(f"{path}.se.gate", layers.gate, gate, place=place)
                x = builder.shown(
                    f"{path}.se", "mul", x, gate, place=f"{path}.se (scaling by the gate)"
                )
            x = builder.layer(layer, x)
        if block.block.residual:
            x = builder.shown(path, "add", x, entry, place=f"the residual sum of {path}")
    head = layers.head
    if head is not None and not layers.pools_first:
        x = builder.layer(head, x)
    if layers.pool == "flatten":
        last = layers.head.out_channels if layers.head else layers.blocks[-1].block.out_channels
        x = builder.flattened(x, last)
    elif layers.pool != "none":
        x = builder.pooled(layers.pool, x, "global_pool")
    if head is not None and layers.pools_first:
        x = builder.layer(head, x, on_one_pixel=True)
    for dense in (*layers.hidden, layers.classifier):
        if dense is not None:
            x = builder.layer(dense, x, on_one_pixel=True)
    return Graph(x, builder.taps)


class _Builder:
    """Builds the nodes of a network; ``taps`` are the module paths that show their values."""

    def __init__(self, side: int, epsilon: float) -> None:
        self._side, self._epsilon = side, epsilon
        self.taps: dict[Node, Tap] = {}

    def layer(self, layer: Layer, x: Node, on_one_pixel: bool = False) -> Node:
        """A layer, with its batch norm and its activation."""
        if len(layer.parts) > 1:
            return self._mixed(layer, x)
        kind, facts = layer_kind(
            (layer.kernel,) * 2, (layer.stride,) * 2, (1, 1), layer.in_channels,
            layer.out_channels, layer.in_channels if layer.kind == "depthwise" else 1,
            on_one_pixel=on_one_pixel or self._side == 1,
        )  # fmt: skip
        if not on_one_pixel:
            self._side = -(-self._side // layer.stride)
        bias = f"{layer.path}.bias" if layer.bias and not layer.norm else None
        norm = None if layer.norm is None else self._norm(layer.norm)
        if layer.kind == NORM:
            node = Node(NORM, (layer.in_channels,), (x,), layer.describe(), norm)
        else:
            keys = ModuleLayer(f"{layer.path}.weight", bias, len(layer.weight_shape), norm)
            node = Node(kind, facts, (x,), layer.describe(), keys)
        self.taps[node] = Tap(layer.norm or layer.path)
        if layer.activation == "none":
            return node
        return self.shown(layer.tap, layer.activation, node, place=layer.describe())

    def _norm(self, path: str) -> ModuleNorm:
        return ModuleNorm(
            f"{path}.weight", f"{path}.bias", f"{path}.running_mean", f"{path}.running_var",
            self._epsilon,
        )  # fmt: skip

    def _mixed(self, layer: Layer, x: Node) -> Node:
        """The parts of a mixed convolution, each of a slice of the channels, and what is behind."""
        side, first, results = self._side, 0, []
        for part in layer.parts:
            place = f"{layer.path} (channels {first} to {first + part.in_channels - 1})"
            facts = first, first + part.in_channels, layer.in_channels
            channels = Node("channels", facts, (x,), place)
            first += part.in_channels
            self._side = side
            results.append(self.layer(part, channels))
        concat = self.shown(
            layer.path, "concatenation", *results, place=layer.describe(), facts=("channels",)
        )
        assert layer.norm is not None  # no network has a mixed convolution without one
        norm = Node(NORM, (layer.out_channels,), (concat,), layer.norm, self._norm(layer.norm))
        self.taps[norm] = Tap(layer.norm)
        if layer.activation == "none":
            return norm
        return self.shown(layer.tap, layer.activation, norm, place=layer.describe())

    def pooled(self, pool: str, x: Node, path: str) -> Node:
        """The mean or the maximum over height and width; of a single pixel the value itself."""
        if self._side == 1:
            return x
        kind = f"{pool} over height and width"
        return self.shown(path, kind, x, place=f"{path} ({kind})")

    def flattened(self, x: Node, channels: int) -> Node:
        """All values of an image in a row; those of a single pixel are in one already."""
        if self._side == 1:
            return x
        before = self._side, self._side, channels
        facts = "height, width, channels", before, (self._side * self._side * channels,)
        node = Node("flatten", facts, (x,), "flatten (height, width, channels)")
        self.taps[node] = Tap("flatten")
        return node

    def shown(
        self, path: str, kind: str, *operands: Node, place: str, facts: tuple[str, ...] = ()
    ) -> Node:
        """A node whose value the network has at ``path``."""
        node = Node(kind, facts, operands, place)
        self.taps[node] = Tap(path)
        return node
