"""TFLite files made with LiteRT's own schema classes.

Nothing of ``porting`` is used, so that a mistake in the reader or the mapping
is not made here too.
"""

from __future__ import annotations

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

ACTIVATION = {"none": 0, "relu": 1, "relu6": 3}
_TYPES = {
    "float32": 0, "float16": 1, "int32": 2, "uint8": 3, "int64": 4, "int16": 7, "int8": 9,
    "int4": 17, "bfloat16": 18, "int2": 19,
}  # fmt: skip
_INDEX_VECTORS = {"i4": schema.Int32VectorT, "u2": schema.Uint16VectorT, "u1": schema.Uint8VectorT}


class TFLiteBuilder:
    """One subgraph, put together tensor by tensor and operator by operator."""

    def __init__(self, codes_of_2018: bool = True) -> None:
        self.model = schema.ModelT()
        self.model.version = 3
        self.model.description = b"made in a test"
        self.model.buffers = [schema.BufferT()]
        self.model.operatorCodes = []
        self.graph = schema.SubGraphT()
        self.graph.tensors, self.graph.operators = [], []
        self.model.subgraphs = [self.graph]
        self.codes_of_2018 = codes_of_2018

    def tensor(self, name, shape, dtype="float32", data=None, quantisation=None, sparsity=None):
        """Add a tensor and return its number; with ``data`` it is a constant.

        ``quantisation`` is (scales, zero points, axis), ``sparsity`` what
        :func:`sparsity` gives.
        """
        made = schema.TensorT()
        made.name, made.shape, made.type = name, list(shape), _TYPES[dtype]
        if data is None:
            made.buffer = 0
        else:
            made.buffer = len(self.model.buffers)
            raw = np.ascontiguousarray(data).ravel().view(np.uint8)
            self.model.buffers.append(schema.BufferT(data=raw))
        if quantisation is not None:
            scale, zero, axis = quantisation
            made.quantization = schema.QuantizationParametersT()
            made.quantization.scale = np.asarray(scale, np.float32)
            made.quantization.zeroPoint = np.asarray(zero, np.int64)
            made.quantization.quantizedDimension = axis
        made.sparsity = sparsity
        self.graph.tensors.append(made)
        return len(self.graph.tensors) - 1

    def metadata(self, name, content):
        """Add metadata."""
        self.model.buffers.append(schema.BufferT(data=np.frombuffer(content, np.uint8)))
        made = schema.MetadataT(name=name, buffer=len(self.model.buffers) - 1)
        self.model.metadata = [*(self.model.metadata or []), made]

    def subgraph(self, inputs, outputs):
        """Finish the subgraph with these ends; what is added from now on is in another."""
        self.graph.inputs, self.graph.outputs = list(inputs), list(outputs)
        self.graph = schema.SubGraphT()
        self.graph.tensors, self.graph.operators = [], []
        self.model.subgraphs.append(self.graph)

    def signature(self, name, number, inputs=(), outputs=()):
        """Add a signature of a subgraph, with its tensors by name."""
        made = schema.SignatureDefT(signatureKey=name, subgraphIndex=number)
        made.inputs = [schema.TensorMapT(name=key, tensorIndex=n) for key, n in inputs]
        made.outputs = [schema.TensorMapT(name=key, tensorIndex=n) for key, n in outputs]
        self.model.signatureDefs = [*(self.model.signatureDefs or []), made]

    def operator(self, kind, inputs, output, options=None):
        """Add an operator that gives the tensor ``output``, and return that."""
        made = schema.OperatorT()
        made.opcodeIndex = self._code(getattr(schema.BuiltinOperator, kind))
        made.inputs, made.outputs = list(inputs), [output]
        if options is not None:
            made.builtinOptions = options
            name = type(options).__name__.removesuffix("T")
            made.builtinOptionsType = getattr(schema.BuiltinOptions, name)
        self.graph.operators.append(made)
        return output

    def _code(self, number):
        """A file of 2018 has the operator's code in the narrow field alone."""
        for index, code in enumerate(self.model.operatorCodes):
            if max(code.deprecatedBuiltinCode, code.builtinCode) == number:
                return index
        code = schema.OperatorCodeT()
        code.deprecatedBuiltinCode = min(number, 127)
        code.builtinCode = 0 if self.codes_of_2018 else number
        code.version = 1
        self.model.operatorCodes.append(code)
        return len(self.model.operatorCodes) - 1

    def finish(self, inputs, outputs) -> bytes:
        """The file's bytes."""
        self.graph.inputs, self.graph.outputs = list(inputs), list(outputs)
        builder = flatbuffers.Builder(1 << 16)
        builder.Finish(self.model.Pack(builder), b"TFL3")
        return bytes(builder.Output())


def sparsity(order, block_map, *levels):
    """Sparsity parameters; a level is its size, or (segments, indices, type of both)."""
    made = schema.SparsityParametersT()
    made.traversalOrder, made.blockMap = list(order), list(block_map)
    made.dimMetadata = [_level(level) for level in levels]
    return made


def _level(level):
    made = schema.DimensionMetadataT()
    if isinstance(level, int):
        made.denseSize = level
        return made
    segments, indices, dtype = level
    made.format = schema.DimensionType.SPARSE_CSR
    kind = _INDEX_VECTORS[dtype]
    number = getattr(schema.SparseIndexVector, kind.__name__.removesuffix("T"))
    made.arraySegmentsType = made.arrayIndicesType = number
    made.arraySegments, made.arrayIndices = kind(), kind()
    made.arraySegments.values = np.asarray(segments, dtype)
    made.arrayIndices.values = np.asarray(indices, dtype)
    return made


def convolution_options(stride=1, activation="none", valid=False):
    """Options of a CONV_2D."""
    options = schema.Conv2DOptionsT()
    options.padding = int(valid)
    options.strideW = options.strideH = stride
    options.dilationWFactor = options.dilationHFactor = 1
    options.fusedActivationFunction = ACTIVATION[activation]
    return options


def depthwise_options(stride=1, activation="none", valid=False):
    """Options of a DEPTHWISE_CONV_2D with a multiplier of 1."""
    options = schema.DepthwiseConv2DOptionsT()
    options.padding = int(valid)
    options.strideW = options.strideH = stride
    options.dilationWFactor = options.dilationHFactor = options.depthMultiplier = 1
    options.fusedActivationFunction = ACTIVATION[activation]
    return options


def mean_options(keep):
    """Options of a MEAN."""
    options = schema.ReducerOptionsT()
    options.keepDims = keep
    return options
