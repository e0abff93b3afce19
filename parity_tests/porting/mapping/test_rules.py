"""Plans from variable names, in both of Google's schemes."""

from __future__ import annotations

import numpy as np
import pytest

import porting
from genmobilenet import get_config
from parity_tests.building.checkpoints import variables, with_averages, write_network
from parity_tests.building.tables import write_checkpoint
from porting.errors import MappingError, WeightSetError
from porting.judges.reference.graphs import layer_scopes
from porting.mapping.rules.mnasnet import PATTERN

MODEL = "tf_semnasnet_050"
EMA = "/ExponentialMovingAverage"


@pytest.fixture
def prefix(tmp_path):
    return tmp_path / "model.ckpt"


def port(prefix, **options):
    return porting.port(prefix, verify=False, **options)


@pytest.mark.parametrize("scheme", ["keras", "layers"])
@pytest.mark.parametrize("root", ["mnasnet-a1", "single-path", "outer/inner"])
@pytest.mark.parametrize("weights", ["ema", "raw"])
def test_every_tensor_lands_where_it_belongs(prefix, scheme, root, weights):
    made = write_network(prefix, MODEL, scheme, root)
    result = port(prefix, weights=weights)
    assert result.model == MODEL
    scopes = layer_scopes(get_config(MODEL), scheme)
    suffix = EMA if weights == "ema" else ""
    state = {key: value.numpy() for key, value in result.state_dict.items()}

    def stored(path, variable):
        return made[f"{root}/{scopes[path]}/{variable}{suffix}"]

    for path in scopes:
        if path.rsplit(".", 1)[-1].startswith("bn"):
            np.testing.assert_array_equal(state[f"{path}.weight"], stored(path, "gamma"))
            np.testing.assert_array_equal(state[f"{path}.running_var"],
                                          stored(path, "moving_variance"))  # fmt: skip
        elif path.endswith("conv_dw"):
            kernel = stored(path, "depthwise_kernel").transpose(2, 3, 0, 1)
            np.testing.assert_array_equal(state[f"{path}.weight"], kernel)
        elif path == "classifier":
            np.testing.assert_array_equal(state[f"{path}.weight"], stored(path, "kernel").T)
        else:
            kernel = stored(path, "kernel").transpose(3, 2, 0, 1)
            np.testing.assert_array_equal(state[f"{path}.weight"], kernel)


def test_averages_are_the_default_and_the_plan_says_so(prefix):
    write_network(prefix, MODEL)
    plan = port(prefix).plan
    assert plan.weight_set == "ema"
    assert all(f.source.endswith(EMA) for f in plan.fills if f.source)
    reasons = {entry.reason for entry in plan.left_out}
    assert reasons == {
        "optimizer slot",
        "training step",
        "raw weight; its moving average is taken",
    }


def test_raw_weights_are_a_choice(prefix):
    write_network(prefix, MODEL)
    plan = port(prefix, weights="raw").plan
    assert plan.weight_set == "raw"
    assert not any(f.source.endswith(EMA) for f in plan.fills if f.source)


def test_averages_where_there_are_none(prefix):
    write_checkpoint(prefix, variables(MODEL, "keras", "m"))
    assert port(prefix).plan.weight_set == "raw"
    with pytest.raises(WeightSetError, match="has no ema weights to choose; its weights: raw"):
        port(prefix, weights="ema")


STATISTICS = ("moving_mean", "moving_variance")


def without_averages(made, *endings):
    """The same variables without the averages of those whose names end so."""
    return {n: v for n, v in made.items() if not n.endswith(tuple(e + EMA for e in endings))}


def test_statistics_without_averages_are_taken_raw_and_the_plan_says_so(prefix):
    made = without_averages(with_averages(variables(MODEL, "keras", "m")), *STATISTICS)
    write_checkpoint(prefix, made)
    result = port(prefix)
    assert result.plan.weight_set == "ema"
    count = sum(name.endswith(STATISTICS) for name in made)
    first = sorted(name for name in made if name.endswith(STATISTICS))[:3]
    assert result.plan.notes == (
        f"{count} batch-norm statistics have no moving average and are taken raw: "
        f"{', '.join(first)} and {count - 3} more",
    )
    assert result.plan.to_json()["notes"] == result.plan.notes
    for fill in result.plan.fills:
        if fill.source:
            averaged = fill.source.endswith(EMA)
            assert averaged != fill.target.endswith(("running_mean", "running_var"))
    mean = made["m/mnas_stem/batch_normalization/moving_mean"]
    np.testing.assert_array_equal(result.state_dict["bn1.running_mean"].numpy(), mean)
    assert not port(prefix, weights="raw").plan.notes


def test_one_statistic_without_average_is_named(prefix):
    made = with_averages(variables(MODEL, "keras", "m"))
    del made["m/mnas_stem/batch_normalization/moving_mean" + EMA]
    write_checkpoint(prefix, made)
    assert port(prefix).plan.notes == (
        "1 batch-norm statistic has no moving average and is taken raw: "
        "m/mnas_stem/batch_normalization/moving_mean",
    )


def test_whole_averages_need_no_note(prefix):
    write_network(prefix, MODEL)
    assert port(prefix).plan.notes == ()


def test_a_trainable_variable_without_average_is_not_taken_raw(prefix):
    made = with_averages(variables(MODEL, "keras", "m"))
    del made["m/mnas_stem/batch_normalization/beta" + EMA]
    write_checkpoint(prefix, made)
    with pytest.raises(WeightSetError) as error_info:
        port(prefix)
    assert str(error_info.value) == (
        f"{prefix}: 1 trainable variable has no moving average: "
        "m/mnas_stem/batch_normalization/beta; ask for the raw weights"
    )
    assert port(prefix, weights="raw").plan.weight_set == "raw"


def test_ten_of_many_trainable_variables_are_listed(prefix):
    made = without_averages(with_averages(variables(MODEL, "keras", "m")), "gamma", *STATISTICS)
    write_checkpoint(prefix, made)
    gammas = sorted(name for name in made if name.endswith("gamma"))
    with pytest.raises(WeightSetError) as error_info:
        port(prefix)
    message = str(error_info.value)
    assert f"{len(gammas)} trainable variables have no moving average: {gammas[0]}, " in message
    assert f"{gammas[9]} and {len(gammas) - 10} more; ask for the raw weights" in message
    assert gammas[10] not in message
    assert "moving_mean" not in message


def test_a_source_may_say_what_is_no_weight(prefix):
    made = variables(MODEL, "keras", "m") | {"m/odd": np.zeros(2, np.float32)}
    write_checkpoint(prefix, made)
    source = porting.open_source(prefix)
    source._not_weights = {"m/odd": "by its own account"}
    plan = port(source).plan
    assert [(out.source, out.reason) for out in plan.left_out] == [("m/odd", "by its own account")]


def test_a_missing_variable_is_named(prefix):
    made = variables(MODEL, "keras", "m")
    del made["m/mnas_blocks_3/batch_normalization_1/gamma"]
    write_checkpoint(prefix, made)
    with pytest.raises(MappingError) as error_info:
        port(prefix, model=MODEL)
    assert "does not fit tf_semnasnet_050, 1 problem:" in str(error_info.value)
    assert "nothing in the source fills blocks.2.0.bn2.weight" in str(error_info.value)


def test_an_extra_variable_is_named(prefix):
    made = variables(MODEL, "keras", "m")
    made["m/mnas_blocks_3/attention/kernel"] = np.zeros((2, 2), np.float32)
    write_checkpoint(prefix, made)
    with pytest.raises(MappingError, match=r"extra tensor m/mnas_blocks_3/attention/kernel \(2, 2"):
        port(prefix, model=MODEL)


def test_a_shape_that_differs_is_named_with_its_layout(prefix):
    made = variables(MODEL, "keras", "m")
    made["m/mnas_net_model/mnas_head/dense/kernel"] = np.zeros((1280, 7), np.float32)
    write_checkpoint(prefix, made)
    with pytest.raises(MappingError, match=r"as 'i o -> o i' gives \(7, 1280\), classifier\.wei"):
        port(prefix, model=MODEL)


def test_another_width_names_the_one_that_fits(prefix):
    write_checkpoint(prefix, variables(MODEL, "keras", "m"))
    with pytest.raises(MappingError, match="the network that would fit: tf_semnasnet_050"):
        port(prefix, model="tf_semnasnet_100")


def test_variables_of_nobody_we_know(prefix):
    write_checkpoint(prefix, {"a/b": np.zeros(3, np.float32)})
    with pytest.raises(MappingError, match=r"no naming scheme knows these variables \(a/b"):
        port(prefix)


def test_the_plain_network_is_refused(prefix):
    write_checkpoint(prefix, variables(MODEL, "keras", "m"))
    with pytest.raises(MappingError, match="the network that would fit: tf_semnasnet_050"):
        port(prefix, model="semnasnet_050")


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("a/mnas_net_model/mnas_blocks_3/conv2d_5/kernel", ("mnas_blocks_3", "conv2d", "5")),
        ("a/mnas_blocks_12/se/conv2d/bias", ("mnas_blocks_12/se", "conv2d", None)),
        ("mnas_head/dense/bias", ("mnas_head", "dense", None)),
    ],
)
def test_names_are_taken_apart(name, parts):
    import re

    match = re.fullmatch(PATTERN, name)
    assert match is not None
    assert (match["scope"], match["layer"], match["counter"]) == parts
