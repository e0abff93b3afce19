"""Architectures read from graphs: the zoo's, random ones, and files of networks in no table."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from ai_edge_litert import schema_py_generated as schema

import porting
from genmobilenet import create_model
from genmobilenet.arch import WITH_RESIDUAL
from genmobilenet.config import NetworkConfig, parse_network
from genmobilenet.zoo import NETWORKS, get_config
from parity_tests.building.tflite_files import mean_options
from parity_tests.building.tflite_networks import NetworkFile, PooledInside, network_file
from porting.errors import MappingError, UnsupportedNetwork
from porting.graph.architecture import NotInTheLanguage, architecture_of
from porting.graph.layers import graph_of_network, layers_of
from porting.graph.node import Graph, Node
from porting.mapping.recognise import find_match
from porting.parity.inputs import seeded_pixels
from porting.release import write_release
from porting.sources import open_source

STAGES_OF_ONE_WIDTH = ("mnasnet_035", "mnasnet_small", "mnasnet_d1", "chamnetv1_100",
                       "chamnetv2_100", "mobilenet_edgetpu_075",
                       "mobilenet_edgetpu_100", "mobilenetv4_conv_small_035",
                       "mobilenetv4_conv_small_050", "mobilenetv4_conv_small")  # fmt: skip
"""Two of their stages have one width and no stride between them, or a width inside a stage
changes: where the second stage begins shows in no graph."""


def read(config, name="the network"):
    graph = graph_of_network(layers_of(config), config.input_size, config.bn_epsilon)
    return architecture_of(graph, name, config.input_size, config.in_chans)


def without_paths(config):
    return [replace(block, path="") for block in config.resolve()]


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_is_read_from_its_graph(name):
    config = get_config(name)
    try:
        layers = layers_of(config)
    except UnsupportedNetwork:
        pytest.skip("no TensorFlow source has blocks of its kind")
    architecture = read(config)
    assert without_paths(architecture) == without_paths(config)
    # A graph of layers does not say how they pad; a source's does.
    same_form = replace(architecture, padding=config.padding)
    if name.removeprefix("tf_") in STAGES_OF_ONE_WIDTH:
        assert architecture.resolve() != config.resolve()
    else:
        assert layers_of(same_form).shapes() == layers.shapes()
        assert architecture.resolve() == config.resolve()
    form = same_form.tensorflow_form()
    assert replace(
        parse_network(form.format()), source=form.source, input_size=form.input_size,
        num_classes=form.num_classes, bn_momentum=form.bn_momentum,
    ) == form  # fmt: skip


def random_network(random):
    """A network that no table has, by the grammar of block strings alone."""
    activations = ("nre", "nr6", "nhs", "nsw")
    stages = []
    for _ in range(random.integers(2, 5)):
        blocks = []
        for place in range(random.integers(1, 4)):
            kind = str(random.choice(["ds", "dsa", "ir", "er", "erp", "cn"]))
            stride = 1 if place else random.choice([1, 2])
            tokens = [kind, "r1", f"k{random.choice([3, 5, 7])}", f"s{stride}"]
            if kind in ("ir", "er", "erp"):
                tokens.append(f"e{random.choice([2, 3, 4.5, 6])}")
            tokens.append(f"c{8 * random.integers(1, 7)}")
            if kind in WITH_RESIDUAL and random.random() < 0.4:
                tokens.append(f"se{random.choice([0.25, 0.5, 1])}")
            if random.random() < 0.5:
                tokens.append(str(random.choice(activations)))
            if kind in WITH_RESIDUAL and random.random() < 0.3:
                tokens.append("noskip")
            blocks.append("_".join(tokens))
        stages.append(" ".join(blocks))
    hidden = [
        str(random.choice(["bn", f"fc_c{c}_nre", f"fc_c{c}_nth", f"fc_c{c}_bn_nsg"]))
        for c in random.integers(3, 40, random.integers(0, 4))
    ]
    pool = str(random.choice(["mean", "max", "flatten", "none"]))
    hidden = [] if pool == "none" else hidden
    config = NetworkConfig(
        blocks=tuple(stages), source="drawn", stem_channels=int(8 * random.integers(1, 5)),
        activation=str(random.choice(["relu", "relu6", "hard_swish", "silu"])),
        squeeze_activation=str(random.choice(["relu", "silu"])),
        gate=str(random.choice(["sigmoid", "hard_sigmoid"])),
        head=str(random.choice(["conv", "none"])), head_channels=int(8 * random.integers(2, 9)),
        hidden=tuple(hidden), classifier_bias=bool(random.random() < 0.7),
        num_classes=0 if pool == "none" else int(random.integers(2, 30)),
        in_chans=int(random.choice([1, 3])), input_size=64, pool=pool,
        stem_kernel=int(random.choice([3, 5, 7])), stem_stride=int(random.choice([1, 2])),
    ).tensorflow_form()  # fmt: skip
    side = -(-64 // config.stem_stride)
    for block in config.resolve():
        side = -(-side // block.stride)
    if pool == "flatten":
        config = replace(config, places=side * side)
    # On a single place all of them are the same, and the mean is read.
    return replace(config, pool="mean") if side == 1 else config


def computes(config):
    """What a network computes, by its layers in order: stages and their names aside."""
    layers = layers_of(config)
    facts = [
        (
            # Behind the pooling, a convolution of one place is a dense layer.
            layer.kind.replace("dense", "conv"), layer.kernel, layer.stride, layer.in_channels,
            layer.out_channels, layer.activation, layer.bias or layer.norm is not None,
        )
        for layer in layers
    ]  # fmt: skip
    residuals = [block.block.residual for block in layers.blocks if block.block.type != "cn"]
    return facts, residuals, config.pool, config.places


def test_any_network_is_read_from_its_graph():
    random = np.random.default_rng(0)
    for _ in range(300):
        config = random_network(random)
        architecture = read(config)
        assert computes(architecture) == computes(config), config
        again = parse_network(architecture.format())
        assert computes(
            replace(again, in_chans=config.in_chans, num_classes=config.num_classes)
        ) == (computes(config))


HEADS = {
    "Teachable Machine": {"hidden": ("fc_c20_nre",), "classifier_bias": False},
    "an earlier classifier below the new one": {"hidden": ("fc_c31",)},
    "three dense layers": {"hidden": ("fc_c20_nre", "fc_c12_nhs")},
    "none, features": {"num_classes": 0},
    "none, the last dense layer with its activation": {"hidden": ("fc_c20_nre",), "num_classes": 0},
}
SMALL = parse_network(
    "stem_c8_nr6 | ds_r1_k3_s1_c16 | er_r1_k3_s2_e4_c24 ir_r1_k5_s1_e3_c24_se0.5_nhs "
    "| cn_r1_k1_s1_c32_nno | ir_r2_k3_s2_e2_c40_noskip | cn_c64 pool fc"
)


@pytest.mark.parametrize("head", ["conv", "none"])
@pytest.mark.parametrize("name", HEADS)
def test_files_of_networks_in_no_table_port(tmp_path, name, head):
    config = replace(SMALL, **{"num_classes": 7, "head": head, **HEADS[name]})
    path = tmp_path / "trained.tflite"
    path.write_bytes(network_file(config, seed=3, softmax=bool(config.num_classes)))
    ported = porting.port(path, pixels=seeded_pixels(2, 64))
    assert ported.comparison, ported.comparison.summary()
    assert computes(ported.config) == computes(config)
    files = write_release(ported, tmp_path / "ported")
    assert files.weights.name.startswith("network-")
    # Its text builds it anew, and so does the file alone; the two give the same.
    model = create_model(ported.model, checkpoint_path=files.weights).eval()
    image = torch.rand(1, 3, 64, 64)
    assert len(model(image)[0]) == (config.num_classes or model.num_features)
    assert torch.equal(create_model(files.weights).eval()(image), model(image))
    model.load_state_dict(torch.load(files.weights, weights_only=True))
    files.card.unlink()
    comparison = porting.compare(path, files.weights, seeded_pixels(1, 64))
    assert comparison, comparison.summary()


SWISHED = parse_network(
    "stem_c8_nsw squeeze_activation=silu | er_r1_k3_s1_e4_i4_c8_noskip | erp_r2_k3_s2_e4_c16 "
    "| ir_r2_k5_s2_e3_c24_se0.25 | cn_c40 pool fc"
)
"""The parts of EfficientNets: fused blocks with the stride in either place, swish in the gates."""


@pytest.mark.parametrize("side", [63, 64])
def test_swish_and_strided_projections_port(tmp_path, side):
    path = tmp_path / "trained.tflite"
    path.write_bytes(network_file(replace(SWISHED, num_classes=7), seed=3, size=side))
    ported = porting.port(path, pixels=seeded_pixels(2, side))
    assert ported.comparison, ported.comparison.summary()
    assert without_paths(ported.config) == without_paths(SWISHED)
    assert ported.config.squeeze_activation == "silu"


def test_a_stride_in_the_wrong_convolution_of_a_fused_block_is_found(tmp_path):
    path = tmp_path / "trained.tflite"
    path.write_bytes(network_file(replace(SWISHED, num_classes=7), seed=3))
    wrong = replace(SWISHED, blocks=tuple(b.replace("erp", "er") for b in SWISHED.blocks))
    with pytest.raises(MappingError, match=r"conv_exp \(conv 3x3, stride 2"):
        porting.port(path, model=wrong.format(), verify=False)


class EndsInSigmoid(NetworkFile):
    """A network of labels that do not exclude each other, as Keras users train them."""

    def exit(self, logits):
        shape = [1, self.config.num_classes]
        return self.file.operator("LOGISTIC", [logits], self.file.tensor("scores", shape))


@pytest.mark.parametrize("classes", [1, 7])
def test_a_sigmoid_behind_the_logits_is_left_off(tmp_path, classes):
    config = replace(SMALL, num_classes=classes)
    path = tmp_path / "trained.tflite"
    path.write_bytes(EndsInSigmoid(config, seed=3).build())
    ported = porting.port(path, pixels=seeded_pixels(2, 64))
    assert ported.comparison, ported.comparison.summary()
    assert ported.comparison.taps[-1].tap == "classifier"
    plain = tmp_path / "plain.tflite"
    plain.write_bytes(network_file(config, seed=3))
    expected = porting.port(plain, verify=False).state_dict
    assert all(torch.equal(ported.state_dict[key], expected[key]) for key in expected)


OTHER_HEADS = {
    "maximum": {"pool": "max"},
    "maximum before the convolution": {"pool": "max", "head": "after_pool"},
    "flatten": {"pool": "flatten", "places": 16, "hidden": ("fc_c9_nsw", "fc_c8_nth")},
    "sigmoid inside": {"hidden": ("fc_c20_nsg",)},
    "batch norms": {"hidden": ("bn", "fc_c20_bn_nre", "fc_c12_nre", "bn")},
    "a batch norm behind all": {"hidden": ("fc_c12_bn",), "num_classes": 0},
    "features": {"pool": "none", "num_classes": 0},
    "features before the last convolution": {"pool": "none", "num_classes": 0, "head": "none"},
}


@pytest.mark.parametrize("name", OTHER_HEADS)
def test_files_with_other_heads_port(tmp_path, name):
    config = replace(SMALL, **{"num_classes": 7, **OTHER_HEADS[name]})
    path = tmp_path / "trained.tflite"
    path.write_bytes(network_file(config, size=32, seed=3))
    ported = porting.port(path, pixels=seeded_pixels(1, 32))
    assert ported.comparison, ported.comparison.summary()
    assert ported.pixels.agrees
    assert computes(ported.config) == computes(config)
    files = write_release(ported, tmp_path / "ported")
    model, image = create_model(files.weights).eval(), torch.rand(2, 3, 32, 32)
    again = create_model(ported.model, checkpoint_path=files.weights).eval()
    assert torch.equal(model(image), again(image))
    assert porting.compare(path, files.weights, seeded_pixels(1, 32))


def test_flattened_features_are_in_the_order_of_tensorflow():
    model = create_model("stem_c8_nre | dsa_r1_k3_s2_c6 | flatten_p4 fc", num_classes=3)
    features = model.forward_features(torch.rand(1, 3, 8, 8))
    model.classifier = torch.nn.Identity()
    assert torch.equal(model.flatten(features)[0], features[0].permute(1, 2, 0).flatten())


def test_a_wrong_weight_of_a_hidden_layer_is_found(tmp_path):
    config = replace(SMALL, num_classes=7, hidden=("fc_c20_nre",))
    path = tmp_path / "trained.tflite"
    path.write_bytes(network_file(config, seed=3))
    ported = porting.port(path, verify=False)
    ported.state_dict["head.0.weight"][3] *= 1.01
    model = create_model(ported.model, num_classes=7)
    model.load_state_dict(ported.state_dict)
    comparison = porting.compare(path, model, seeded_pixels(2, 64))
    assert not comparison
    assert comparison.culprit.tap == "head.1"


def test_what_leaves_the_language_is_named(tmp_path):
    path = tmp_path / "trained.tflite"
    path.write_bytes(PooledInside(replace(SMALL, num_classes=7)).build())
    with pytest.raises(MappingError) as raised:
        find_match(open_source(path), None)
    text = str(raised.value)
    assert "no known network fits; the nearest is" in text
    assert "as far as it can be read:\n  stem_c8 | ds_r1_k3_s1_c16_nr6 | er_r1_k3_s2_e4_c24" in text
    assert "MAX_POOL_2D 'block_2/pooled'" in text


class WithAnUnknownHead(NetworkFile):
    """A network whose dense layer has an activation that no string has."""

    def classifier(self, x):
        vector = self.dense(x, "hidden", 9)
        unknown = self.file.operator("ELU", [vector], self.file.tensor("elu", [1, 9]))
        return super().classifier((unknown, 1, 9))


def test_a_head_that_leaves_the_language_is_shown_as_far_as_it_goes(tmp_path):
    path = tmp_path / "trained.tflite"
    path.write_bytes(
        WithAnUnknownHead(replace(SMALL, num_classes=7, hidden=("fc_c5_nre",))).build()
    )
    with pytest.raises(MappingError) as raised:
        find_match(open_source(path), None)
    text = str(raised.value)
    assert "| cn_c64 pool fc_c5_nre fc_c9\nthen comes operator" in text
    assert "ELU 'elu'" in text
    assert "its backbone of 6 blocks is a mobile network: --backbone ports that" in text


@pytest.mark.parametrize("side", [5, 28, 31])
def test_small_images(tmp_path, side):
    path = tmp_path / "trained.tflite"
    path.write_bytes(network_file(replace(SMALL, num_classes=7), size=side))
    ported = porting.port(path, pixels=seeded_pixels(2, side))
    assert ported.comparison, ported.comparison.summary()
    assert ported.convention.size == side
    assert ported.config.resolve() == SMALL.resolve()


def test_blocks_on_a_single_pixel(tmp_path):
    config = parse_network(
        "stem_c8_nr6 | ds_r1_k3_s2_c8 | ds_r1_k3_s2_c16_se0.5 | dsa_r1_k3_s1_c24 "
        "| ir_r2_k3_s1_e3_c24_se0.5_nhs er_r1_k3_s1_e2_c24_se0.5 | cn_c32 pool fc_c10_nre fc"
    )
    path = tmp_path / "trained.tflite"
    path.write_bytes(network_file(replace(config, num_classes=7), size=8))
    ported = porting.port(path, pixels=seeded_pixels(2, 8))
    assert ported.comparison, ported.comparison.summary()
    assert without_paths(ported.config) == without_paths(config)
    # Of one pixel, the mean is the pixel: the head may as well stand behind it.
    assert ported.config.hidden == ("fc_c32_nr6", "fc_c10_nre")


class EndsWithASharpSoftmax(NetworkFile):
    """A network whose softmax multiplies its logits by 2 first."""

    def exit(self, logits):
        output = self.file.tensor("end", [1, self.config.num_classes])
        options = schema.SoftmaxOptionsT()
        options.beta = 2.0
        return self.file.operator("SOFTMAX", [logits], output, options)


def test_a_graph_whose_layers_alone_are_in_the_language_is_compared_with_them(tmp_path):
    path = tmp_path / "trained.tflite"
    path.write_bytes(EndsWithASharpSoftmax(replace(SMALL, num_classes=7)).build())
    with pytest.raises(MappingError) as raised:
        find_match(open_source(path), None)
    text = str(raised.value)
    assert "the nearest is that of its own layers, stem_c8_nr6 | ds_r1_k3_s1_c16 | er" in text
    assert "SOFTMAX 'end' (softmax with beta 2)" in text


class WithOneBiasForAll(NetworkFile):
    """A network with biases of 0, of which converters keep one for each width."""

    def constant(self, name, values):
        if not name.endswith("/bias"):
            return super().constant(name, values)
        names = [tensor.name for tensor in self.file.graph.tensors]
        shared = f"zeros_{values.size}"
        if shared in names:
            return names.index(shared)
        return super().constant(shared, 0 * values)


def test_a_bias_that_layers_share_ports(tmp_path):
    path = tmp_path / "trained.tflite"
    path.write_bytes(WithOneBiasForAll(replace(SMALL, num_classes=7), size=32).build())
    ported = porting.port(path, pixels=seeded_pixels(1, 32))
    assert ported.comparison, ported.comparison.summary()
    assert sum(fill.source == "zeros_24" for fill in ported.plan.fills) > 1


class EndsAtLengthOne(NetworkFile):
    """A network that scales its embedding to length 1, as ``keras.layers.UnitNormalization``."""

    def exit(self, logits):
        tensor = self.file.tensor
        channels = tensor("channels", [1], "int32", np.array([-1], np.int32))
        square = self.file.operator("SQUARE", [logits], tensor("square", [1, 7]))
        total = tensor("sum", [1, 1])
        self.file.operator("SUM", [square, channels], total, mean_options(True))
        root = self.file.operator("RSQRT", [total], tensor("root", [1, 1]))
        most = tensor("most", [], data=np.array(1e12, np.float32))
        root = self.file.operator("MINIMUM", [root, most], tensor("limited", [1, 1]))
        return self.file.operator("MUL", [root, logits], tensor("end", [1, 7]))


def test_an_embedding_of_length_one_ports_and_is_said_to_be_scaled(tmp_path):
    path = tmp_path / "trained.tflite"
    path.write_bytes(EndsAtLengthOne(replace(SMALL, num_classes=7), size=32).build())
    ported = porting.port(path, pixels=seeded_pixels(1, 32))
    assert ported.comparison, ported.comparison.summary()
    assert "scales its embedding to length 1" in ported.plan.notes[0]


def test_epsilon_is_the_graphs_to_the_last_digit():
    config = replace(SMALL, bn_epsilon=float(np.float32(0.0012345678)))
    architecture = read(config)
    assert np.float32(architecture.bn_epsilon) == np.float32(config.bn_epsilon)
    assert read(replace(SMALL, bn_epsilon=float(np.float32(1e-5)))).bn_epsilon == 1e-5


def test_a_graph_without_layers_is_refused():
    x = Node("input", place="the input")
    with pytest.raises(NotInTheLanguage, match="a square convolution, the stem"):
        architecture_of(Graph(Node("relu", (), (x,), "a ReLU")), "f", 32, 3)


RETRAINED = {
    "mcunet_vww.tflite": "stem_c16_nr6 padding=symmetric | ds_r1_k3_s1_c8 | ",
    "mobilenet_edgetpu_0.75_224_int8.tflite": "tf_mobilenet_edgetpu_075",
    "mobilenet_v1_1.0_224_uint8_embedding.tflite": "stem_c32_nr6 | dsa_r1_k3_s1_c64 | ",
    "model_maker_efficientnet_lite0_int8.tflite": "tf_efficientnet_lite0",
    "teachable_machine_float.tflite": "stem_c16_nr6 | ds_r1_k3_s1_c8 | ir_r2_k3_s2_e6_c8 | ",
    "tf_for_poets_v1_0.25_retrained.pb": "stem_c8_nr6 | dsa_r1_k3_s1_c16 | dsa_r2_k3_s2_c32 | ",
    "visual_wake_words_96_float.tflite": "stem_c8_nre | dsa_r1_k3_s1_c16 | ",
    "visual_wake_words_96_int8.tflite": "stem_c8_nre | dsa_r1_k3_s1_c16 | ",
}
"""File -> how the name of its network begins, or its strings."""


@pytest.mark.slow
@pytest.mark.parametrize("file", RETRAINED)
def test_real_files_that_people_trained(artifacts, file):
    path = artifacts / "retrained" / file
    if not path.exists():
        pytest.skip("this file is not among the real ones")
    if path.suffix == ".pb":
        pytest.importorskip("tensorflow")
    ported = porting.port(path)
    assert ported.model.startswith(RETRAINED[file])
    assert ported.comparison, ported.comparison.summary()
    assert ported.pixels.agrees, ported.pixels.summary()
