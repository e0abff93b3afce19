"""Residual sums, strides and poolings: how the layers are connected."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from torch import Tensor

from porting.parity.diagnosis import changes
from porting.parity.diagnosis.cause import Family, Hypothesis
from porting.parity.diagnosis.evidence import Piece

_POOLS: dict[str, Callable[[Tensor], Tensor]] = {
    "mean": lambda x: x.mean((2, 3), keepdim=True),
    "max": lambda x: x.amax((2, 3), keepdim=True),
}


def hypotheses(piece: Piece) -> Iterator[Hypothesis]:
    """Proposes the source's residual sums before the piece, and its pooling."""
    yield from _residuals(piece)
    yield from _pools(piece)


def _residuals(piece: Piece) -> Iterator[Hypothesis]:
    layers, network = piece.around.layers, piece.around.network
    if layers is None:
        return
    parts = dict(network.named_modules())
    flow = piece.flow
    for block in layers.blocks:
        path, expected = block.block.path, block.block.residual
        own = getattr(parts.get(path), "residual", None)
        if own is None or bool(own) == expected:
            continue
        # A sum that the judge has not is seen where its result flows in.
        if piece.tap != path and (flow is None or not _follows(piece, path)):
            continue
        what = "residual missing" if expected else "residual added"
        sentence = (
            f"{path} does not add its input to its result, as the source does"
            if expected
            else f"{path} adds its input to its result, and the source does not"
        )
        yield Hypothesis(
            what, what, path, changes.attribute(path, "residual", expected), sentence,
            f"{path}: residual = {expected}" + ("" if expected else " (noskip)"),
        )  # fmt: skip


def _follows(piece: Piece, path: str) -> bool:
    """Whether a piece takes the result of the block at a path."""
    layers, flow = piece.around.layers, piece.flow
    assert layers is not None and flow is not None  # the caller looked
    paths = [block.block.path for block in layers.blocks]
    place = paths.index(path)
    own = flow.weight.removesuffix(".weight")
    if place + 1 < len(paths):
        return own.startswith(f"{paths[place + 1]}.")
    return not any(own.startswith(f"{other}.") for other in paths)


def _pools(piece: Piece) -> Iterator[Hypothesis]:
    layers = piece.around.layers
    parts = dict(piece.around.network.named_modules())
    squeeze = piece.tap.endswith(".se.pool")
    if layers is None or not (squeeze or piece.tap == "global_pool") or piece.tap not in parts:
        return
    expected = "mean" if squeeze else layers.pool
    if expected not in _POOLS:
        return
    yield Hypothesis(
        "pooling", f"other than the {expected}", piece.tap,
        changes.module(piece.tap, partial(changes.Function, _POOLS[expected])),
        f"{piece.tap} is not the source's {expected} over height and width",
        f"{piece.tap}: nn.Adaptive{'Avg' if expected == 'mean' else 'Max'}Pool2d(1)",
        emulations={
            **{
                f"{other} for {expected}": changes.module(
                    piece.tap, partial(changes.Function, function)
                )
                for other, function in _POOLS.items()
                if other != expected
            },
            "a pooling that counts padding": changes.module(
                piece.tap, partial(changes.Function, _counting_padding)
            ),
        },
    )  # fmt: skip


def _counting_padding(x: Tensor) -> Tensor:
    rows, columns = x.shape[2:]
    return x.sum((2, 3), keepdim=True) / ((rows + 2) * (columns + 2))


WIRING = Family(
    {
        "residual missing": "Blocks of stride 1 whose input and output have the same number of "
        "channels add their input, but where the network's definition says noskip.",
        "residual added": "A first block of a stage may be without a residual sum though its "
        "shapes allow one: mnasnet-small's block strings say noskip.",
        "stride": "A block of stride 2 has it in its depthwise convolution; its others have 1.",
        "pooling": "The mean over height and width is over what is there, without padding.",
    },
    hypotheses,
)
