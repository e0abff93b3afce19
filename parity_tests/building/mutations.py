"""Ways to damage a TFLite model: operators, tensors, constants, inputs and outputs, and bytes.

A mutation takes a model as LiteRT's schema classes hold it and a generator, and
changes the model in place; constants' bytes are replaced, never written into.
"""

from __future__ import annotations

import copy
import os

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

KINDS = (
    "ADD", "SUB", "MUL", "DIV", "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "MEAN",
    "AVERAGE_POOL_2D", "PAD", "PADV2", "RELU", "RELU6", "HARD_SWISH", "LOGISTIC", "SOFTMAX",
    "RESHAPE", "SQUEEZE", "CAST", "QUANTIZE", "DEQUANTIZE", "DENSIFY", "CUSTOM",
)  # fmt: skip
NUMBERS = (0, 1, -1, 2, 3, 4, 5, 7, 127, 254, 1000, 1 << 20, (1 << 31) - 1, -(1 << 31))


def copied(model):
    """A copy that can be changed; only the constants' bytes are shared."""
    kept = {id(buffer.data): buffer.data for buffer in model.buffers}
    return copy.deepcopy(model, kept)


def packed(model) -> bytes:
    """The file's bytes."""
    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def with_kind(model, operator, kind):
    """Change the kind of an operator."""
    code = schema.OperatorCodeT()
    code.builtinCode = getattr(schema.BuiltinOperator, kind)
    code.deprecatedBuiltinCode = min(code.builtinCode, 127)
    operator.opcodeIndex = len(model.operatorCodes)
    model.operatorCodes.append(code)


def random_changes(model, rounds):
    """The bytes of models with random changes, a third of them with damaged bytes besides."""
    random = np.random.default_rng(int(os.environ.get("FUZZ_SEED", "0")))
    for _ in range(rounds):
        content = packed(mutated(model, random))
        yield content if random.integers(3) else with_bytes_spoiled(content, random)


def every_change_of_inputs(model):
    """Copies of a model, each with one operator's inputs changed: dropped, left out, twice."""
    for number, operator in enumerate(model.subgraphs[0].operators):
        given = list(operator.inputs)
        ways = [given[:i] for i in range(len(given))]
        ways += [given[:i] + given[i + 1 :] for i in range(len(given))]
        ways += [[*given[:i], -1, *given[i + 1 :]] for i in range(len(given))]
        ways += [given[::-1], given[:1] * 3, given + given, [*given, -1], [-1]]
        for inputs in ways:
            changed = copied(model)
            changed.subgraphs[0].operators[number].inputs = inputs
            yield changed


def every_change_of_kind(model):
    """Copies of a model, each with one operator of another kind, its options kept or gone."""
    for number in range(len(model.subgraphs[0].operators)):
        for kind in KINDS:
            changed = copied(model)
            operator = changed.subgraphs[0].operators[number]
            with_kind(changed, operator, kind)
            if len(kind) % 2:
                operator.builtinOptions, operator.builtinOptionsType = None, 0
            yield changed


def _some(random, items):
    return items[int(random.integers(len(items)))]


def _inputs(model, random):
    graph = model.subgraphs[0]
    operator = _some(random, graph.operators)
    inputs = list(operator.inputs) or [0]
    inputs[int(random.integers(len(inputs)))] = int(random.integers(-2, len(graph.tensors) + 1))
    operator.inputs = inputs


def _output(model, random):
    graph = model.subgraphs[0]
    operator = _some(random, graph.operators)
    operator.outputs = [int(n) for n in random.integers(0, len(graph.tensors), random.integers(3))]


def _operators(model, random):
    operators = model.subgraphs[0].operators
    place, other = (int(n) for n in random.integers(0, len(operators), 2))
    choice = random.integers(3)
    if choice == 0:
        del operators[place]
    elif choice == 1:
        operators.insert(other, copy.copy(operators[place]))
    else:
        operators[place], operators[other] = operators[other], operators[place]
    if not operators:
        operators.append(schema.OperatorT(inputs=[0], outputs=[0]))


def _kind(model, random):
    with_kind(model, _some(random, model.subgraphs[0].operators), _some(random, KINDS))


def _option(model, random):
    options = _some(random, model.subgraphs[0].operators).builtinOptions
    fields = [name for name, value in vars(options or object).items() if isinstance(value, int)]
    if options is not None and fields:
        value = _some(random, NUMBERS[:8] if random.integers(2) else NUMBERS)
        name = _some(random, fields)
        setattr(options, name, value)
        try:
            options.Pack(flatbuffers.Builder(64))
        except TypeError:  # a narrow field
            setattr(options, name, value & 1)


def _shape(model, random):
    tensor = _some(random, model.subgraphs[0].tensors)
    shape = [int(side) for side in tensor.shape]
    choice = random.integers(4)
    if choice == 0 or not shape:
        shape.insert(int(random.integers(len(shape) + 1)), int(_some(random, NUMBERS)))
    elif choice == 1:
        del shape[int(random.integers(len(shape)))]
    elif choice == 2:
        shape[int(random.integers(len(shape)))] = int(_some(random, NUMBERS))
    else:
        shape.reverse()
    tensor.shape = shape


def _type(model, random):
    _some(random, model.subgraphs[0].tensors).type = int(random.integers(0, 24))


def _constant(model, random):
    buffer = _some(random, model.buffers)
    size = 0 if buffer.data is None else len(buffer.data)
    choice = random.integers(5)
    if choice == 0:
        buffer.data = None
    elif choice == 1:
        buffer.data = np.frombuffer(random.bytes(size), np.uint8)
    elif choice == 2:
        buffer.data = np.zeros(size, np.uint8)
    elif choice == 3:
        buffer.data = np.full(size, 255, np.uint8)  # NaN, or -1
    else:
        buffer.data = np.zeros(int(random.integers(64)), np.uint8)


def _quantisation(model, random):
    tensor = _some(random, model.subgraphs[0].tensors)
    made = schema.QuantizationParametersT()
    count = int(random.integers(4))
    values = [0.0, -1.0, float("nan"), float("inf"), 1e38, 1e-40, 0.5]
    made.scale = np.array([_some(random, values) for _ in range(count)], np.float32)
    made.zeroPoint = np.array([_some(random, NUMBERS) for _ in range(count)], np.int64)
    made.quantizedDimension = int(_some(random, NUMBERS))
    tensor.quantization = made
    if random.integers(2):
        tensor.type = _some(random, (3, 9, 7, 2))


def _ends(model, random):
    graph = model.subgraphs[0]
    ends = [int(n) for n in random.integers(0, len(graph.tensors), random.integers(3))]
    if random.integers(2):
        graph.inputs = ends
    else:
        graph.outputs = ends


MUTATIONS = (
    _inputs, _output, _operators, _kind, _option, _shape, _type, _constant, _quantisation, _ends,
)  # fmt: skip


def mutated(model, random):
    """A copy of a model with up to three random changes."""
    model = copied(model)
    for _ in range(int(random.integers(1, 4))):
        _some(random, MUTATIONS)(model, random)
    return model


def with_bytes_spoiled(content, random) -> bytes:
    """A file with up to three of its first bytes changed, mostly in tables rather than weights."""
    raw = bytearray(content)
    for _ in range(int(random.integers(1, 4))):
        raw[int(random.integers(len(raw)))] = int(_some(random, (0, 1, 2, 4, 127, 128, 255)))
    return bytes(raw)
