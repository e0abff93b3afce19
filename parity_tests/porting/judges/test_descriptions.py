"""Published tables against the zoo, its networks, and the figures that authors state."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from genmobilenet import get_config, list_models
from genmobilenet.network import GenMobileNet
from parity_tests.building.networks import TRIED, WITHOUT_CHECKPOINTS
from porting.judges.reference.descriptions import (
    FIGURES,
    NEAR,
    SLIM_GATE,
    descriptions_of,
    round_to_eighths,
)
from porting.judges.reference.graphs import ROOTS
from porting.judges.reference.steps import (
    SIXTH,
    first_difference,
    multiply_adds,
    parameters,
    weights_of,
)
from porting.parity.network_steps import steps_of_network

TF_MODELS = [model for model in list_models("tf_*") if model not in WITHOUT_CHECKPOINTS]
TF_TRIED = [model for model in TF_MODELS if model in TRIED]


def network_steps(model, **changes):
    config = replace(get_config(model), **changes)
    with torch.device("meta"):  # shapes alone, the image's too
        return steps_of_network(GenMobileNet(config).eval(), config.in_chans)


def test_every_network_that_takes_a_checkpoint_is_described():
    for model in TF_MODELS:
        plain = model.removeprefix("tf_")
        assert any(plain.startswith(start) for start in ROOTS)
        assert descriptions_of(model), model
    assert not descriptions_of("fbnetc_100")
    assert not descriptions_of("shufflenetv2_100")
    assert not descriptions_of("mobilenetv9_100")


@pytest.mark.parametrize("model", TF_MODELS)
def test_the_zoo_resolves_to_the_blocks_described(model):
    description = descriptions_of(model)[0]
    config = get_config(model)
    # MobileNetEdgeTPU's first block is a projection alone, as its last layer is no block.
    blocks = [block for block in config.resolve() if block.type != "cn"]
    forms = {"er": "fused", "erp": "fused, projection strided"}
    ours = [
        (b.path, b.in_channels, b.mid_channels, b.out_channels, b.kernel, b.stride, b.squeeze,
         b.residual, b.activation, b.type == "dsa", forms.get(b.type, "depthwise"))
        for b in blocks
    ]  # fmt: skip
    described = [
        (b.path, b.inputs, b.expansion or b.inputs, b.outputs, b.kernel, b.stride, b.squeeze,
         b.residual, b.activation, b.activates_last, b.form)
        for b in description.blocks if b.form != "projection"
    ]  # fmt: skip
    assert ours == described
    assert config.stem == description.stem
    assert config.head_width == (description.head or description.blocks[-1].outputs)
    last = [b.out_channels for b in config.resolve() if b.type == "cn" and b.activation != "none"]
    assert last == [description.last] * bool(description.last)


@pytest.mark.parametrize("model", [*TF_TRIED, "tf_efficientnet_b7", "tf_efficientnet_lite3"])
def test_the_network_computes_each_step_described(model):
    described = descriptions_of(model)[0].steps(1, 7, SIXTH)
    for normalises in (False, True):
        steps = network_steps(model, num_classes=7, in_chans=1, normalises=normalises)
        assert first_difference(described, steps) is None


@pytest.mark.parametrize("model", ["tf_mobilenetv2_060", "tf_semnasnet_115", "tf_mnasnet_042",
                                   "tf_mobilenetv1_027", "tf_mobilenetv3_large_060",
                                   "tf_mobilenet_edgetpu_050"])  # fmt: skip
def test_the_rules_hold_at_other_multipliers(model):
    description = descriptions_of(model)[0]
    assert description.multiplier == int(model[-3:]) / 100
    assert description.figures is None
    assert first_difference(description.steps(3, 1000, SIXTH), network_steps(model)) is None


def test_v3_below_one_has_two_heads():
    usual, scaled = descriptions_of("tf_mobilenetv3_large_075")
    assert (usual.head, scaled.head) == (1280, 960)
    steps = network_steps("tf_mobilenetv3_large_075", head_channels=960)
    assert first_difference(scaled.steps(3, 1000, SIXTH), steps) is None
    assert len(descriptions_of("tf_mobilenetv3_large_100")) == 1


def test_the_gate_is_slims_own_in_its_graph_and_a_sixth_in_the_network():
    description = descriptions_of("mobilenetv3_small_100")[0]
    numbers = {s.number for s in description.steps(3, 1000) if s.kind == "hard_sigmoid"}
    assert numbers == {SLIM_GATE}
    assert first_difference(description.steps(3, 1000), network_steps("tf_mobilenetv3_small_100"))


@pytest.mark.parametrize("name", FIGURES)
def test_counts_are_as_stated(name):
    """Counted in the network as it runs, and not in the description."""
    description, figures = descriptions_of(name)[0], FIGURES[name]
    steps = network_steps(f"tf_{name}", num_classes=description.stated_classes)
    if figures.multiply_adds is not None:
        counted = multiply_adds(steps, description.stated_at) / 1e6
        assert counted == pytest.approx(figures.multiply_adds, rel=NEAR)
    if figures.parameters is not None:
        assert parameters(steps) / 1e6 == pytest.approx(figures.parameters, rel=NEAR)
    with torch.device("meta"):
        network = GenMobileNet(
            replace(get_config(f"tf_{name}"), num_classes=description.stated_classes)
        )
    assert parameters(steps) == sum(p.numel() for p in network.parameters())


# Millions of multiply-adds at 192, 160, 128 and 96 pixels: tensorflow/tpu
# models/official/mnasnet/README.md; tensorflow/models research/slim/nets/mobilenet/README.md.
AT_OTHER_SIZES = {
    "semnasnet_140": (435.1, 302.8, 194.5, 110.3),
    "semnasnet_100": (232.0, 161.6, 104.1, 59.3),
    "semnasnet_075": (166.9, 116.4, 75.0, 42.9),
    "semnasnet_050": (77.6, 54.4, 35.3, 20.5),
    "semnasnet_035": (46.8, 32.9, 21.6, 12.7),
    "mobilenetv2_100": (221, 154, 99, 56),
    "mobilenetv2_075": (153, 107, 69, 39),
    "mobilenetv2_050": (71, 50, 32, 18),
    "mobilenetv2_035": (43, 30, 20, 11),
}


@pytest.mark.parametrize("name", AT_OTHER_SIZES)
def test_counts_at_other_sizes_are_as_stated(name):
    steps = network_steps(f"tf_{name}")
    for side, stated in zip((192, 160, 128, 96), AT_OTHER_SIZES[name], strict=True):
        # V2's are stated in whole millions, some of them cut and not rounded.
        near = 1 if "v2" in name else NEAR * stated
        assert multiply_adds(steps, side) / 1e6 == pytest.approx(stated, abs=near)


# Weights and multiply-adds of every convolution, as the head of slim's mobilenet_v1.py lists them
# for the multipliers 1 at 224 pixels and 0.75 at 128.
V1_LAYERS = {
    ("tf_mobilenetv1_100", 224): (
        (864, 10838016), (288, 3612672), (2048, 25690112), (576, 1806336), (8192, 25690112),
        (1152, 3612672), (16384, 51380224), (1152, 903168), (32768, 25690112), (2304, 1806336),
        (65536, 51380224), (2304, 451584), (131072, 25690112),
        *((4608, 903168), (262144, 51380224)) * 5,
        (4608, 225792), (524288, 25690112), (9216, 451584), (1048576, 51380224),
    ),
    ("tf_mobilenetv1_075", 128): (
        (648, 2654208), (216, 884736), (1152, 4718592), (432, 442368), (4608, 4718592),
        (864, 884736), (9216, 9437184), (864, 221184), (18432, 4718592), (1728, 442368),
        (36864, 9437184), (1728, 110592), (73728, 4718592),
        *((3456, 221184), (147456, 9437184)) * 5,
        (3456, 55296), (294912, 4718592), (6912, 110592), (589824, 9437184),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("model", "side"), V1_LAYERS)
def test_every_layer_of_v1_is_as_listed(model, side):
    steps = network_steps(model)
    layers = []
    for number, step in enumerate(steps):
        if step.kind in ("conv", "depthwise") and step.place != "classifier":
            before = multiply_adds(steps[:number], side)
            layers.append(
                (weights_of(step, steps), multiply_adds(steps[: number + 1], side) - before)
            )
    assert tuple(layers) == V1_LAYERS[model, side]


def test_single_path_has_the_weights_that_pytorchcv_counts():
    """Its authors wrote the network down for themselves: osmr/imgclsmob, spnasnet.py."""
    assert parameters(network_steps("tf_spnasnet_100")) == 4421616


def test_mnasnet_small_alone_declares_inputs_that_it_does_not_get():
    from porting.judges.reference import descriptions

    tables = (descriptions.MNASNET_A1, descriptions.MNASNET_B1, descriptions.MNASNET_D1,
              descriptions.MNASNET_D1_320)  # fmt: skip
    for rows in tables:
        assert [row.inputs for row in rows[1:]] == [row.filters for row in rows[:-1]]
        assert rows[0].inputs == 32
    rows = descriptions.MNASNET_SMALL
    assert [row.inputs for row in rows] == [16, *(row.filters for row in rows[:-1])]


def test_input_sides_of_papers_follow_from_their_strides():
    from porting.judges.reference import descriptions

    side = 112
    for row in descriptions.MOBILENET_V2:
        assert row.side == side
        side //= row.s
    for rows in (descriptions.MOBILENET_V3_LARGE, descriptions.MOBILENET_V3_SMALL):
        side = 112
        for row in rows:
            assert row.side == side
            side //= row.stride


@pytest.mark.parametrize(
    ("width", "rounded"),
    [(5.6, 8), (8.4, 8), (11, 16), (12, 16), (18, 24), (33.6, 32), (44.8, 48), (1792.0, 1792)],
)
def test_widths_are_rounded_to_multiples_of_8(width, rounded):
    assert round_to_eighths(width) == rounded
