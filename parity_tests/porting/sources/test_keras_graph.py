"""The graph of a Keras model, read from configurations that are written here by hand."""

from __future__ import annotations

import itertools
import json
import time

import numpy as np
import pytest

from parity_tests.building.keras_files import entry, values, write_archive, write_legacy
from porting.errors import BadInput, BadSource, MappingError, UnsupportedSource
from porting.mapping.recognise import find_match
from porting.sources.keras import KerasSource

SIDE = 8
VARIABLES = {
    "conv": {"kernel": values(3, 3, 3, 4)},
    "dw": {"depthwise_kernel": values(3, 3, 4, 1), "bias": values(4)},
    "out": {"kernel": values(4, 2), "bias": values(2)},
}


def called(*inputs, **keywords):
    """A call as tf.keras writes it."""
    return [[[name, 0, 0, keywords] for name in inputs]]


def functional(layers, inputs="image", outputs="out", name="net"):
    ends = {"input_layers": [[inputs, 0, 0]], "output_layers": [[outputs, 0, 0]]}
    return {"class_name": "Functional", "config": {"name": name, "layers": layers, **ends}}


def image(name="image", shape=(None, SIDE, SIDE, 3)):
    return entry(name, "InputLayer", {"batch_input_shape": list(shape)}, inbound_nodes=[])


CONV = ("Conv2D", {"use_bias": False, "strides": [2, 2], "padding": "same"})
LAYERS = [
    image(),
    entry("noise", "GaussianNoise", {"stddev": 0.1}, inbound_nodes=called("image")),
    entry("conv", *CONV, inbound_nodes=called("noise")),
    entry("dw", "DepthwiseConv2D", {"groups": 1, "activation": "relu6"},
          inbound_nodes=called("conv")),
    entry("pool", "GlobalAveragePooling2D", {}, inbound_nodes=called("dw")),
    entry("out", "Dense", {"activation": "softmax"}, inbound_nodes=called("pool")),
]  # fmt: skip


def source_of(tmp_path, config, layers=VARIABLES):
    config = config if isinstance(config, str) else json.dumps(config)
    return KerasSource(write_legacy(tmp_path / "m.h5", layers=layers, config=config))


def changed(place, **changes):
    """The layers with one of them changed, a call or a setting."""
    layers = json.loads(json.dumps(LAYERS))
    calls = changes.pop("inbound_nodes", None)
    layers[place]["config"] |= changes
    if calls is not None:
        layers[place]["inbound_nodes"] = calls
    return layers


def test_a_functional_model(tmp_path):
    source = source_of(tmp_path, functional(LAYERS))
    assert [(o.kind, o.inputs[0], o.outputs[0]) for o in source.graph.operators] == [
        ("CAST", "image", "noise"),
        ("CONV_2D", "noise", "conv"),
        ("DEPTHWISE_CONV_2D", "conv", "dw (linear)"),
        ("RELU6", "dw (linear)", "dw"),
        ("MEAN", "dw", "pool"),
        ("FULLY_CONNECTED", "pool", "out (linear)"),
        ("SOFTMAX", "out (linear)", "out"),
    ]
    assert source.graph.inputs == ("image",)
    assert source.graph.outputs == ("out",)
    shapes = {name: info.shape for name, info in source.activations.items()}
    assert shapes["image"] == (1, 8, 8, 3)
    assert (shapes["conv"], shapes["dw"]) == ((1, 4, 4, 4), (1, 2, 2, 4))
    assert (shapes["pool"], shapes["out"]) == ((1, 4), (1, 2))
    convolution = source.graph.operators[1]
    assert convolution.inputs == ("noise", "conv/kernel", None)
    assert (convolution.options["stride_h"], convolution.options["padding"]) == (2, "SAME")


def test_models_inside_a_model(tmp_path):
    inner = functional([image("inner"), entry("conv", *CONV, inbound_nodes=called("inner"))],
                       "inner", "conv", "base")  # fmt: skip
    head = [entry("out", "Dense", {"activation": "linear"})]
    config = {
        "class_name": "Sequential",
        "config": {
            "name": "whole",
            "layers": [
                image(),
                {**inner, "name": "base"},
                entry("pool", "GlobalAveragePooling2D", {}),
                {"class_name": "Sequential", "config": {"name": "head", "layers": head}},
            ],
        },
    }
    layers = {
        "base": {"conv/kernel": VARIABLES["conv"]["kernel"]},
        "head": {f"out/{name}": array for name, array in VARIABLES["out"].items()},
    }

    def regroup(file):
        # Keras 2 writes a model's weights under the names of its layers.
        for group, names in (("base", ["conv/kernel:0"]), ("head", ["out/kernel:0", "out/bias:0"])):
            held = file["model_weights"][group]
            for name in names:
                held.move(f"{group}/{name}", name)
            held.attrs["weight_names"] = [name.encode() for name in names]

    path = write_legacy(tmp_path / "m.h5", layers=layers, config=json.dumps(config), change=regroup)
    source = KerasSource(path)
    assert set(source.tensors) >= {"base/conv/kernel", "head/out/kernel", "head/out/bias"}
    operators = {o.outputs[0]: o for o in source.graph.operators}
    assert list(operators) == ["base/conv", "pool", "head/out"]
    assert operators["base/conv"].inputs[:2] == ("image", "base/conv/kernel")
    assert operators["head/out"].inputs == ("pool", "head/out/kernel", "head/out/bias")


def test_functions_of_tensorflow(tmp_path):
    layers = changed(2, inbound_nodes=called("tf.math.subtract"))
    layers[1:2] = [
        entry("tf.math.truediv", "TFOpLambda", {"function": "math.truediv"},
              inbound_nodes=[["image", 0, 0, {"y": 127.5, "name": None}]]),
        entry("tf.math.subtract", "TFOpLambda", {"function": "math.subtract"},
              inbound_nodes=[["tf.math.truediv", 0, 0, {"y": 1.0, "name": None}]]),
    ]  # fmt: skip
    source = source_of(tmp_path, functional(layers))
    first, second = source.graph.operators[:2]
    assert (first.kind, second.kind) == ("DIV", "SUB")
    assert source.read(first.inputs[1]) == np.float32(127.5)
    assert second.inputs[0] == first.outputs[0]


def test_the_second_call_of_a_layer_has_a_number(tmp_path):
    relu = entry("relu", "ReLU", {"max_value": 6.0},
                 inbound_nodes=[*called("noise"), *called("conv")])  # fmt: skip
    layers = [*LAYERS[:2], relu, *LAYERS[2:]]
    layers[3] = entry("conv", *CONV, inbound_nodes=called("relu"))
    layers[4] = {**layers[4], "inbound_nodes": [[["relu", 1, 0, {}]]]}
    source = source_of(tmp_path, functional(layers))
    names = [o.outputs[0] for o in source.graph.operators]
    assert names[1:5] == ["relu", "conv", "relu:1", "dw (linear)"]


def test_a_hard_sigmoid_of_keras_2_is_another_function(tmp_path):
    config = functional(changed(3, activation="hard_sigmoid"))
    assert source_of(tmp_path, config).graph.operators[3].kind == "Activation(hard_sigmoid)"
    groups = {"conv": "conv2d", "dw": "depthwise_conv2d", "out": "dense"}
    path = write_archive(
        tmp_path / "m.keras", config=json.dumps(config), layers=VARIABLES, groups=groups
    )
    assert KerasSource(path).graph.operators[3].kind == "HARD_SIGMOID"


@pytest.mark.parametrize("training", [True, False, None])
def test_a_layer_that_always_computes_as_in_training(tmp_path, training):
    config = functional(changed(1, inbound_nodes=called("image", training=training)))
    if not training:
        assert len(source_of(tmp_path, config).graph.operators) > 4
        return
    message = r"'noise' is called with training=True, so that 'noise' \(GaussianNoise\) computes as"
    with pytest.raises(UnsupportedSource, match=message):
        source_of(tmp_path, config)


@pytest.mark.parametrize("trainable", [True, False])
def test_a_batch_norm_that_is_not_trained_computes_as_in_inference(tmp_path, trainable):
    layers = json.loads(json.dumps(LAYERS))
    layers[1] = entry("norm", "BatchNormalization", {"trainable": trainable},
                      inbound_nodes=called("image", training=True))  # fmt: skip
    layers[2]["inbound_nodes"] = called("norm")
    names = ("gamma", "beta", "moving_mean", "moving_variance")
    weights = {"norm": {name: values(3) for name in names}, **VARIABLES}
    if trainable:
        with pytest.raises(UnsupportedSource, match=r"so that 'norm' .* computes as in training"):
            source_of(tmp_path, functional(layers), weights)
    else:
        graph = source_of(tmp_path, functional(layers), weights).graph
        assert graph.operators[0].kind == "BATCH_NORM"


def test_the_axes_that_a_mean_keeps(tmp_path):
    mean = {"class_name": "TFOpLambda", "name": "pool",
            "config": {"name": "pool", "function": "math.reduce_mean"},
            "inbound_nodes": [["dw", 0, 0, {"axis": [1, 2], "keepdims": True}]]}  # fmt: skip
    layers = [*LAYERS[:4], mean, entry("out", "Flatten", {}, inbound_nodes=called("pool"))]
    source = source_of(tmp_path, functional(layers), {n: VARIABLES[n] for n in ("conv", "dw")})
    assert source.activations["pool"].shape == (1, 1, 1, 4)


def test_a_lambda_is_named_and_not_run(tmp_path):
    code = {"function": ["4wEAAAAAAAAA", None, None], "function_type": "lambda"}
    layers = [*LAYERS[:1], entry("code", "Lambda", code, inbound_nodes=called("image"))]
    layers += changed(2, inbound_nodes=called("code"))[2:]
    with pytest.raises(MappingError, match="its layer 'code' is a Lambda: Python code, which is n"):
        find_match(source_of(tmp_path, functional(layers)), None)


CIRCLE = changed(2, inbound_nodes=called("pool"))
DAMAGED = {
    "layers take each other's results in a circle": functional(CIRCLE),
    "refers to a layer 'nobody', which it does not have": functional(
        changed(2, inbound_nodes=called("nobody"))
    ),
    "'image' has no output 3": functional(changed(1, inbound_nodes=[[["image", 0, 3, {}]]])),
    "'noise' is called 1 times; its call 4": functional(
        changed(2, inbound_nodes=[[["noise", 4, 0, {}]]])
    ),
    "the model 'net' refers to a layer 'end'": functional(LAYERS, outputs="end"),
    "the calls of 'conv' are not a list": functional(changed(2, inbound_nodes="image")),
    "a call of 'conv' is damaged": functional(changed(2, inbound_nodes=[[[1, 2]]])),
    "a stride of 0": functional(changed(2, strides=[0, 0])),
    "expected one or two whole numbers, found 1.5": functional(changed(2, strides=1.5)),
    "padding \"\\['x'\\]\"; expected 'same'": functional(changed(2, padding=["x"])),
    "by its settings": functional(changed(2, kernel_size=[5, 5])),
    "the shape of 'image' is": functional([image(shape=(None, 1 << 40, "x", 3)), *LAYERS[1:]]),
    "two layers of 'net' have the same name": functional([*LAYERS, LAYERS[1]]),
}


@pytest.mark.parametrize("message", DAMAGED)
def test_a_damaged_configuration(tmp_path, message):
    with pytest.raises(BadSource, match=message):
        source_of(tmp_path, DAMAGED[message])


def test_models_too_deep_inside_each_other(tmp_path):
    model = functional(LAYERS)
    for number in range(40):
        model = {"class_name": "Sequential", "config": {"name": f"m{number}", "layers": [model]}}
    with pytest.raises(BadSource, match="models lie over 32 deep inside each other"):
        source_of(tmp_path, model)


def test_models_that_are_called_many_times(tmp_path):
    inner = functional(
        [image("x"), entry("y", "Dropout", {}, inbound_nodes=called("x"))], "x", "y", "m0"
    )
    for number in range(1, 25):
        calls = [*called("x"), [[f"m{number - 1}", 0, 0, {}]]]
        layers = [image("x"), {**inner, "name": f"m{number - 1}", "inbound_nodes": calls}]
        inner = functional(layers, "x", f"m{number - 1}", f"m{number}")
        inner["config"]["output_layers"] = [[f"m{number - 1}", 1, 0]]
    start = time.monotonic()
    with pytest.raises(BadSource, match="more than 10,000 "):
        source_of(tmp_path, inner, {})
    assert time.monotonic() - start < 20


def test_many_layers(tmp_path):
    count = 11_000
    names = ["image", *(str(number) for number in range(count))]
    layers = [image()]
    layers += [
        {"class_name": "Dropout", "name": name, "config": {}, "inbound_nodes": called(before)}
        for before, name in itertools.pairwise(names)
    ]
    with pytest.raises(BadSource, match="more than 10,000 operators"):
        source_of(tmp_path, functional(layers, outputs=names[-1]), {})


@pytest.mark.parametrize("wrong", [None, 7, "x", [], {}, [[]], {"class_name": 3}, True, 1e308])
def test_wrong_types_everywhere(tmp_path, wrong):
    places = []

    def walk(item, path):
        pairs = item.items() if isinstance(item, dict) else enumerate(item)
        for key, value in list(pairs):
            places.append((*path, key))
            if isinstance(value, (dict, list)):
                walk(value, (*path, key))

    text = json.dumps(functional(LAYERS))
    walk(json.loads(text), ())
    path = write_legacy(tmp_path / "m.h5", layers=VARIABLES, config=text)
    listing, read = _listing_of(path)
    for place in places[:: max(len(places) // 60, 1)]:
        config = json.loads(text)
        inner = config
        for key in place[:-1]:
            inner = inner[key]
        inner[place[-1]] = wrong
        listing.attributes[""]["model_config"] = json.dumps(config)
        try:
            source = read(listing)
            if source.graph is not None:
                find_match(source, "tf_mobilenetv1_025")
        except BadInput as error:
            assert str(path) in str(error)
            assert len(str(error)) < 3_000


def _listing_of(path):
    """A file's listing, and what reads the file with another one: listing takes a process each."""
    from porting.sources.keras import reader

    listing = reader.list_hdf5(path, str(path))

    def read(other):
        before, reader.list_hdf5 = reader.list_hdf5, lambda *_: other
        try:
            return KerasSource(path)
        finally:
            reader.list_hdf5 = before

    return listing, read
