"""The allow-list of TensorFlow operations that may be run of a user's graph.

TensorFlow's operations can read and write files and run Python. A graph is
run only if everything in it is listed here: it computes, or restores variables.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from porting.errors import UnsupportedSource

ALLOWED = frozenset(
    """
    Const Placeholder PlaceholderWithDefault NoOp Identity IdentityN StopGradient PreventGradient
    Snapshot CheckNumerics EnsureShape Cast
    Conv2D DepthwiseConv2dNative MatMul BiasAdd FusedBatchNorm FusedBatchNormV2 FusedBatchNormV3
    Add AddV2 AddN Sub Mul RealDiv Div Neg Sqrt Rsqrt Square Maximum Minimum
    Relu Relu6 LeakyRelu Elu Selu Sigmoid Tanh Softplus Softmax Exp Log
    Mean Sum Max MaxPool AvgPool Pad PadV2 MirrorPad
    FakeQuantWithMinMaxArgs FakeQuantWithMinMaxVars FakeQuantWithMinMaxVarsPerChannel
    RandomUniform Floor GreaterEqual Select SelectV2
    Shape StridedSlice Slice Pack Unpack ConcatV2 Reshape Squeeze ExpandDims Transpose Fill Prod
    PartitionedCall StatefulPartitionedCall
    Variable VariableV2 VarHandleOp ReadVariableOp VarIsInitializedOp DisableCopyOnRead
    Assign AssignVariableOp RestoreV2
    """.split()
)
"""Operations that compute, and those that restore variables."""


def check_operations(message: Any, path: Path) -> None:
    """Check that a ``GraphDef``, and every function that it can call, only reads and computes.

    Functions that nothing calls are taken out of it.

    Raises:
        UnsupportedSource: an operation is not known to.
    """
    functions = {function.signature.name: function for function in message.library.function}
    reachable: set[str] = set()
    pending = [message.node]
    while pending:
        for node in pending.pop():
            if node.op not in ALLOWED and node.op not in functions:
                raise UnsupportedSource(
                    f"{path}: {node.op} {node.name!r} is not known to compute alone, so that the "
                    "graph is not run. Port it with --no-verify"
                )
            for name in {*_functions_of(node), node.op} & functions.keys() - reachable:
                reachable.add(name)
                pending.append(functions[name].node_def)
    del message.library.function[:]
    message.library.function.extend(functions[name] for name in sorted(reachable))


def _functions_of(node: Any) -> Iterator[str]:
    """Every function that an attribute of a node names."""
    for value in node.attr.values():
        yield value.func.name
        yield from (function.name for function in value.list.func)
