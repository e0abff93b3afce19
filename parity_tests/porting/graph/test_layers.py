"""The layers that the mapping expects of a network, against the network itself."""

import pytest
import torch

from genmobilenet import get_config, list_models
from genmobilenet.network import GenMobileNet
from porting.errors import UnsupportedNetwork
from porting.graph.layers import layers_of

WITHOUT_A_SOURCE = {"fbneta_100", *list_models("shufflenetv2_*")}


@pytest.mark.parametrize("name", sorted(set(list_models()) - WITHOUT_A_SOURCE))
def test_keys_and_shapes_are_those_of_the_state_dict(name):
    with torch.device("meta"):
        state = GenMobileNet(get_config(name)).state_dict()
    expected = {key: tuple(value.shape) for key, value in state.items()}
    assert layers_of(get_config(name)).shapes() == expected
    assert list(layers_of(get_config(name)).shapes()) == list(expected)


@pytest.mark.parametrize("name", sorted(WITHOUT_A_SOURCE))
def test_blocks_that_no_tensorflow_source_has(name):
    with pytest.raises(UnsupportedNetwork, match=r"blocks\.\d\.\d: no TensorFlow source"):
        layers_of(get_config(name))
