"""Create networks by name, and load weights from files."""

from __future__ import annotations

import pickle
import re
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import torch

from genmobilenet import deployment
from genmobilenet.config import SEPARATOR, NetworkConfig
from genmobilenet.errors import CheckpointError
from genmobilenet.layers import MixedConv2d, norms_of
from genmobilenet.network import HEAD_PARTS, FeatureNet, GenMobileNet
from genmobilenet.zoo import get_config

PARALLEL = "module."
"""Prefix of every key that ``torch.nn.DataParallel`` saves."""

WRAPPERS = ("state_dict", "model_state_dict", "model", "state_dict_ema", "ema")
"""Names under which training scripts store a state dict; the first that a file has is taken."""


def create_model(
    name: str | PathLike[str] | None = None,
    *,
    pretrained: str | PathLike[str] | None = None,
    num_classes: int | None = None,
    in_chans: int | None = None,
    drop_rate: float | None = None,
    checkpoint_path: str | PathLike[str] | None = None,
    deploy: bool = False,
    features_only: bool = False,
) -> GenMobileNet:
    """Build a network, and load its weights if a file is named.

    ``name`` is a network's name or its own strings; or the ``.pth`` of a port whose network is in
    no table, which holds these strings, and gives its weights as well:
    ``create_model("network-0c8fc36e.pth")``.

    ``pretrained`` is a release: its folder, its weight file, or the file's ``https`` address,
    which is downloaded once, to where ``torch.hub`` keeps files. The weights are those whose
    checksum their name ends in, and of the network ``name``, which may be left out.

    ``num_classes`` and ``in_chans`` default to those of the file, or to 1000 and 3 without a
    file, ``drop_rate`` to the published one. ``deploy`` returns the network's form
    for inference; see :func:`genmobilenet.deploy`. ``features_only`` returns a
    :class:`~genmobilenet.network.FeatureNet`, which gives the features at each stride as timm's
    networks do; what a file holds for the head is left out.

    Raises:
        UnknownModel: no network has that name; the nearest are listed.
        CheckpointError: the file cannot be read or does not fit, or is not what its name or its
            card says.
    """
    if pretrained is not None:
        if checkpoint_path is not None:
            raise CheckpointError("pretrained and checkpoint_path both name weights; leave one out")
        name, checkpoint_path = _pretrained(name, pretrained)
    if name is None:
        raise CheckpointError("create_model: name a network, or weights as pretrained")
    name = fspath(name)
    if checkpoint_path is None and name.endswith((".pth", ".pt")):
        checkpoint_path = name
    state = None if checkpoint_path is None else read_state_dict(checkpoint_path)
    if state is not None and fspath(checkpoint_path or "") == name:
        name = strings_in(state) or ""
        if not name:
            raise CheckpointError(
                f"{checkpoint_path}: does not say which network it is of; give the network's name, "
                "and the file as checkpoint_path"
            )
    config = get_config(name)
    if state is not None:
        config = _as_stored(config, state)
    if in_chans is not None:
        config = replace(config, in_chans=in_chans)
    if num_classes is not None:
        config = replace(config, num_classes=num_classes)
    if drop_rate is not None:
        config = replace(config, drop_rate=drop_rate)
    model = FeatureNet(config) if features_only else GenMobileNet(config)
    if features_only and state is not None:
        state = {key: v for key, v in state.items() if key.split(".")[0] not in HEAD_PARTS}
    if state is not None:
        fill(model, state, origin=str(checkpoint_path))
    return deployment.deploy(model) if deploy else model


def _pretrained(name: str | PathLike[str] | None, place: str | PathLike[str]) -> tuple[str, Path]:
    """The network and the weight file of a release, which is of ``name`` where that is given.

    Raises:
        CheckpointError: it is of another network, or cannot be read safely.
    """
    from genmobilenet.pretrained import find_pretrained

    release = find_pretrained(place)
    model = release.model
    if model is None or SEPARATOR in model:
        strings = strings_in(read_state_dict(release.path))
        if model not in (None, strings):
            raise CheckpointError(
                f"{release.path}: its card is of another network than its weights"
            )
        # A file may be the whole network: it then gives its channels as well.
        model = str(release.path)
        if name is not None and fspath(name) not in (strings, model):
            raise CheckpointError(f"{release.path}: is of the network {strings}, not of {name}")
        return model, release.path
    if name is not None and get_config(fspath(name)) != get_config(model):
        raise CheckpointError(f"{release.path}: is of {model}, not of {name}")
    return model, release.path


def with_strings(state: Mapping[str, torch.Tensor], strings: str) -> dict[str, torch.Tensor]:
    """A state dict that says by which strings its network is built.

    They stand where PyTorch keeps the versions of modules, which every ``load_state_dict`` accepts.
    """
    result = OrderedDict(state)
    vars(result)["_metadata"] = {"": {"network": strings}}
    return result


def strings_in(state: Mapping[str, torch.Tensor]) -> str | None:
    """The strings of the network that a state dict is of; None where it does not say."""
    metadata = getattr(state, "_metadata", None)
    module = metadata.get("") if isinstance(metadata, Mapping) else None
    strings = module.get("network") if isinstance(module, Mapping) else None
    return strings if isinstance(strings, str) and SEPARATOR in strings else None


def _as_stored(config: NetworkConfig, state: dict[str, torch.Tensor]) -> NetworkConfig:
    """The configuration with a state dict's channels, classes, normalisation and head width.

    MobileNet V3 below a multiplier of 1 is published with a scaled head and with an unscaled one.
    """
    if "classifier.weight" in state and state["classifier.weight"].ndim:
        config = replace(config, num_classes=len(state["classifier.weight"]))
    stem = state.get("conv_stem.weight")
    if stem is not None and stem.ndim == 4:
        config = replace(config, in_chans=stem.shape[1])
    config = replace(config, normalises="normalise.mean" in state)
    varies = config.head == "after_pool" and config.width is not None and config.width < 1
    if varies and "conv_head.bias" in state:
        config = replace(config, head_channels=state["conv_head.bias"].numel())
    return config


def build(config: NetworkConfig, state: dict[str, torch.Tensor]) -> GenMobileNet:
    """A network in evaluation mode whose parameters are the tensors of ``state``, not copies."""
    with torch.device("meta"):
        model = GenMobileNet(config)
    model.load_state_dict(state, assign=True)
    return model.eval()


def load_weights(model: torch.nn.Module, path: str | PathLike[str]) -> None:
    """Load a state-dict file into ``model``, every key exactly once.

    A file with its batch norms folded into biases fits too.

    Raises:
        CheckpointError: the file cannot be read, or a key is missing, unknown
            or of another shape. One message lists every problem, and the
            model is left as it was.
    """
    fill(model, read_state_dict(path), origin=str(path))


def read_state_dict(path: str | PathLike[str]) -> dict[str, torch.Tensor]:
    """Read a state dict without running code from the file; see :func:`read_stored`."""
    return read_stored(path)[0]


def read_stored(path: str | PathLike[str]) -> tuple[dict[str, torch.Tensor], tuple[str, ...]]:
    """Read a state dict, and notes on what was removed around it.

    Training scripts write ``{"state_dict": ..., "epoch": ...}``, and
    ``DataParallel`` puts ``module.`` before every key; both are removed. No code
    from the file is run.

    Raises:
        CheckpointError: there is no such file, it is damaged, or it holds
            something other than tensors by name.
    """
    try:
        _check_stored_plainly(Path(path))
        content: Any = torch.load(Path(path), map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file") from None
    except Exception as error:
        # A damaged pickle may raise anything.
        raise CheckpointError(f"{path}: not a readable state dict ({_reason(error)})") from error
    notes = []
    for name in WRAPPERS if isinstance(content, dict) else ():
        if isinstance(content.get(name), dict):
            others = ", ".join(str(key) for key in content if key != name)
            notes.append(f"its {name} is taken" + (f", not its {others}" if others else ""))
            content = content[name]
            break
    # No sparse, quantised or meta tensors.
    if not isinstance(content, dict) or not all(
        isinstance(key, str)
        and isinstance(value, torch.Tensor)
        and value.layout == torch.strided
        and not value.is_quantized
        and not value.is_meta
        for key, value in content.items()
    ):
        raise CheckpointError(f"{path}: expected tensors by name, found {type(content).__name__}")
    for key, value in content.items():
        capacity = value.untyped_storage().nbytes() // value.element_size()
        if value.numel() > capacity:  # its elements overlap, so that it may claim any size
            raise CheckpointError(
                f"{path}: {key!r} claims {value.numel():,} elements, and holds {capacity:,}"
            )
    if content and all(key.startswith(PARALLEL) for key in content):
        notes.append(f"{PARALLEL!r} before every key is left off")
        content = {key.removeprefix(PARALLEL): values for key, values in content.items()}
    return content, tuple(notes)


def _check_stored_plainly(path: Path) -> None:
    """Check that a file's members are not compressed: ``torch.save`` never compresses, a bomb does.

    Raises:
        ValueError: one is.
    """
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if member.compress_type != zipfile.ZIP_STORED:
                raise ValueError(
                    f"{member.filename} in it is compressed, as torch.save writes none"
                )


def _reason(error: Exception) -> str:
    """Why a file could not be read, without PyTorch's advice to run the code in it."""
    text = str(error).strip()
    code = re.search(r"GLOBAL (\S+)", text)
    if code is not None:
        return f"it holds {code[1]}, and no code from a file is run; save a module's state_dict()"
    if isinstance(error, pickle.UnpicklingError):
        return "it is not what torch.save writes"
    return text.splitlines()[0] if text else repr(error)


def fill(model: torch.nn.Module, state: dict[str, torch.Tensor], origin: str) -> None:
    """Copy ``state`` into ``model``; see :func:`load_weights`.

    A state dict with all batch norms folded into biases fits too, as in the early
    published ``tflite_*`` files; one with only some folded does not.
    """
    state, problems = unfold(model, state)
    target = model.state_dict()
    # Files from before PyTorch counted batches have no counters; inference needs none.
    missing = [key for key in target.keys() - state.keys() if not key.endswith("_tracked")]
    problems += [f"missing: {key} {tuple(target[key].shape)}" for key in sorted(missing)]
    for key in sorted(state.keys() - target.keys()):
        problems.append(f"unknown: {key} {tuple(state[key].shape)}")
    for key in sorted(target.keys() & state.keys()):
        shape, expected_shape = tuple(state[key].shape), tuple(target[key].shape)
        if shape != expected_shape:
            problem = f"shape of {key}: found {shape}, expected {expected_shape}"
            if key == "classifier.bias" and len(shape) == 1:
                problem += f"; the file has num_classes={shape[0]}"
            problems.append(problem)
    if problems:
        count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
        raise CheckpointError(
            f"{origin}: does not fit {type(model).__name__}, {count}:\n  " + "\n  ".join(problems)
        )
    model.load_state_dict(state, strict=False)


def _bias_keys(path: str, convolution: torch.nn.Module) -> list[str]:
    """Keys of a convolution's bias, of a mixed one those of its parts, where norms are folded."""
    if isinstance(convolution, MixedConv2d):
        return [f"{path}.{part}.bias" for part in convolution]
    return [f"{path}.bias"]


def unfold(
    model: torch.nn.Module, state: Mapping[str, torch.Tensor]
) -> tuple[dict[str, torch.Tensor], list[str]]:
    """A state dict with identity batch norms instead of biases, and a problem if it has both.

    The early published ``tflite_*`` files were converted from TFLite: a ``bias`` beside each
    convolution's ``weight``, and no key of a batch norm. The bias becomes the batch norm's, and
    variance and epsilon add up to exactly 1. A layer that has keys of its batch norm stays as
    it is.
    """
    pairs = norms_of(model)
    modules = dict(model.named_modules())
    keys_of = {path: _bias_keys(path, modules[path]) for path in pairs}
    biases = [convolution for convolution, keys in keys_of.items() if keys[0] in state]
    norms = [path for path in pairs.values() if f"{path}.running_var" in state]
    if biases and norms:
        return dict(state), [
            f"mixed: {len(biases)} of {len(pairs)} convolutions have a bias, as where batch norms "
            f"are folded ({biases[0]} first), and {len(norms)} have a batch norm ({norms[0]} first)"
        ]
    result = dict(state)
    for convolution in biases:
        path = pairs[convolution]
        norm = modules[path]
        assert isinstance(norm, torch.nn.BatchNorm2d)  # norms_of selected it
        if any(f"{path}.{name}" in state for name in norm.state_dict()):
            continue
        parts = [result.pop(key) for key in keys_of[convolution] if key in result]
        result[f"{path}.bias"] = torch.cat(parts)
        result[f"{path}.weight"] = torch.ones(norm.num_features)
        result[f"{path}.running_mean"] = torch.zeros(norm.num_features)
        result[f"{path}.running_var"] = torch.full((norm.num_features,), 1.0 - norm.eps)
    return result, []
