"""Keras's layer names mapped to module names: every variable and every key of the real models."""

from __future__ import annotations

import re
from dataclasses import replace
from importlib.util import find_spec
from types import SimpleNamespace

import pytest

from genmobilenet import create_model, get_config
from parity_tests.building.keras_models import build
from parity_tests.building.sampling import sampled
from porting.graph.layers import layers_of
from porting.judges.keras import Application
from porting.mapping.rules import rules_for
from porting.mapping.rules.keras import KERAS_NAMES, modules_by_name, places_numbered

V1, V2 = KERAS_NAMES["keras mobilenet"], KERAS_NAMES["keras mobilenet_v2"]
V3, OLD_V3 = KERAS_NAMES["keras mobilenet_v3"], KERAS_NAMES["keras 2 mobilenet_v3"]

EFFICIENTNET = KERAS_NAMES["keras efficientnet"]

NETWORKS = {
    **{f"tf_mobilenetv1_{int(a * 100):03d}": ("MobileNet", a) for a in (0.25, 0.5, 0.75, 1.0)},
    **{
        f"tf_mobilenetv2_{int(a * 100):03d}": ("MobileNetV2", a)
        for a in (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)
    },
    **{
        f"tf_mobilenetv3_{size.lower()}_{int(a * 100):03d}": (f"MobileNetV3{size}", a)
        for size in ("Large", "Small")
        for a in (0.75, 1.0)
    },
    "tf_mobilenetv3_large_minimal_100": ("MobileNetV3Large", 1.0, True),
    "tf_mobilenetv3_small_minimal_100": ("MobileNetV3Small", 1.0, True),
    "tf_efficientnet_b0": ("EfficientNetB0", 1.0),
    "tf_efficientnet_b2": ("EfficientNetB2", 1.0),
}
SUFFIXES = {
    "kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


def naming_of(family):
    if family.startswith("Efficient"):
        return EFFICIENTNET
    return {"MobileNet": V1, "MobileNetV2": V2}.get(family, V3)


def shape_in_torch(shape, depthwise, key):
    """HWIO -> OIHW, HWC1 -> C1HW, IO -> OI; a classifier by convolution loses its sides."""
    if len(shape) == 4:
        shape = tuple(shape[i] for i in ((2, 3, 0, 1) if depthwise else (3, 2, 0, 1)))
        return shape[:2] if key == "classifier.weight" else shape
    return shape[::-1]


@pytest.mark.skipif(find_spec("keras") is None, reason="Keras is not installed")
@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("classes", sampled([1000, 11], [11]))
def test_names_cover_both_sides_with_their_shapes(name, classes):
    family, alpha, *minimalistic = NETWORKS[name]
    application = Application(family, alpha, bool(minimalistic), classes, 32)
    keras_model = build(application)
    config = replace(get_config(name), num_classes=classes)
    modules = modules_by_name(layers_of(config), naming_of(family))
    reached = {}
    normalising = [x for x in keras_model.layers if type(x).__name__ == "Normalization"]
    named = [layer for layer in keras_model.layers if layer not in normalising]
    for layer in named:
        for variable in layer.weights:
            key = f"{modules[layer.name]}.{SUFFIXES[variable.name]}"
            assert key not in reached
            depthwise = type(layer).__name__ == "DepthwiseConv2D"
            reached[key] = shape_in_torch(tuple(variable.shape), depthwise, key)
    assert set(modules) == {layer.name for layer in named if layer.weights}
    ours = create_model(name, num_classes=classes).state_dict()
    assert reached == {
        key: tuple(t.shape) for key, t in ours.items() if not key.endswith("_tracked")
    }
    assert places_numbered(layers_of(config)) == numbered(keras_model, modules)


def numbered(model, modules):
    """Groups by Keras's rule: the class in snake case, counted in the model's order."""
    actual = {}
    for layer in model.layers:
        kind = {"Conv2D": "conv2d", "DepthwiseConv2D": "depthwise_conv2d", "Dense": "dense",
                "BatchNormalization": "batch_normalization"}.get(type(layer).__name__)  # fmt: skip
        if kind:
            actual.setdefault(("", kind), []).append(modules[layer.name])
    return actual


@pytest.mark.parametrize(
    ("model", "naming", "expected"),
    [
        ("tf_mobilenetv1_100", V1, {
            "conv1": "conv_stem", "conv1_bn": "bn1", "conv_dw_1": "blocks.0.0.conv_dw",
            "conv_dw_12": "blocks.4.0.conv_dw", "conv_pw_13_bn": "blocks.4.1.bn2",
            "conv_preds": "classifier",
        }),
        ("tf_mobilenetv2_100", V2, {
            "bn_Conv1": "bn1", "expanded_conv_project_BN": "blocks.0.0.bn2",
            "block_3_depthwise": "blocks.2.0.conv_dw", "block_16_project": "blocks.6.0.conv_pwl",
            "Conv_1_bn": "bn2", "predictions": "classifier",
        }),
        ("tf_mobilenetv3_large_100", V3, {
            "expanded_conv_depthwise": "blocks.0.0.conv_dw",
            "expanded_conv_3_squeeze_excite_conv": "blocks.2.0.se.conv_reduce",
            "conv_1": "blocks.6.0.conv", "conv_2": "conv_head", "logits": "classifier",
        }),
        ("tf_mobilenetv3_small_075", OLD_V3, {
            "Conv/BatchNorm": "bn1",
            "expanded_conv/squeeze_excite/Conv_1": "blocks.0.0.se.conv_expand",
            "expanded_conv_1/expand/BatchNorm": "blocks.1.0.bn1",
            "Conv_1/BatchNorm": "blocks.5.0.bn1", "Logits": "classifier",
        }),
        ("tf_efficientnet_b7", EFFICIENTNET, {
            "block1a_bn": "blocks.0.0.bn1", "block1b_dwconv": "blocks.0.1.conv_dw",
            "block5j_se_reduce": "blocks.4.9.se.conv_reduce",
            "block6m_project_bn": "blocks.5.12.bn3", "top_conv": "conv_head",
            "predictions": "classifier",
        }),
    ],
)  # fmt: skip
def test_names(model, naming, expected):
    actual = modules_by_name(layers_of(get_config(model)), naming)
    assert {name: actual.get(name) for name in expected} == expected


def test_keras_2_names_v3_with_slashes():
    """All but the capitals and separators is the same."""
    layers = layers_of(get_config("tf_mobilenetv3_large_100"))
    new, old = modules_by_name(layers, V3), modules_by_name(layers, OLD_V3)
    assert list(new.values()) == list(old.values())
    plain = [re.sub("/", "_", name.lower()).replace("batchnorm", "bn") for name in old]
    assert plain == list(new)


def test_a_network_of_another_family_has_no_names():
    assert modules_by_name(layers_of(get_config("tf_mobilenetv2_100")), V1) == {}
    assert modules_by_name(layers_of(get_config("tf_mobilenetv3_large_100")), V2) == {}


@pytest.mark.parametrize("name", sorted(KERAS_NAMES))
@pytest.mark.parametrize("model", ["tf_mobilenetv3_small_100", "tf_mobilenetv3_large_minimal_100"])
def test_a_scheme_knows_a_name_only_with_its_variable(name, model):
    """slim's names begin as Keras 2's do, and its variables are called otherwise."""
    if "v3" not in name:
        models = {
            "keras mobilenet": "tf_mobilenetv1_025",
            "keras efficientnet": "tf_efficientnet_b0",
        }
        model = models.get(name, "tf_mobilenetv2_035")
    layers = layers_of(get_config(model))
    modules = modules_by_name(layers, KERAS_NAMES[name])
    depthwise = {layer.path for layer in layers if layer.kind == "depthwise"}
    norms = {layer.norm for layer in layers}
    biased = {layer.path for layer in layers if layer.norm is None}
    names = []
    for keras_name, path in modules.items():
        variables = ["depthwise_kernel" if path in depthwise else "kernel"]
        if path in norms:
            variables = ["gamma", "beta", "moving_mean", "moving_variance"]
        variables += ["bias"] * (path in biased)
        names += [f"{keras_name}/{variable}" for variable in variables]
    source = SimpleNamespace(tensors=dict.fromkeys(names), not_a_weight=lambda _name: None)
    assert rules_for(source).name == name
