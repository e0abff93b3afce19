"""The deployed form against the training form, within the noise of float32."""

from __future__ import annotations

import copy
import io
import shutil
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.profiler import profile
from torch.utils._python_dispatch import TorchDispatchMode

from genmobilenet import (
    DeployedNet,
    DeployError,
    GenMobileNet,
    create_model,
    deploy,
    get_config,
)
from genmobilenet.deployment import GROUP, KernelPaddedConv, fold
from genmobilenet.layers import Conv2dSame
from parity_tests.building.networks import TINY, TRIED, drawn, with_random_statistics
from parity_tests.building.sampling import one_size_each
from porting.parity.noise import FACTOR, floor, noise_of

SIDE = 64
SIZES = [(SIDE, SIDE), (65, 65), (63, 96), (66, 97)]
QUICK = ["tf_mnasnet_small", "tf_mobilenetv3_small_075", "mobilenetv2_035", "shufflenetv2_050",
         "tf_mixnet_s", "mobilenetv4_conv_small_035"]  # fmt: skip


def pixels(batch, height=SIDE, width=SIDE, channels=3):
    """A batch of random images, the same for the same size."""
    generator = torch.Generator().manual_seed(height * width + batch)
    return torch.randn(batch, channels, height, width, generator=generator)


def plainly(deployed, x):
    """A pass of plain PyTorch, even where engines apply."""
    return GenMobileNet.forward(deployed, x)


def times_the_noise(model, found, x):
    """Distance of logits from exact ones, in multiples of ``model``'s float32 noise."""
    with torch.no_grad():
        exact = copy.deepcopy(model).double()(x.double()).numpy()
        runs = [model(x), model(x.contiguous(memory_format=torch.channels_last))]
    noise = noise_of(exact, *(run.double().numpy() for run in runs))
    apart = np.abs(found.double().numpy() - exact).reshape(len(x), -1).max(axis=1)
    return float((apart / np.maximum(noise, floor(np.abs(exact).max()))).max())


def assert_equal(model, deployed, x):
    """Check that the logits agree within the noise of float32."""
    with torch.inference_mode():
        found = deployed(x)
    assert found.shape == (len(x), model.config.num_classes or model.num_features)
    assert times_the_noise(model, found, x) <= FACTOR


@pytest.fixture(scope="module")
def small():
    """A small network, and its deployed form at ``SIDE``."""
    model = drawn("tf_mnasnet_small")
    return model, deploy(model, SIDE)


def assert_equal_at_every_size(model):
    deployed = deploy(model, SIDE)
    for height, width in SIZES:
        assert not deployed._engines or (height, width) != (SIDE, SIDE)
        assert_equal(model, deployed, pixels(2, height, width, model.config.in_chans))
    assert all(deployed._engines.values())
    assert len(deployed._engines) == 1


@pytest.mark.parametrize("name", QUICK)
def test_equal_at_every_size(name):
    assert_equal_at_every_size(drawn(name))


@pytest.mark.slow
@pytest.mark.parametrize("name", one_size_each(TRIED))
def test_equal_at_every_size_over_the_zoo(name):
    assert_equal_at_every_size(drawn(name))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tf_mnasnet_100", "tf_semnasnet_100", "tf_mobilenetv3_large_100"])
def test_equal_at_the_published_size(name):
    model = drawn(name)
    assert_equal(model, deploy(model), pixels(GROUP + 1, 224, 224))


@pytest.mark.parametrize("options", [{"num_classes": 1001}, {"num_classes": 0}, {"in_chans": 1}])
def test_equal_with_other_ends(options):
    torch.manual_seed(5)
    model = create_model("tf_mnasnet_small", **options).eval()
    channels = options.get("in_chans", 3)
    for height in (SIDE, 65):
        assert_equal(model, deploy(model, SIDE), pixels(2, height, SIDE, channels))


@pytest.mark.parametrize("name", ["tf_mnasnet_small", "mnasnet_small"])
def test_equal_with_its_normalisation(name):
    """The padding has the value of a normalised pixel of 0, not of a black pixel."""
    torch.manual_seed(6)
    model = GenMobileNet(replace(get_config(name), normalises=True)).eval()
    model.normalise.mean.copy_(torch.tensor([123.7, 116.3, 103.5]))
    model.normalise.std.copy_(torch.tensor([58.4, 57.1, 57.4]))
    for height in (SIDE, 65):
        assert_equal(model, deploy(model, SIDE), 50 * pixels(2, height) + 120)


def test_no_image_gives_no_logits(small):
    assert small[1](pixels(1)[:0]).shape == (0, 7)


def test_the_given_network_stays_as_it_is():
    model = drawn("tf_mnasnet_small").train()
    before = {key: values.clone() for key, values in model.state_dict().items()}
    parts = [type(part) for part in model.modules()]
    torch.manual_seed(1)
    drawn_next = torch.rand(1)
    torch.manual_seed(1)
    deployed = deploy(model, SIDE)
    assert torch.equal(torch.rand(1), drawn_next), "random numbers were drawn"
    with torch.no_grad():
        for parameter in deployed.parameters():
            parameter.zero_()
    assert model.training
    assert [type(part) for part in model.modules()] == parts
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert all(torch.equal(before[key], values) for key, values in model.state_dict().items())


def test_its_state_dict_is_a_folded_checkpoint(small, tmp_path):
    model, deployed = small
    torch.save(deployed.state_dict(), tmp_path / "folded.pth")
    loaded = create_model("tf_mnasnet_small", checkpoint_path=tmp_path / "folded.pth").eval()
    assert_equal(model, loaded, pixels(2))
    again = create_model("tf_mnasnet_small", checkpoint_path=tmp_path / "folded.pth", deploy=True)
    assert_equal(model, again, pixels(1, 224, 224))
    assert set(again._engines) == {(1, torch.get_num_threads())}


def test_a_mixed_convolution_is_folded_part_by_part(tmp_path):
    model = drawn("mixnet_s")
    torch.save(deploy(model, SIDE).state_dict(), tmp_path / "folded.pth")
    loaded = create_model("mixnet_s", checkpoint_path=tmp_path / "folded.pth").eval()
    assert_equal(model, loaded, pixels(1))


def test_other_types(small):
    model, deployed = small
    x = pixels(1)
    exact = copy.deepcopy(model).double()(x.double())
    torch.testing.assert_close(
        copy.deepcopy(deployed).double()(x.double()), exact, rtol=1e-5, atol=1e-5
    )
    rough = copy.deepcopy(deployed).bfloat16()(x.bfloat16())
    assert rough.dtype == torch.bfloat16
    assert (rough - exact).abs().max() < 0.1 * exact.abs().max()


def test_gradients_reach_the_input(small):
    x = pixels(1).requires_grad_()
    small[1](x).sum().backward()
    assert x.grad.abs().max() > 0


def test_the_default_size_is_the_published_one():
    assert deploy(drawn("mnasnet_d1_320")).size == (320, 320)
    assert deploy(drawn("tf_mnasnet_small"), (96, 64)).size == (96, 64)


def test_the_name_stays_a_function():
    import genmobilenet.deployment

    assert genmobilenet.deploy is genmobilenet.deployment.deploy


@pytest.mark.parametrize("size", [0, True, "224", (64,), (64, 1.5), (64, 64, 3), -1])
def test_what_is_no_size_is_refused(small, size):
    with pytest.raises(DeployError, match="expected a side in pixels, or"):
        deploy(small[0], size)


def test_what_is_no_network_of_ours_is_refused(small):
    with pytest.raises(DeployError, match=r"expected a GenMobileNet .*, found torch\.nn\..*Linear"):
        deploy(torch.nn.Linear(2, 2))
    with pytest.raises(DeployError, match=r"found genmobilenet\.deployment\.DeployedNet"):
        deploy(small[1])


def test_a_batch_norm_without_statistics_is_refused():
    model = create_model("tf_mnasnet_small")
    model.blocks[0][0].bn1 = torch.nn.BatchNorm2d(8, track_running_stats=False)
    with pytest.raises(DeployError, match=r"blocks\.0\.0\.bn1 keeps no statistics"):
        deploy(model)


def test_training_is_refused(small):
    deployed = small[1]
    with pytest.raises(DeployError, match="no batch norms to train"):
        deployed.train()
    with pytest.raises(DeployError, match=r"reset_classifier\(3\): the weights .* are fixed"):
        deployed.reset_classifier(3)
    assert isinstance(deployed.eval(), DeployedNet)
    assert not any(parameter.requires_grad for parameter in deployed.parameters())


# Compiled engines.


@pytest.mark.parametrize("batch", [1, GROUP - 1, GROUP, 2 * GROUP + 1])
def test_batches_are_put_together_in_order(small, batch):
    model, deployed = small
    assert_equal(model, deployed, pixels(batch))


def test_its_engine_is_joined_layers_and_one_copy_of_the_input(small):
    _, deployed = small
    x = pixels(1)
    with torch.no_grad():
        deployed(x)
        with profile() as profiled:
            deployed(x)
    names = [event.key for event in profiled.key_averages()]
    joined = [name for name in names if name.startswith("LlgaPartition")]
    assert len(joined) >= sum(isinstance(p, torch.nn.Conv2d) for p in deployed.modules()) // 2
    others = ("conv", "norm", "pad", "relu", "clone")
    assert not [
        name for name in names if name.startswith("aten::") and any(o in name for o in others)
    ]


def test_hooks_on_its_parts_are_called(small):
    deployed = copy.deepcopy(small[1])
    deployed(pixels(1))
    assert deployed._engines
    seen = []
    hook = deployed.blocks[0].register_forward_hook(lambda *_: seen.append(1))
    deployed(pixels(1))
    assert seen == [1]
    hook.remove()
    deployed(pixels(1))
    assert seen == [1]


def test_every_number_of_threads_has_its_engine(small):
    deployed, before = copy.deepcopy(small[1]), torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            assert_equal(small[0], deployed, pixels(1))
    finally:
        torch.set_num_threads(before)
    assert set(deployed._engines) == {(1, 1), (1, 2)}


def test_without_the_compiler_it_says_so_and_runs(small, monkeypatch):
    def missing(*_):
        raise RuntimeError("no TorchScript here\nstack")

    monkeypatch.setattr("genmobilenet.deployment._trace", missing)
    deployed = copy.deepcopy(small[1])
    with pytest.warns(UserWarning, match=r"not available \(no TorchScript here\): slower"):
        found = deployed(pixels(1))
    assert times_the_noise(small[0], found, pixels(1)) <= FACTOR
    assert torch.equal(deployed(pixels(1)), found)  # the warning is given once


def test_compiling_leaves_the_switch_as_it_was():
    deploy(drawn("tf_mnasnet_small"), SIDE)(pixels(1))
    assert not torch._C._jit_llga_enabled()


def test_other_weights_reach_kernels_and_engines(small):
    _, first = small
    torch.manual_seed(9)
    other = create_model("tf_mnasnet_small", num_classes=7).eval()
    changed = copy.deepcopy(first)
    changed(pixels(1))
    changed.load_state_dict(deploy(other, SIDE).state_dict())
    assert_equal(other, changed, pixels(1))
    with torch.no_grad():
        found = plainly(changed, pixels(2))
    assert times_the_noise(other, found, pixels(2)) <= FACTOR


def test_copies_and_pickles(small):
    model, deployed = small
    deployed(pixels(1))
    file = io.BytesIO()
    torch.save(deployed, file)
    file.seek(0)
    for made in (copy.deepcopy(deployed), torch.load(file, weights_only=False)):
        assert not made._engines
        assert_equal(model, made, pixels(1))


@pytest.mark.parametrize("spoil", ["weight", "pixel", "state"])
def test_what_is_no_number_shows(small, spoil):
    deployed, x = copy.deepcopy(small[1]), pixels(1)
    assert deployed(x).isfinite().all()
    if spoil == "pixel":
        x[0, 1, 5, 7] = float("nan")
    elif spoil == "weight":
        weight = small[0].state_dict()["blocks.2.0.conv_dw.weight"].clone()
        model = copy.deepcopy(small[0])
        weight[0, 0, 1, 1] = float("nan")
        model.blocks[2][0].conv_dw.weight.data = weight
        deployed = deploy(model, SIDE)
    else:
        state = deployed.state_dict()
        state["conv_stem.bias"][0] = float("inf")
        state["blocks.2.0.conv_dw.weight"][0, 0, 1, 1] = float("nan")
        deployed.load_state_dict(state)
    assert deployed(x).isnan().any()


# Padded kernels.


class Pads(TorchDispatchMode):
    """Counts paddings of activations, whose first axis is the batch, and of kernels."""

    def __init__(self, batch):
        super().__init__()
        self.batch, self.activations, self.kernels = batch, 0, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.overloadpacket is torch.ops.aten.constant_pad_nd:
            if args[0].shape[0] == self.batch:
                self.activations += 1
            else:
                self.kernels += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(("size", "kernels"), [((SIDE, SIDE), 0), ((65, 65), 0), ((66, 64), 4)])
def test_nothing_is_copied_to_be_padded(small, size, kernels):
    model, deployed = small
    x = pixels(3, *size)
    with torch.no_grad(), Pads(3) as counted:
        plainly(deployed, x)
    assert (counted.activations, counted.kernels) == (0, kernels)
    with torch.no_grad(), Pads(3) as counted:
        model(pixels(3))
    assert counted.activations > 0


@pytest.mark.parametrize("size", [(9, 9), (8, 8), (8, 9), (1, 2)])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (5, 2), (7, 3), (2, 1), (1, 2)])
def test_it_equals_same_padding(size, kernel, stride):
    torch.manual_seed(kernel * stride)
    conv = Conv2dSame(4, 4, kernel, stride, groups=2, bias=False)
    norm = torch.nn.BatchNorm2d(4).eval()
    torch.nn.init.uniform_(norm.running_mean, -1, 1)
    torch.nn.init.uniform_(norm.running_var, 0.5, 2)
    conv_with_bias = fold(conv, norm)
    assert isinstance(conv_with_bias, KernelPaddedConv)
    x = torch.randn(2, 4, *size)
    for fitted_size in ((9, 9), size):
        conv_with_bias.fit(*fitted_size)
        with torch.no_grad():
            torch.testing.assert_close(conv_with_bias(x), norm(conv(x)))


def test_a_dilated_convolution_stays_as_exact():
    """Rows of zeros would lie a dilation apart."""
    conv = Conv2dSame(3, 3, 3, 1, dilation=2, bias=False)
    conv_with_bias = fold(conv, torch.nn.BatchNorm2d(3).eval())
    x = torch.randn(1, 3, 8, 8)
    torch.testing.assert_close(conv_with_bias(x), conv(x) / (1 + 1e-5) ** 0.5)


# torch.export and torch.compile.


def targets(program):
    return {str(n.target) for n in program.graph.nodes if n.op == "call_function"}


def test_export(small):
    _, deployed = small
    program = torch.export.export(deployed, (pixels(2),))
    assert not {t for t in targets(program) if "norm" in t or "pad" in t}
    batch = torch.export.Dim("batch", min=2)
    free = torch.export.export(deployed, (pixels(2),), dynamic_shapes=({0: batch},))
    for exported, x in ((program, pixels(2)), (free, pixels(5))):
        with torch.no_grad():
            torch.testing.assert_close(exported.module()(x), deployed(x), rtol=1e-4, atol=1e-4)


@pytest.fixture(scope="module", params=TINY)
def tiny(request):
    """A network of a few layers: compiling takes a second a layer."""
    torch.manual_seed(3)
    model = with_random_statistics(GenMobileNet(TINY[request.param].tensorflow_form()).eval())
    return model, deploy(model, SIDE)


@pytest.mark.parametrize("dynamic", [None, True])
def test_compile_makes_one_graph_at_each_size(tiny, dynamic):
    model, deployed = tiny
    torch._dynamo.reset()
    made = torch.compile(deployed, fullgraph=True, backend="aot_eager", dynamic=dynamic)
    for height, width in SIZES:
        assert_equal(model, made, pixels(2, height, width))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="inductor wants a C++ compiler")
def test_compile_by_inductor(tiny):
    model, deployed = tiny
    torch._dynamo.reset()
    made = torch.compile(deployed, fullgraph=True)
    assert_equal(model, made, pixels(2))


@pytest.mark.parametrize("side", [32, 33])
def test_a_traced_network_pads_rightly_at_sizes_of_the_other_parity(side):
    network = create_model("tf_mobilenetv1_025", num_classes=5).eval()
    for form in (network, deploy(network, side)):
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # TorchScript is deprecated
            traced = torch.jit.trace(form, torch.randn(1, 3, side, side), check_trace=False)
            for size in ((32, 32), (33, 32), (32, 45), (47, 51)):
                x = torch.randn(2, 3, *size)
                torch.testing.assert_close(traced(x), network(x), rtol=0, atol=1e-4)


def test_an_engine_has_no_padding_in_its_graph():
    network = deploy(create_model("tf_mobilenetv1_025", num_classes=5), 33)
    with torch.no_grad():
        network(torch.randn(1, 3, 33, 33))
    [engine] = network._engines.values()
    if engine is not None:  # None where oneDNN's compiler is missing
        assert "pad(" not in str(engine.graph)
