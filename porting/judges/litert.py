"""LiteRT as judge: it runs the TFLite file itself, tensor by tensor."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from typing import Any

import numpy as np

from porting.errors import BadInput, MissingJudge
from porting.judges.run import Run
from porting.sources.tflite import TFLiteSource


class LiteRTJudge:
    """Runs a TFLite file with every intermediate result kept.

    LiteRT's plain kernels are used, without the XNNPACK delegate: a delegate
    keeps intermediate results to itself. With ``dequantised`` the file is run
    with its stored weights turned into float32 first, which tells an error of
    the port from the effect of computing in int8.

    Raises:
        MissingJudge: LiteRT is not installed.
        BadInput: LiteRT refuses the file.
    """

    def __init__(self, source: TFLiteSource, dequantised: bool = False, threads: int = 2) -> None:
        try:
            from ai_edge_litert.interpreter import Interpreter, OpResolverType
        except ImportError as error:
            raise MissingJudge(
                "the judge of a TFLite file is LiteRT, which is not installed: "
                "pip install 'genmobilenet[litert]', or port with --no-verify"
            ) from error
        self._source = source
        self.name = "LiteRT, weights dequantised" if dequantised else "LiteRT"
        self.version = importlib.metadata.version("ai-edge-litert")
        content = _dequantised(source) if dequantised else None
        try:
            self._interpreter: Any = Interpreter(
                model_path=None if dequantised else str(source.path),
                model_content=content,
                num_threads=threads,
                experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
                experimental_preserve_all_tensors=True,
            )
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise BadInput(f"{source.path}: LiteRT cannot run it: {error}") from error
        self._input = self._interpreter.get_input_details()[0]["index"]

    def run(self, inputs: np.ndarray, taps: Mapping[str, str]) -> Run:
        """Run the file on inputs (N, H, W, C), one by one.

        ``taps`` gives, by tap, the tensor's name in the source. The run's
        arrays are NHWC, or (N, C) where the graph has no spatial axes there.
        """
        numbers = {tap: self._source.index_of(tensor) for tap, tensor in taps.items()}
        seen: dict[str, list[np.ndarray]] = {tap: [] for tap in taps}
        for image in inputs:
            self._interpreter.set_tensor(self._input, image[None])
            self._interpreter.invoke()
            for tap, number in numbers.items():
                seen[tap].append(self._interpreter.get_tensor(number))
        arrays = {tap: np.concatenate(parts) for tap, parts in seen.items()}
        return Run(arrays, self.name, self.version)


def _dequantised(source: TFLiteSource) -> bytes:
    """The file with float32 weights, rebuilt by LiteRT's own schema classes.

    The reader of ``porting.sources`` takes no part in it: a mistake there must
    not reach the judge.
    """
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(source.path.read_bytes(), 0)
    graph = model.subgraphs[0]
    codes = [max(c.deprecatedBuiltinCode, c.builtinCode) for c in model.operatorCodes]
    behind = _drop_dequantise(graph, codes, model.buffers, schema)
    for operator in graph.operators:
        operator.inputs = [behind.get(i, i) for i in operator.inputs]
    hybrid = {op.inputs[1] for op in graph.operators if len(op.inputs) > 1}
    for index, tensor in enumerate(graph.tensors):
        values = _real_values(tensor, model.buffers, schema, index in hybrid - set(behind.values()))
        if values is not None:
            tensor.type, tensor.quantization = schema.TensorType.FLOAT32, None
            tensor.buffer = len(model.buffers)
            model.buffers.append(schema.BufferT(data=values.ravel().view(np.uint8)))
    builder = flatbuffers.Builder(source.path.stat().st_size * 4)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _drop_dequantise(graph: Any, codes: list[int], buffers: Any, schema: Any) -> dict[int, int]:
    """Remove the operators that dequantise constants: what they made -> the constant."""
    behind: dict[int, int] = {}
    kept = []
    for operator in graph.operators:
        constant = _data(graph.tensors[operator.inputs[0]], buffers) is not None
        if codes[operator.opcodeIndex] == schema.BuiltinOperator.DEQUANTIZE and constant:
            behind[operator.outputs[0]] = operator.inputs[0]
        else:
            kept.append(operator)
    graph.operators = kept
    return behind


def _data(tensor: Any, buffers: Any) -> np.ndarray | None:
    data = buffers[tensor.buffer].data
    return None if data is None or len(data) == 0 else np.asarray(data, np.uint8)


def _real_values(tensor: Any, buffers: Any, schema: Any, legacy: bool) -> np.ndarray | None:
    """A stored constant's float32 values, or None where it needs no change.

    ``legacy``: a hybrid weight typed uint8 holds int8 bytes, as in the kernels.
    """
    data = _data(tensor, buffers)
    if data is None:
        return None
    if tensor.type == schema.TensorType.FLOAT16:
        return data.view(np.float16).astype(np.float32)
    kinds = {schema.TensorType.INT8: np.int8, schema.TensorType.UINT8: np.uint8}
    quantisation = tensor.quantization
    if tensor.type not in kinds or quantisation is None or quantisation.scale is None:
        return None
    signed = legacy or tensor.type == schema.TensorType.INT8
    stored = data.view(np.int8 if signed else np.uint8).reshape(tensor.shape)
    scale = np.asarray(quantisation.scale, np.float32)
    zero = np.asarray(quantisation.zeroPoint, np.int64)
    if scale.size > 1:
        along = [1] * stored.ndim
        along[quantisation.quantizedDimension] = -1
        scale, zero = scale.reshape(along), zero.reshape(along)
    return np.ascontiguousarray((stored - zero).astype(np.float32) * scale)
