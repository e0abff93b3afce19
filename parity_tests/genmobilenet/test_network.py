"""The networks as modules: keys, forward passes, loading and saving weights."""

import io
import pickle

import pytest
import torch

from genmobilenet import CheckpointError, create_model, load_weights
from parity_tests.building.networks import TRIED


@pytest.mark.parametrize("name", TRIED)
def test_forward_at_an_odd_size_in_both_modes(name):
    model = create_model(name, num_classes=7, in_chans=2)
    x = torch.randn(2, 2, 65, 97)
    assert model.train()(x).shape == (2, 7)
    with torch.no_grad():
        out = model.eval()(x)
    assert out.shape == (2, 7)
    assert out.isfinite().all()


def test_features_come_before_pooling():
    model = create_model("mnasnet_small").eval()
    assert model.forward_features(torch.randn(1, 3, 64, 64)).shape == (1, 1280, 2, 2)


def test_dropout_is_taken_from_the_call_and_from_the_family():
    assert create_model("mnasnet_100").drop_rate == 0.2
    assert create_model("mnasnet_small").drop_rate == 0.0
    assert create_model("mnasnet_100", drop_rate=0.5).drop_rate == 0.5


def test_epsilon_reaches_every_batch_norm():
    for name, epsilon in (("mnasnet_small", 1e-5), ("tf_mnasnet_small", 1e-3)):
        norms = [m for m in create_model(name).modules() if isinstance(m, torch.nn.BatchNorm2d)]
        assert {norm.eps for norm in norms} == {epsilon}
        assert len(norms) == 46


@pytest.fixture
def saved(tmp_path):
    torch.manual_seed(3)
    model = create_model("mnasnet_small", num_classes=11)
    path = tmp_path / "weights.pth"
    torch.save(model.state_dict(), path)
    return model, path


def test_a_checkpoint_path_fills_the_network_and_sets_its_classes(saved):
    model, path = saved
    loaded = create_model("mnasnet_small", checkpoint_path=path)
    assert loaded.classifier.out_features == 11
    for key, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], value), key


def test_batch_counters_may_be_missing(saved):
    model, path = saved
    state = {k: v for k, v in model.state_dict().items() if not k.endswith("_tracked")}
    torch.save(state, path)
    load_weights(create_model("mnasnet_small", num_classes=11), path)


def test_one_message_lists_every_problem_and_nothing_is_loaded(saved):
    model, path = saved
    state = dict(model.state_dict())
    del state["bn1.weight"]
    state["extra"] = torch.zeros(3)
    state["conv_stem.weight"] = torch.zeros(1, 2, 3, 4)
    torch.save(state, path)
    target = create_model("mnasnet_small", num_classes=11)
    before = {key: value.clone() for key, value in target.state_dict().items()}
    with pytest.raises(CheckpointError) as error_info:
        load_weights(target, path)
    message = str(error_info.value)
    assert "3 problems" in message
    assert "missing: bn1.weight (8,)" in message
    assert "unknown: extra (3,)" in message
    assert "shape of conv_stem.weight: found (1, 2, 3, 4), expected (8, 3, 3, 3)" in message
    assert all(torch.equal(before[key], value) for key, value in target.state_dict().items())


class Dangerous:
    def __reduce__(self):
        return (exec, ("raise SystemExit('code from a weight file was run')",))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a readable state dict"),
        (b"\xff\xd8\xff\xe0 a picture", r"dict \(it is not what torch.save writes\)"),
        (
            pickle.dumps({"w": Dangerous()}, 2),
            r"dict \(it holds \S*exec, and no code from a file is",
        ),
    ],
)
def test_a_file_that_is_no_state_dict(tmp_path, content, message):
    path = tmp_path / "bad.pth"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        create_model("mnasnet_small", checkpoint_path=path)


def test_a_file_of_something_else_and_no_file(tmp_path):
    buffer = io.BytesIO()
    torch.save([torch.zeros(1)], buffer)
    path = tmp_path / "list.pth"
    path.write_bytes(buffer.getvalue())
    with pytest.raises(CheckpointError, match="expected tensors by name, found list"):
        create_model("mnasnet_small", checkpoint_path=path)
    with pytest.raises(CheckpointError, match="no such file"):
        create_model("mnasnet_small", checkpoint_path=tmp_path / "absent.pth")
