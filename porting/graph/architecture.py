"""The architecture of a network, read from its canonical graph.

A graph of convolutions, activations, squeeze-excites and sums is parsed from its input on, block by
block, into the strings that :mod:`genmobilenet.arch` defines, so that a network that is in no table
is ported like one that is. Blocks of one output width that follow each other without a stride are
a stage, as timm numbers them; what the strings cannot say ends the reading with a message that
shows how far they go.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from genmobilenet.arch import ACTIVATIONS, WITH_RESIDUAL, BlockSpec, DenseSpec
from genmobilenet.config import CHOICES, POOLS, TF_BN_EPSILON, TF_BN_MOMENTUM, Block, NetworkConfig
from porting.errors import MappingError
from porting.graph.match import describe_node
from porting.graph.node import NORM, Graph, ModuleLayer, Node, SourceLayer

_POOLS = {f"{kind} over height and width": kind for kind in ("mean", "max")}
_MEAN = "mean over height and width"
_GATES = CHOICES["gate"]
_ACTIVATIONS = (*ACTIVATIONS.values(), *_GATES)
ENDS = ("softmax", "sigmoid", "l2_normalise")
"""Operations on the result at the end of a graph; the network ends before them."""


class NotInTheLanguage(MappingError):
    """A graph computes what no block string says; ``depth`` blocks were read before."""

    def __init__(self, path: str, depth: int, strings: str, place: str, reason: str) -> None:
        before = f"its architecture as far as it can be read:\n  {strings}\n" if strings else ""
        super().__init__(f"{path}: {before}then comes {place}, where {reason}")
        self.depth = depth


@dataclass(frozen=True)
class _Layer:
    """A layer and the activation after it; ``end`` is the value that the two compute.

    ``node`` is the layer, of a mixed convolution what joins its ``parts``, with the batch norm.
    """

    node: Node
    activation: str
    end: Node
    parts: tuple[Node, ...]

    @property
    def kind(self) -> str:
        """``depthwise`` if one of the parts is: a part of a single channel counts as one."""
        kinds = {part.kind for part in self.parts}
        return "depthwise" if "depthwise" in kinds else self.parts[0].kind

    @property
    def kernels(self) -> tuple[int, ...]:
        """The sides of its kernels; on a single pixel, a 1x1 convolution is a dense layer."""
        return tuple(
            1 if part.kind == "dense" else int(part.facts[0][0])  # type: ignore[index]
            for part in self.parts
        )

    @property
    def kernel(self) -> int:
        return self.kernels[0]

    @property
    def is_pointwise(self) -> bool:
        """Whether it is a 1x1 convolution, or a mixed one of nothing else."""
        return self.kind in ("conv", "dense") and set(self.kernels) == {1}

    @property
    def shares(self) -> tuple[int, ...]:
        """The kernels of a mixed convolution; none of a plain one."""
        return self.kernels if len(self.parts) > 1 else ()

    @property
    def stride(self) -> int:
        (part, *_) = self.parts
        return 1 if part.kind == "dense" else int(part.facts[1][0])  # type: ignore[index]

    @property
    def channels(self) -> int:
        """Channels that it gives."""
        return int(self.node.facts[-1]) if self.node.kind == "norm" else self.widths[1]  # type: ignore[call-overload]

    @property
    def widths(self) -> tuple[int, int]:
        """Channels in and out."""
        facts = [p.facts if p.kind == "dense" else p.facts[3:5] for p in self.parts]
        return sum(int(str(n)) for n, _ in facts), sum(int(str(n)) for _, n in facts)


def architecture_of(graph: Graph, path: str, side: int, channels: int) -> NetworkConfig:
    """The configuration of the network that a graph computes, on images of ``side`` pixels.

    ``path`` names the source in messages. All widths are the graph's own: ``width`` is None.
    Padding is that of all the graph's convolutions, and epsilon that of its batch norms, or
    TensorFlow's where these are folded.

    Raises:
        NotInTheLanguage: it computes something else than stem, blocks, head and dense layers.
    """
    return _Parser(graph, path).config(side, channels)


class _Parser:
    """Reads a graph from its input on, one block after another."""

    def __init__(self, graph: Graph, path: str) -> None:
        self._graph, self._path = graph, path
        self._nodes = graph.nodes()
        self._output = graph.output
        self._users: dict[Node, list[Node]] = {}
        for node in self._nodes:
            for operand in dict.fromkeys(node.inputs):
                self._users.setdefault(operand, []).append(node)
        self._blocks: list[Block] = []
        self._stem = ""
        self._head: list[str] = []

    def config(self, side: int, channels: int) -> NetworkConfig:
        if self._output.kind in ENDS:
            self._output = self._output.inputs[0]
        x = next((node for node in self._nodes if node.kind == "input"), self._output)
        stem = self._layer(x, "a square convolution, the stem")
        if stem.node.kind != "conv" or not _is_plain_square(stem.node):
            raise self._outside(stem.node, "a square convolution in one group, the stem")
        self._check_activation(stem)
        self._stem = f"stem_c{stem.widths[1]}"
        x, gates = stem.end, set[tuple[str, str]]()
        x, head = self._trunk(x, stem.activation, gates)
        if not self._blocks:
            raise self._outside(x, "a block")
        self._head = [f"cn_c{head.widths[1]}"] if head else []
        pool, places = "mean", 1
        if x is self._output:
            pool = "mean" if self._final_side(stem, side) == 1 else "none"
        elif (reduction := self._only_user(x, *_POOLS)) is not None:
            x, pool = reduction, _POOLS[reduction.kind]
        elif (flat := self._only_user(x, "flatten")) is not None:
            sides = flat.facts[1]
            assert isinstance(sides, tuple)  # a flatten's facts: order, sides before and behind
            x, pool, places = flat, "flatten", sides[0] * sides[1]
        self._head += [POOLS[pool] + (f"_p{places}" if places > 1 else "")]
        dense = list(self._dense_layers(x)) if x is not self._output else []
        config = self._assembled(stem, head, dense, gates, side, channels)
        return replace(config, pool=pool, places=places)

    def _trunk(
        self, x: Node, activation: str, gates: set[tuple[str, str]]
    ) -> tuple[Node, _Layer | None]:
        """Read the blocks from ``x`` on; return the value after the last, and the head, if any.

        ``activation`` is the stem's.
        """
        while x is not self._output and self._next_layer(x) is not None:
            layer = self._layer(x, "a block")
            after = self._next_layer(layer.end)
            if (universal := self._universal(x, layer, gates)) is not None:
                x = universal
                continue
            one_by_one = layer.is_pointwise
            expands = one_by_one and after is not None and after.kind == "depthwise"
            if expands and layer.activation != "none":
                # A depthwise convolution without one begins a universal inverted residual.
                behind = self._lone_layer(layer.end)
                expands = behind is None or behind.activation != "none"
            if layer.kind == "dense" and not expands:
                break
            ends = layer.end is self._output and layer.stride == 1
            if one_by_one and (ends or self._only_user(layer.end, *_POOLS, "flatten") is not None):
                if layer.activation == activation:
                    return layer.end, layer
                return self._convolution(layer), None
            if expands:
                x = self._inverted_residual(x, layer, gates)
            elif layer.kind == "depthwise":
                x = self._projected("ds", x, layer.widths[0], layer, gates)
            elif self._is_fused_expansion(layer):
                x = self._projected("er", x, layer.widths[0], layer, gates)
            else:
                x = self._convolution(layer)
        return x, None

    def _final_side(self, stem: _Layer, side: int) -> int:
        """The side behind the blocks, for images of ``side`` pixels."""
        for stride in (stem.stride, *(block.stride for block in self._blocks)):
            side = -(-side // stride)
        return side

    def _assembled(
        self, stem: _Layer, head: _Layer | None, dense: list[_Layer],
        gates: set[tuple[str, str]], side: int, channels: int,
    ) -> NetworkConfig:  # fmt: skip
        hidden, classifier = dense[:-1], dense[-1] if dense else None
        if classifier is not None and _dense_spec(classifier).format() not in (
            f"fc_c{classifier.channels}", f"fc_c{classifier.channels}_nobias"
        ):  # fmt: skip
            hidden, classifier = dense, None
        blocks = list(self._blocks)
        if any(block.type == "uir" for block in blocks):
            # An inverted residual without mixed convolutions is a universal one too.
            for place, block in enumerate(blocks):
                is_mixed = block.start_kernels or block.end_kernels or len(block.kernels) > 1
                if block.type == "ir" and not is_mixed:
                    blocks[place] = replace(block, type="uir")
        kind, head_channels = "none", 1280
        activation = stem.activation
        if head is not None:
            kind, head_channels = "conv", head.widths[1]
            channels_behind = hidden[0].channels if len(hidden) == 1 else 0
            as_v3 = DenseSpec(channels_behind, head.activation)
            after_pool = len(hidden) == 1 and replace(_dense_spec(hidden[0]), norm=False) == as_v3
            if after_pool and activation != "none" and self._only_user(head.end, *_POOLS):
                # MobileNet V3: the last convolution is a stage, and the head behind the pooling.
                last = _dense_spec(hidden.pop())
                kind = "norm_after_pool" if last.norm else "after_pool"
                head_channels = last.channels
                blocks.append(self._block("cn", head.widths[0], 0, head, 1))
        if len(gates) > 1:
            kinds = " and ".join(sorted(f"{inside} and {gate}" for gate, inside in gates))
            raise self._outside(
                self._output, f"one kind of squeeze-excite, and not those with {kinds}"
            )
        gate, squeeze_activation = next(iter(gates), ("sigmoid", "relu"))
        return NetworkConfig(
            blocks=tuple(_stages(blocks, activation)),
            source="read from the source's graph",
            stem_channels=stem.widths[1],
            stem_kernel=stem.kernel,
            stem_stride=stem.stride,
            activation=activation,
            gate=gate,
            squeeze_activation=squeeze_activation,
            head=kind,
            head_channels=head_channels,
            hidden=tuple(_dense_spec(layer).format() for layer in hidden),
            classifier_bias=classifier is None or _has_bias(classifier.node),
            input_size=side,
            padding=self._padding(),
            bn_epsilon=self._epsilon(),
            bn_momentum=TF_BN_MOMENTUM,
            num_classes=0 if classifier is None else classifier.channels,
            in_chans=channels,
        )

    def _inverted_residual(self, x: Node, expand: _Layer, gates: set[tuple[str, str]]) -> Node:
        """Read a block from its expansion on, or a plain convolution and the block behind it."""
        depthwise = self._layer(expand.end, "a depthwise convolution")
        try:
            if depthwise.activation != expand.activation:
                raise self._outside(
                    depthwise.end, f"the activation of the expansion, {expand.activation}"
                )
            if (beside := self._user_beside(expand.end, depthwise)) is not None:
                raise self._outside(beside, "nothing that takes an expansion beside the block")
            return self._projected("ir", x, expand.widths[0], depthwise, gates, expand.shares)
        except NotInTheLanguage:
            if expand.node.kind == "dense" or expand.shares:
                raise
            blocks = len(self._blocks)
            try:
                y = self._convolution(expand)
                return self._projected("ds", y, depthwise.widths[0], depthwise, gates)
            except NotInTheLanguage:
                del self._blocks[blocks:]
            raise

    def _user_beside(self, x: Node, layer: _Layer) -> Node | None:
        """What takes ``x`` beside its one layer."""
        inputs = {operand for part in layer.parts for operand in part.inputs}
        others = (user for user in self._users.get(x, ()) if user not in inputs)
        return next((other for other in others if other not in layer.parts), None)

    def _universal(self, x: Node, layer: _Layer, gates: set[tuple[str, str]]) -> Node | None:
        """The result of a universal inverted residual from its first layer on; None for another.

        One without a depthwise convolution before the expansion or behind the projection is an
        inverted residual; one without any adds its input, or it is two convolutions.
        """
        start = layer if layer.kind == "depthwise" and layer.activation == "none" else None
        expand = layer if start is None else self._lone_layer(start.end)
        if expand is None or not expand.is_pointwise or expand.activation == "none":
            return None
        middle, y, squeeze = self._lone_layer(expand.end), expand.end, 0
        if middle is not None and middle.kind == "depthwise":
            if middle.activation != expand.activation:
                return None
            y = middle.end
        else:
            middle = None
        if any(user.kind == "mul" for user in self._users.get(y, ())):
            y, squeeze = self._squeeze_excite(y, gates)
        project = self._lone_layer(y)
        if project is None or not project.is_pointwise or project.activation != "none":
            return None
        behind = self._lone_layer(project.end)
        is_end = behind is not None and (behind.kind, behind.activation) == ("depthwise", "none")
        last = next(
            (end for end in (project, behind if is_end else None) if self._sum(end, x)), None
        )
        end = behind if last is behind and last is not None else None
        mixes = any(part is not None and part.shares for part in (start, expand, middle, project))
        if mixes or not (start or end or (middle is None and last is not None)):
            return None
        depthwise = [part for part in (start, middle, end) if part is not None]
        for part in depthwise:
            self._check_depthwise(part)
        self._check_activation(expand)
        result = project.end if last is None else self._sum(last, x)
        assert result is not None  # the last one has a sum
        self._check_users(x, result)
        self._blocks.append(
            Block(
                path="", index=len(self._blocks), type="uir", in_channels=layer.widths[0],
                mid_channels=expand.widths[1], out_channels=project.widths[1],
                kernels=(0,) if middle is None else middle.kernels,
                stride=max((part.stride for part in depthwise), default=1), squeeze=squeeze,
                residual=last is not None, activation=expand.activation, groups=1,
                start_kernels=() if start is None else start.kernels,
                end_kernels=() if end is None else end.kernels,
            )
        )  # fmt: skip
        return result

    def _sum(self, layer: _Layer | None, x: Node) -> Node | None:
        """The sum of a layer's result and ``x``."""
        users = () if layer is None else self._users.get(layer.end, ())
        return next((user for user in users if layer and _adds(user, layer.end, x)), None)

    def _lone_layer(self, x: Node) -> _Layer | None:
        """The one layer with weights that takes ``x``; None where no layer or several do."""
        try:
            return self._layer(x, "a layer")
        except NotInTheLanguage:
            return None

    def _is_fused_expansion(self, layer: _Layer) -> bool:
        """Whether a 1x1 convolution without activation follows: then the two are one block."""
        is_plain = len(layer.parts) == 1 and layer.node.kind == "conv"
        if not is_plain or layer.kernel == 1 or layer.activation == "none":
            return False
        product = next((u for u in self._users.get(layer.end, ()) if u.kind == "mul"), None)
        node = self._next_layer(product or layer.end)
        # On a single pixel the projection is a dense layer, and a gate tells it from a classifier.
        is_dense = node is not None and node.kind == "dense" and product is not None
        if node is None or not (is_dense or (node.kind == "conv" and node.facts[0] == (1, 1))):
            return False
        return self._activation_behind(node) is None

    def _check_depthwise(self, layer: _Layer, *, one_group: bool = False) -> None:
        """Check a depthwise convolution, or, with ``one_group``, a fused one."""
        for part in layer.parts:
            kernel, stride, dilation, into, out, groups = part.facts
            square = kernel[0] == kernel[1] and stride[0] == stride[1]  # type: ignore[index]
            plain = groups == 1 if one_group else into == out
            if not square or dilation != (1, 1) or not plain:
                raise self._outside(
                    part,
                    "a square convolution without dilation, depthwise ones a channel from a "
                    "channel",
                )

    def _projected(
        self, kind: str, x: Node, inputs: int, depthwise: _Layer, gates: set[tuple[str, str]],
        expansion: tuple[int, ...] = (),
    ) -> Node:  # fmt: skip
        """The rest of a block, from its depthwise or fused convolution on.

        ``expansion`` has the kernels of an expansion in shares of the channels.
        """
        self._check_depthwise(depthwise, one_group=kind == "er")
        y, squeeze = self._squeeze_excite(depthwise.end, gates)
        project = self._layer(y, "a 1x1 convolution, the projection")
        has_groups = any(part.kind == "conv" and part.facts[5] != 1 for part in project.parts)
        if not project.is_pointwise or has_groups:
            raise self._outside(project.node, "a 1x1 convolution, the projection")
        if project.stride > 1 and (kind != "er" or depthwise.stride > 1):
            raise self._outside(project.node, "a projection without a stride")
        if project.stride > 1:
            kind = "erp"
        residual = None
        if project.activation == "none":
            residual = next(
                (u for u in self._users.get(project.end, ()) if _adds(u, project.end, x)), None
            )
        elif kind == "ds":
            kind = "dsa"
            if project.activation != depthwise.activation:
                raise self._outside(
                    project.end, f"the activation of the block, {depthwise.activation}"
                )
        else:
            raise self._outside(project.end, "no activation behind a projection")
        end = project.end if residual is None else residual
        self._check_activation(depthwise)
        self._check_users(x, end)
        self._blocks.append(
            Block(
                path="", index=len(self._blocks), type=kind, in_channels=inputs,
                mid_channels=depthwise.widths[1], out_channels=project.widths[1],
                kernels=depthwise.kernels, stride=max(depthwise.stride, project.stride),
                squeeze=squeeze,
                residual=residual is not None, activation=depthwise.activation, groups=1,
                start_kernels=expansion, end_kernels=project.shares,
            )
        )  # fmt: skip
        return end

    def _convolution(self, layer: _Layer) -> Node:
        if len(layer.parts) > 1 or layer.kind != "conv" or not _is_plain_square(layer.node):
            raise self._outside(layer.node, "a square convolution in one group")
        self._check_activation(layer)
        self._blocks.append(self._block("cn", layer.widths[0], 0, layer, layer.stride))
        return layer.end

    def _block(self, kind: str, inputs: int, squeeze: int, layer: _Layer, stride: int) -> Block:
        return Block(
            path="", index=len(self._blocks), type=kind, in_channels=inputs, mid_channels=inputs,
            out_channels=layer.widths[1], kernels=layer.kernels, stride=stride, squeeze=squeeze,
            residual=False, activation=layer.activation, groups=1,
        )  # fmt: skip

    def _squeeze_excite(self, x: Node, gates: set[tuple[str, str]]) -> tuple[Node, int]:
        """The value after a squeeze-excite of ``x``, and its inner width; ``x`` and 0 for none."""
        users = self._users.get(x, [])
        product = next((user for user in users if user.kind == "mul"), None)
        if product is None:
            return x, 0
        mean = next((user for user in users if user.kind == _MEAN), x)
        reduce = self._layer(mean, "a squeeze-excite's first layer", besides=product)
        expand = self._layer(reduce.end, "a squeeze-excite's second layer")
        inside = CHOICES["squeeze_activation"]
        if expand.activation not in _GATES or reduce.activation not in inside:
            raise self._outside(
                expand.end,
                f"a squeeze-excite with {' or '.join(inside)} inside and a gate of "
                f"{' or '.join(_GATES)}",
            )
        if set(product.inputs) != {x, expand.end}:
            raise self._outside(product, "the product of a squeeze-excite's gate and its input")
        gates.add((expand.activation, reduce.activation))
        return product, reduce.widths[1]

    def _dense_layers(self, x: Node) -> Iterator[_Layer]:
        """The dense layers, and batch norms by themselves, from ``x`` to the output."""
        while True:
            norm = self._only_user(x, "norm")
            layer = (
                self._layer(x, "a dense layer")
                if norm is None
                else self._with_activation(norm, (norm,))
            )
            if layer.node.kind not in ("dense", "norm"):
                raise self._outside(layer.node, "a dense layer")
            if layer.activation not in ACTIVATIONS.values():
                raise self._outside(layer.end, f"an activation of {_known()}, or none")
            yield layer
            self._head.append(_dense_spec(layer).format())
            x = layer.end
            if x is self._output or layer.node is self._output:
                return

    def _next_layer(self, x: Node) -> Node | None:
        """The first layer with weights that takes ``x``, or a part of it."""
        users = self._users.get(x, ())
        slices = (user for user in users if user.kind == "channels")
        takers = [*users, *(taker for part in slices for taker in self._users.get(part, ()))]
        return next((taker for taker in takers if taker.weighted), None)

    def _only_user(self, x: Node, *kinds: str) -> Node | None:
        users = self._users.get(x, [])
        return users[0] if len(users) == 1 and users[0].kind in kinds else None

    def _layer(self, x: Node, description: str, besides: Node | None = None) -> _Layer:
        """The one layer with weights that takes ``x``, and the activation behind it."""
        if (layer := self._mixed_layer(x)) is not None:
            return layer
        layers = [user for user in self._users.get(x, ()) if user.weighted]
        others = [u for u in self._users.get(x, ()) if not u.weighted and u is not besides]
        if len(layers) != 1:
            raise self._outside((others or [x])[0], description)
        return self._with_activation(layers[0], tuple(layers))

    def _with_activation(self, node: Node, parts: tuple[Node, ...]) -> _Layer:
        """A layer of these parts with the activation behind it."""
        behind = self._activation_behind(node)
        kind, end = ("none", node) if behind is None else (behind.kind, behind)
        return _Layer(node, kind, end, parts)

    def _mixed_layer(self, x: Node) -> _Layer | None:
        """The mixed convolution that takes ``x``: one of each slice of the channels, joined."""
        slices = [user for user in self._users.get(x, ()) if user.kind == "channels"]
        slices.sort(key=lambda node: int(str(node.facts[0])))
        ends = [0, *(node.facts[1] for node in slices)]
        starts = [node.facts[0] for node in slices]
        if not slices or [*starts, slices[-1].facts[2]] != ends:
            return None
        parts = [self._users.get(node, []) for node in slices]
        if any(len(users) != 1 or not users[0].weighted for users in parts):
            return None
        nodes = tuple(part for (part,) in parts)
        concat = self._only_user(nodes[0], "concatenation")
        if concat is None or concat.inputs != nodes or concat.facts != ("channels",):
            return None
        return self._with_activation(self._only_user(concat, NORM) or concat, nodes)

    def _activation_behind(self, node: Node) -> Node | None:
        """The activation that alone takes a layer's result."""
        users = self._users.get(node, [])
        if node is self._output or len(users) != 1 or users[0].kind not in _ACTIVATIONS:
            return None
        return users[0]

    def _check_activation(self, layer: _Layer) -> None:
        if layer.activation not in ACTIVATIONS.values():
            raise self._outside(layer.end, f"an activation of {_known()}")

    def _check_users(self, x: Node, end: Node) -> None:
        """Check that a block's input goes nowhere but into its first layer and its sum."""
        for user in self._users.get(x, ()):
            if not user.weighted and user is not end and user.kind != "channels":
                raise self._outside(user, "nothing that takes a block's input beside the block")

    def _padding(self) -> str:
        """The padding of all convolutions."""
        refusals: list[Node] = []
        for padding in CHOICES["padding"]:
            unlike = (n for n in self._nodes if n.padding and not n.padding.fits(padding))
            node = next(unlike, None)
            if node is None:
                return padding
            refusals.append(node)
        node = max(refusals, key=self._nodes.index)
        raise self._outside(node, f"padding as in TensorFlow or symmetric, not {node.padding}")

    def _epsilon(self) -> float:
        """The epsilon of the batch norms; TensorFlow's where they are folded."""
        for node in self._nodes:
            norm = node.norm
            if norm is not None and norm.epsilon is not None:
                return float(str(np.float32(norm.epsilon)))  # its shortest digits
        return TF_BN_EPSILON

    def _outside(self, node: Node, description: str) -> NotInTheLanguage:
        strings = " | ".join([self._stem, *_stages(self._blocks, "")]) if self._stem else ""
        strings += f" | {' '.join(self._head)}" if self._head else ""
        return NotInTheLanguage(
            self._path,
            len(self._blocks),
            strings,
            describe_node(node),
            f"{description} is expected",
        )


def _is_plain_square(node: Node) -> bool:
    """Whether a convolution is square, in one group and without dilation."""
    kernel, stride, dilation, _, _, groups = node.facts
    square = kernel[0] == kernel[1] and stride[0] == stride[1]  # type: ignore[index]
    return square and dilation == (1, 1) and groups == 1


def _known() -> str:
    return ", ".join(name for name in ACTIVATIONS.values() if name != "none")


def _dense_spec(layer: _Layer) -> DenseSpec:
    """The string of a head's dense layer, or of a batch norm outside any layer."""
    if layer.node.kind == "norm":
        return DenseSpec(0, layer.activation, norm=True)
    if isinstance(layer.node.layer, SourceLayer | ModuleLayer) and layer.node.layer.norm:
        return DenseSpec(layer.channels, layer.activation, norm=True)
    return DenseSpec(layer.channels, layer.activation, _has_bias(layer.node))


def _has_bias(node: Node) -> bool:
    layer = node.layer
    return not isinstance(layer, (SourceLayer, ModuleLayer)) or layer.bias is not None


def _adds(node: Node, one: Node, other: Node) -> bool:
    return node.kind == "add" and set(node.inputs) == {one, other} and one is not other


def _stages(blocks: list[Block], activation: str) -> Iterator[str]:
    """The block strings of each stage: blocks of one width, of which only the first strides."""
    stages: list[list[Block]] = []
    for block in blocks:
        last = stages[-1][-1] if stages else None
        if last is None or block.stride > 1 or block.out_channels != last.out_channels:
            stages.append([])
        stages[-1].append(block)
    for stage in stages:
        specs: list[BlockSpec] = []
        for block in stage:
            spec = _spec(block, activation)
            if specs and replace(specs[-1], repeats=1, stride=1) == spec:
                specs[-1] = replace(specs[-1], repeats=specs[-1].repeats + 1)
            else:
                specs.append(spec)
        yield " ".join(spec.format() for spec in specs)


def _spec(block: Block, activation: str) -> BlockSpec:
    """One block as a stage of its own, without its activation if that is the network's."""
    shortcut = block.stride == 1 and block.in_channels == block.out_channels
    expands = block.type in ("ir", "er", "erp", "uir")
    return BlockSpec(
        type=block.type,
        repeats=1,
        kernels=block.kernels,
        stride=block.stride,
        expansion=_ratio(block.mid_channels, block.in_channels) if expands else 1.0,
        channels=block.out_channels,
        se_ratio=_ratio(block.squeeze, block.in_channels),
        activation=None if block.activation == activation else block.activation,
        skip=block.residual or not shortcut or block.type not in WITH_RESIDUAL,
        start_kernels=block.start_kernels,
        end_kernels=block.end_kernels,
    )


def _ratio(width: int, channels: int) -> float:
    """The shortest decimal whose product with ``channels``, truncated, is ``width``."""
    for digits in range(1, 18):
        ratio = float(f"{width / channels:.{digits}g}")
        if int(channels * ratio) == width:
            return ratio
    return float((width + 0.5) / channels)


MOST_STRIDE = 32
"""Pixels of an image's side to one of a backbone's, at most: what comes with a larger stride is a
detector's own, and no mobile network."""

_HEAD_LAYERS = 2
"""Layers behind a fork that count as a head of what follows: a depthwise convolution and a
pointwise one, or either alone."""


@dataclass(frozen=True)
class Backbone:
    """The part of a graph that is a mobile network: it ends at ``graph``'s output.

    ``rest`` describes where what remains begins; ``depth`` counts layers up to the end.
    """

    graph: Graph
    config: NetworkConfig
    rest: str
    depth: int


_MOST_ENDS = 64
"""Most values that are tried as the end of a backbone, the deepest first."""


def backbone_of(graph: Graph, path: str, side: int, channels: int) -> Backbone:
    """The longest part of a graph, from its input, that is a mobile network.

    Heads of a detector are layers of the same kinds. They are told apart by where they lead: a
    prediction leads to no layer, what has a larger stride than :data:`MOST_STRIDE` is not looked
    at, and a branch of a layer or two behind a value that several layers take is not part of it.

    Raises:
        NotInTheLanguage: no block of it can be read.
    """
    backbone, failure = None, None
    for end in islice(_possible_ends(graph), _MOST_ENDS):
        if backbone is not None and backbone.depth - end.depth > _HEAD_LAYERS:
            break
        if backbone is not None and not end.forks:
            continue
        part = Graph(end.node, graph.taps)
        try:
            config = architecture_of(part, path, side, channels)
        except NotInTheLanguage as error:
            failure = failure or error
            continue
        if config.num_classes or config.hidden or config.pool != "none":
            continue
        rest = ", and ".join(map(describe_node, end.takers[:3])) or "nothing"
        backbone = Backbone(part, config, rest, end.depth)
        if end.forks:
            break
    if backbone is None:
        raise failure or NotInTheLanguage(
            path, 0, "", describe_node(graph.output), "no value shows at which a network could end"
        )
    return backbone


@dataclass(frozen=True)
class _End:
    """A value at which a backbone may end, behind ``depth`` layers; ``takers`` are what takes it.

    It ``forks`` if several layers take it, or a layer and another operator than a sum.
    """

    node: Node
    depth: int
    takers: tuple[Node, ...]

    @property
    def forks(self) -> bool:
        layers = sum(taker.weighted for taker in self.takers)
        others = any(not taker.weighted and taker.kind != "add" for taker in self.takers)
        return layers + others > 1


def _possible_ends(graph: Graph) -> Iterator[_End]:
    """Where a backbone may end, the deepest value first: where no prediction does."""
    nodes = graph.nodes()
    takers: dict[Node, list[Node]] = {node: [] for node in nodes}
    depths: dict[Node, int] = {}
    strides: dict[Node, int] = {}
    for node in nodes:
        for operand in dict.fromkeys(node.inputs):
            takers[operand].append(node)
        depths[node] = max((depths[x] for x in node.inputs), default=0) + node.weighted
        stride = int(node.facts[1][0]) if node.kind in ("conv", "depthwise") else 1  # type: ignore[index]
        strides[node] = stride * max((strides[x] for x in node.inputs), default=1)
    leads_to_a_layer = dict.fromkeys(nodes, False)
    for node in reversed(nodes):
        for operand in node.inputs:
            leads_to_a_layer[operand] |= node.weighted or leads_to_a_layer[node]
    # Of values behind as many layers, a sum comes before what it adds.
    for node in sorted(nodes, key=depths.__getitem__)[::-1]:
        users = takers[node]
        feeds_activation = len(users) == 1 and users[0].kind in _ACTIVATIONS
        prediction = node.weighted and not leads_to_a_layer[node]
        if (
            node in graph.taps
            and strides[node] <= MOST_STRIDE
            and not (prediction or feeds_activation)
        ):
            yield _End(node, depths[node], tuple(users))
