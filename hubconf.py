"""``torch.hub``: an entry for each network, which ``genmobilenet.create_model`` builds.

``torch.hub.load("path/to/this/checkout", "tf_mnasnet_100", source="local", pretrained=DIR)``
"""

from collections.abc import Callable
from typing import Any

from genmobilenet import GenMobileNet as _GenMobileNet
from genmobilenet import create_model as _create_model
from genmobilenet import list_models as _list_models

dependencies = ["torch"]


def _entry(name: str) -> Callable[..., _GenMobileNet]:
    def build(**options: Any) -> _GenMobileNet:
        return _create_model(name, **options)

    build.__name__ = name
    build.__doc__ = (
        f"The network {name}. Options are those of genmobilenet.create_model: pretrained (folder, "
        "file or https address of a release), num_classes, in_chans, drop_rate, deploy."
    )
    return build


globals().update({_name: _entry(_name) for _name in _list_models()})
