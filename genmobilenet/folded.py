"""State dicts whose batch norms are folded into biases of the convolutions.

The early published ``tflite_*`` files are such: converted from TFLite, with a
``bias`` beside each convolution's ``weight`` and no key of a batch norm. In the
networks here the bias becomes the batch norm's, and the rest of it an identity.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


def norms_of(model: nn.Module) -> dict[str, str]:
    """Convolution without a bias -> the batch norm behind it, by their paths, in order."""
    pairs: dict[str, str] = {}
    convolution = None
    for path, part in model.named_modules():
        if isinstance(part, nn.Conv2d) and part.bias is None:
            convolution = path
        elif isinstance(part, nn.BatchNorm2d) and convolution is not None:
            pairs[convolution], convolution = path, None
    return pairs


def unfolded(model: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict with an identity batch norm for each convolution that has a bias instead.

    Only a layer with a bias and with no key of its batch norm is taken for
    folded; all else stays as it is, for :func:`genmobilenet.factory.fill` to
    judge. The identity is exact: variance and epsilon give 1.
    """
    made = dict(state)
    modules = dict(model.named_modules())
    for convolution, path in norms_of(model).items():
        norm, key = modules[path], f"{convolution}.bias"
        assert isinstance(norm, nn.BatchNorm2d)  # norms_of looked
        if key not in state or any(f"{path}.{name}" in state for name in norm.state_dict()):
            continue
        bias = made.pop(key)
        made[f"{path}.bias"] = bias
        made[f"{path}.weight"] = torch.ones(norm.num_features)
        made[f"{path}.running_mean"] = torch.zeros(norm.num_features)
        made[f"{path}.running_var"] = torch.full((norm.num_features,), 1.0 - norm.eps)
    return made


def half_folded(model: nn.Module, state: Mapping[str, Tensor]) -> list[str]:
    """Why a state dict is neither folded nor not, where it is both; else nothing."""
    pairs = norms_of(model)
    folded = [convolution for convolution in pairs if f"{convolution}.bias" in state]
    whole = [path for path in pairs.values() if f"{path}.running_var" in state]
    if not folded or not whole:
        return []
    return [
        f"mixed: {len(folded)} of {len(pairs)} convolutions have a bias, as where batch norms are "
        f"folded ({folded[0]} first), and {len(whole)} have a batch norm ({whole[0]} first)"
    ]
