"""The parts of the TFLite schema that weights and graphs need, as data.

Field numbers and codes: tensorflow/lite ``schema.fbs`` (schema version 3).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

IDENTIFIER = b"TFL3"

METADATA = "TFLITE_METADATA"
"""The entry of ``Model.metadata`` that leads to the TFLite metadata."""

OPERATORS: tuple[str, ...] = tuple(
    """
    ADD AVERAGE_POOL_2D CONCATENATION CONV_2D DEPTHWISE_CONV_2D DEPTH_TO_SPACE DEQUANTIZE
    EMBEDDING_LOOKUP FLOOR FULLY_CONNECTED HASHTABLE_LOOKUP L2_NORMALIZATION L2_POOL_2D
    LOCAL_RESPONSE_NORMALIZATION LOGISTIC LSH_PROJECTION LSTM MAX_POOL_2D MUL RELU RELU_N1_TO_1
    RELU6 RESHAPE RESIZE_BILINEAR RNN SOFTMAX SPACE_TO_DEPTH SVDF TANH CONCAT_EMBEDDINGS
    SKIP_GRAM CALL CUSTOM EMBEDDING_LOOKUP_SPARSE PAD UNIDIRECTIONAL_SEQUENCE_RNN GATHER
    BATCH_TO_SPACE_ND SPACE_TO_BATCH_ND TRANSPOSE MEAN SUB DIV SQUEEZE
    UNIDIRECTIONAL_SEQUENCE_LSTM STRIDED_SLICE BIDIRECTIONAL_SEQUENCE_RNN EXP TOPK_V2 SPLIT
    LOG_SOFTMAX DELEGATE BIDIRECTIONAL_SEQUENCE_LSTM CAST PRELU MAXIMUM ARG_MAX MINIMUM LESS NEG
    PADV2 GREATER GREATER_EQUAL LESS_EQUAL SELECT SLICE SIN TRANSPOSE_CONV SPARSE_TO_DENSE TILE
    EXPAND_DIMS EQUAL NOT_EQUAL LOG SUM SQRT RSQRT SHAPE POW ARG_MIN FAKE_QUANT REDUCE_PROD
    REDUCE_MAX PACK LOGICAL_OR ONE_HOT LOGICAL_AND LOGICAL_NOT UNPACK REDUCE_MIN FLOOR_DIV
    REDUCE_ANY SQUARE ZEROS_LIKE FILL FLOOR_MOD RANGE RESIZE_NEAREST_NEIGHBOR LEAKY_RELU
    SQUARED_DIFFERENCE MIRROR_PAD ABS SPLIT_V UNIQUE CEIL REVERSE_V2 ADD_N GATHER_ND COS WHERE
    RANK ELU REVERSE_SEQUENCE MATRIX_DIAG QUANTIZE MATRIX_SET_DIAG ROUND HARD_SWISH IF WHILE
    NON_MAX_SUPPRESSION_V4 NON_MAX_SUPPRESSION_V5 SCATTER_ND SELECT_V2 DENSIFY SEGMENT_SUM
    BATCH_MATMUL PLACEHOLDER_FOR_GREATER_OP_CODES CUMSUM CALL_ONCE BROADCAST_TO RFFT2D CONV_3D
    IMAG REAL COMPLEX_ABS HASHTABLE HASHTABLE_FIND HASHTABLE_IMPORT HASHTABLE_SIZE REDUCE_ALL
    CONV_3D_TRANSPOSE VAR_HANDLE READ_VARIABLE ASSIGN_VARIABLE BROADCAST_ARGS
    RANDOM_STANDARD_NORMAL BUCKETIZE RANDOM_UNIFORM MULTINOMIAL GELU DYNAMIC_UPDATE_SLICE
    RELU_0_TO_1 UNSORTED_SEGMENT_PROD UNSORTED_SEGMENT_MAX UNSORTED_SEGMENT_SUM ATAN2
    UNSORTED_SEGMENT_MIN SIGN BITCAST BITWISE_XOR RIGHT_SHIFT STABLEHLO_LOGISTIC STABLEHLO_ADD
    STABLEHLO_DIVIDE STABLEHLO_MULTIPLY STABLEHLO_MAXIMUM STABLEHLO_RESHAPE STABLEHLO_CLAMP
    STABLEHLO_CONCATENATE STABLEHLO_BROADCAST_IN_DIM STABLEHLO_CONVOLUTION STABLEHLO_SLICE
    STABLEHLO_CUSTOM_CALL STABLEHLO_REDUCE STABLEHLO_ABS STABLEHLO_AND STABLEHLO_COSINE
    STABLEHLO_EXPONENTIAL STABLEHLO_FLOOR STABLEHLO_LOG STABLEHLO_MINIMUM STABLEHLO_NEGATE
    STABLEHLO_OR STABLEHLO_POWER STABLEHLO_REMAINDER STABLEHLO_RSQRT STABLEHLO_SELECT
    STABLEHLO_SUBTRACT STABLEHLO_TANH STABLEHLO_SCATTER STABLEHLO_COMPARE STABLEHLO_CONVERT
    STABLEHLO_DYNAMIC_SLICE STABLEHLO_DYNAMIC_UPDATE_SLICE STABLEHLO_PAD STABLEHLO_IOTA
    STABLEHLO_DOT_GENERAL STABLEHLO_REDUCE_WINDOW STABLEHLO_SORT STABLEHLO_WHILE
    STABLEHLO_GATHER STABLEHLO_TRANSPOSE DILATE STABLEHLO_RNG_BIT_GENERATOR REDUCE_WINDOW
    STABLEHLO_COMPOSITE STABLEHLO_SHIFT_LEFT STABLEHLO_CBRT STABLEHLO_CASE
    """.split()
)
"""``BuiltinOperator``: a name's index is its code."""

CUSTOM = OPERATORS.index("CUSTOM")

TENSOR_TYPES: dict[int, str] = {
    0: "float32",
    1: "float16",
    2: "int32",
    3: "uint8",
    4: "int64",
    5: "string",
    6: "bool",
    7: "int16",
    8: "complex64",
    9: "int8",
    10: "float64",
    11: "complex128",
    12: "uint64",
    13: "resource",
    14: "variant",
    15: "uint32",
    16: "uint16",
    17: "int4",
    18: "bfloat16",
    19: "int2",
    20: "uint4",
    21: "float8_e4m3fn",
    22: "float8_e5m2",
}
"""``TensorType``."""

ACTIVATIONS: dict[int, str] = {
    0: "none",
    1: "relu",
    2: "relu_n1_to_1",
    3: "relu6",
    4: "tanh",
    5: "sign_bit",
}
"""``ActivationFunctionType``, fused into the operator before it."""

PADDINGS: dict[int, str] = {0: "SAME", 1: "VALID"}
"""``Padding``."""

MIRRORS: dict[int, str] = {0: "REFLECT", 1: "SYMMETRIC"}
"""``MirrorPadMode``."""

VECTOR = "[i"
"""An option's code where it is a vector of integers; an absent one is empty."""


@dataclass(frozen=True)
class Option:
    """One field of an operator's options: its slot, ``struct`` code or VECTOR, and default."""

    slot: int
    code: str
    default: int | float = 0
    names: dict[int, str] | None = None


_ACTIVATION = {"activation": Option(0, "b", 0, ACTIVATIONS)}
_POOL = {
    "padding": Option(0, "b", 0, PADDINGS),
    "stride_w": Option(1, "i"),
    "stride_h": Option(2, "i"),
    "filter_w": Option(3, "i"),
    "filter_h": Option(4, "i"),
    "activation": Option(5, "b", 0, ACTIVATIONS),
}

OPTIONS: dict[str, dict[str, Option]] = {
    "CONV_2D": {
        "padding": Option(0, "b", 0, PADDINGS),
        "stride_w": Option(1, "i"),
        "stride_h": Option(2, "i"),
        "activation": Option(3, "b", 0, ACTIVATIONS),
        "dilation_w": Option(4, "i", 1),
        "dilation_h": Option(5, "i", 1),
    },
    "DEPTHWISE_CONV_2D": {
        "padding": Option(0, "b", 0, PADDINGS),
        "stride_w": Option(1, "i"),
        "stride_h": Option(2, "i"),
        "depth_multiplier": Option(3, "i"),
        "activation": Option(4, "b", 0, ACTIVATIONS),
        "dilation_w": Option(5, "i", 1),
        "dilation_h": Option(6, "i", 1),
    },
    "AVERAGE_POOL_2D": _POOL,
    "MAX_POOL_2D": _POOL,
    "FULLY_CONNECTED": _ACTIVATION,
    "ADD": _ACTIVATION,
    "SUB": _ACTIVATION,
    "MUL": _ACTIVATION,
    "DIV": _ACTIVATION,
    "MEAN": {"keep_dims": Option(0, "?", 0)},
    "SOFTMAX": {"beta": Option(0, "f", 0.0)},
    "CONCATENATION": {"axis": Option(0, "i"), "activation": Option(1, "b", 0, ACTIVATIONS)},
    "SPLIT": {"parts": Option(0, "i")},
    "SPLIT_V": {"parts": Option(0, "i")},
    "STRIDED_SLICE": {
        "begin_mask": Option(0, "i"),
        "end_mask": Option(1, "i"),
        "ellipsis_mask": Option(2, "i"),
        "new_axis_mask": Option(3, "i"),
        "shrink_axis_mask": Option(4, "i"),
    },
    "RESHAPE": {"shape": Option(0, VECTOR)},
    "SQUEEZE": {"axes": Option(0, VECTOR)},
    "MIRROR_PAD": {"mode": Option(0, "b", 0, MIRRORS)},
}
"""Options by operator.

An operator that is not listed is read without any. Some have none, and take
what others have as options from constants among their inputs: the paddings of
PAD, PADV2 and MIRROR_PAD (rank, 2), the permutation of TRANSPOSE, the axis of
SPLIT (its first input).
"""

TEXT = "text"
Layout: TypeAlias = "dict[int, int | str | Layout | list[Layout]]"
"""Slot -> a vector's bytes an element, TEXT, a table, or in a list the elements of a vector of
tables."""

_MAPS: list[Layout] = [{0: TEXT}]
_TENSOR: Layout = {
    0: 4,
    3: TEXT,
    4: {0: 4, 1: 4, 2: 4, 3: 8, 5: {}},
    6: {},
    7: 4,
    9: [{0: 4}],
}
_OPERATOR: Layout = {1: 4, 2: 4, 4: {}, 5: 1, 7: 1, 8: 4, 12: {}}
_SUBGRAPH: Layout = {0: [_TENSOR], 1: 4, 2: 4, 3: [_OPERATOR], 4: TEXT}
MODEL: Layout = {
    1: [{1: TEXT}],
    2: [_SUBGRAPH],
    3: TEXT,
    4: [{0: 1}],
    5: 4,
    6: [{0: TEXT}],
    7: [{0: _MAPS, 1: _MAPS, 2: TEXT}],
}
"""All vectors, texts and tables that a file declares.

Options of operators and sparsity are followed no further than their own table.
"""
