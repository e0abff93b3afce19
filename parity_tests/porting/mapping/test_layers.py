"""The mapping's picture of a network against the network itself."""

import pytest

from genmobilenet import create_model, get_config, list_models
from porting.mapping.layers import layers_of


@pytest.mark.parametrize("name", list_models())
def test_keys_and_shapes_are_those_of_the_state_dict(name):
    state = create_model(name).state_dict()
    expected = {key: tuple(value.shape) for key, value in state.items()}
    assert layers_of(get_config(name)).shapes() == expected
    assert list(layers_of(get_config(name)).shapes()) == list(expected)
