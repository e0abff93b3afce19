"""Google's published sources as a table, and its look-up.

Files and accuracies of the MobileNets: tensorflow/models ``research/slim/nets/mobilenet_v1.md``
and ``research/slim/nets/mobilenet/README.md``. Of the MNASNets:
``tensorflow/lite/g3doc/guide/hosted_models.md`` (TensorFlow 1.x) for the TFLite files,
``models/official/mnasnet/README.md`` (tensorflow/tpu) for the checkpoints. Of the weights of
keras.applications: ``mobilenet.py``, ``mobilenet_v2.py`` and ``mobilenet_v3.py`` there, which
build the addresses and have the accuracies in their docstrings.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import PurePath, PurePosixPath

from genmobilenet.zoo import tensorflow_form
from porting.errors import BadInput

STORAGE = "https://storage.googleapis.com/"
"""Where Google keeps all of them; ``download.tensorflow.org`` is a folder of it."""

SYMMETRIC = "[-1, 1]"
IMAGENET = "imagenet mean and deviation"
FILE_QUANTISATION = "0..255, by the file's own quantisation"
RESCALING_LAYER = "0..255, rescaled in the model"
CONTRADICTORY = "measured on the file: what is published disagrees"


@dataclass(frozen=True)
class CatalogEntry:
    """One published file.

    ``model`` is the network that it holds, ``format`` what
    :func:`~porting.sources.open_source` opens of it, ``size`` the side in
    pixels of its input and ``classes`` their number (1001 with a background).
    ``input`` says how RGB pixels 0..255 are scaled for the network. ``top1`` and
    ``top5`` are the ImageNet accuracies in percent that its authors state, None
    where they are not known here; ``stated_in`` says where.
    """

    name: str
    url: str
    model: str
    format: str
    size: int
    classes: int
    input: str
    top1: float | None = None
    top5: float | None = None
    stated_in: str = ""

    @property
    def file_name(self) -> str:
        """The name under which it is kept."""
        return PurePosixPath(self.url).name


_TFLITE = f"{STORAGE}download.tensorflow.org/models/tflite/"
_TPU = f"{STORAGE}cloud-tpu-checkpoints/mnasnet/"
_SLIM_V1 = f"{STORAGE}download.tensorflow.org/models/mobilenet_v1_2018_02_22/"
_SLIM_V2 = f"{STORAGE}mobilenet_v2/checkpoints/"
_SLIM_V3 = f"{STORAGE}mobilenet_v3/checkpoints/"
_KERAS = f"{STORAGE}tensorflow/keras-applications/"

_HOSTED_MODELS = "TensorFlow Lite, hosted_models.md"
_TPU_README = "tensorflow/tpu, models/official/mnasnet/README.md"
_SLIM_V1_PAGE = "tensorflow/models, research/slim/nets/mobilenet_v1.md"
_SLIM_README = "tensorflow/models, research/slim/nets/mobilenet/README.md"
_KERAS_DOCSTRINGS = (
    "keras.applications, docstrings of mobilenet.py, mobilenet_v2.py and mobilenet_v3.py"
)

# Multiplier, size, top-1, top-5.
_MNASNET_B1 = (
    ("1.0", 224, 74.08, 91.75),
    ("1.0", 192, 72.56, 90.76),
    ("1.0", 160, 70.63, 89.58),
    ("1.0", 128, 67.32, 87.70),
    ("1.0", 96, 62.33, 83.98),
    ("0.5", 224, 68.03, 87.79),
    ("0.75", 224, 71.72, 90.17),
    ("1.3", 224, 75.24, 92.55),
)

# Name, network, top-1, top-5.
_MNASNET_CHECKPOINTS: tuple[tuple[str, str, float, float | None], ...] = (
    ("mnasnet-a1", "tf_semnasnet_100", 75.2, 92.5),
    ("mnasnet-a1-140", "tf_semnasnet_140", 77.2, 93.5),
    ("mnasnet-a1-075", "tf_semnasnet_075", 73.3, 91.3),
    ("mnasnet-a1-050", "tf_semnasnet_050", 68.9, 88.4),
    ("mnasnet-a1-035", "tf_semnasnet_035", 64.1, 85.1),
    ("mnasnet-small", "tf_mnasnet_small", 66.0, None),
)
_MNASNET_A1_MULTIPLIERS = ("1.4", "1.0", "0.75", "0.5", "0.35")
_MNASNET_A1_SIZES = (192, 160, 128, 96)

# Multiplier -> in the name of Keras's file; slim's top-1 and top-5 and Keras's top-1 at 224 pixels.
_V1: dict[str, tuple[str, float, float, float | None]] = {
    "1.0": ("1_0", 70.9, 89.9, 70.6),
    "0.75": ("7_5", 68.4, 88.2, None),
    "0.5": ("5_0", 63.3, 84.9, None),
    "0.25": ("2_5", 49.8, 74.2, None),
}
_V1_SIZES = (224, 192, 160, 128)

# Multiplier -> top-1 and top-5 at 224 pixels, the same in slim's page and in Keras's docstring.
_V2: dict[str, tuple[float, float | None]] = {
    "1.4": (75.0, None),
    "1.3": (74.4, None),
    "1.0": (71.8, 91.0),
    "0.75": (69.8, None),
    "0.5": (65.4, None),
    "0.35": (60.3, None),
}
_V2_SIZES = (224, 192, 160, 128, 96)
_V2_ONLY_AT_224 = ("1.4", "1.3")

# Kind, multiplier, network, top-1 of the float file (the same in both), and whether slim has it
# quantised too.
_V3 = (
    ("large", "1.0", "tf_mobilenetv3_large_100", 75.2, True),
    ("large", "0.75", "tf_mobilenetv3_large_075", 73.3, False),
    ("small", "1.0", "tf_mobilenetv3_small_100", 67.5, True),
    ("small", "0.75", "tf_mobilenetv3_small_075", 65.4, False),
    ("large-minimalistic", "1.0", "tf_mobilenetv3_large_minimal_100", 72.3, True),
    ("small-minimalistic", "1.0", "tf_mobilenetv3_small_minimal_100", 61.9, False),
)


def _percent(multiplier: str) -> str:
    """A multiplier as names of networks have it: ``"0.75"`` is ``"075"``."""
    return f"{round(100 * float(multiplier)):03d}"


def _mnasnets() -> Iterator[CatalogEntry]:
    for multiplier, size, top1, top5 in _MNASNET_B1:
        name = f"mnasnet_{multiplier}_{size}"
        yield CatalogEntry(
            name, f"{_TFLITE}{name}_09_07_2018.tgz", f"tf_mnasnet_{_percent(multiplier)}",
            "tflite", size, 1001, CONTRADICTORY, top1, top5, _HOSTED_MODELS,
        )  # fmt: skip
    for name, model, first, fifth in _MNASNET_CHECKPOINTS:
        yield CatalogEntry(
            name, f"{_TPU}{name}.tgz", model, "checkpoint", 224, 1000, IMAGENET, first, fifth,
            _TPU_README,
        )  # fmt: skip
    for multiplier in _MNASNET_A1_MULTIPLIERS:
        for size in _MNASNET_A1_SIZES:
            name = f"mnasnet-a1_d{multiplier}_i{size}"
            model = f"tf_semnasnet_{_percent(multiplier)}"
            yield CatalogEntry(
                name, f"{_TPU}{name}.tgz", model, "checkpoint", size, 1000, IMAGENET
            )  # fmt: skip


def _at_224(
    size: int, top1: float | None, top5: float | None, stated_in: str
) -> tuple[float | None, float | None, str]:
    """An entry's accuracies, which are stated for 224 pixels alone."""
    return (top1, top5, stated_in) if size == 224 and top1 is not None else (None, None, "")


def _mobilenets() -> Iterator[CatalogEntry]:
    """The MobileNets that slim trained.

    Each archive holds a checkpoint, a frozen graph and a TFLite file. Of one that was trained for
    quantisation the TFLite file is the network that was published: its checkpoint is of float
    weights, without what rounds them.
    """

    def float_entry(
        name: str, folder: str, model: str, size: int, *accuracy: *tuple[float, float | None, str]
    ) -> CatalogEntry:
        return CatalogEntry(
            name, f"{folder}{name}.tgz", model, "checkpoint", size, 1001, SYMMETRIC,
            *_at_224(size, *accuracy),
        )  # fmt: skip

    def quantised_entry(name: str, folder: str, model: str, size: int) -> CatalogEntry:
        return CatalogEntry(
            name, f"{folder}{name}.tgz", model, "tflite", size, 1001, FILE_QUANTISATION
        )

    for multiplier, (_, top1, top5, _) in _V1.items():
        model = f"tf_mobilenetv1_{_percent(multiplier)}"
        for size in _V1_SIZES:
            name = f"mobilenet_v1_{multiplier}_{size}"
            yield float_entry(name, _SLIM_V1, model, size, top1, top5, _SLIM_V1_PAGE)
        for size in _V1_SIZES:
            yield quantised_entry(f"mobilenet_v1_{multiplier}_{size}_quant", _SLIM_V1, model, size)
    for multiplier, (first, fifth) in _V2.items():
        model = f"tf_mobilenetv2_{_percent(multiplier)}"
        for size in (224,) if multiplier in _V2_ONLY_AT_224 else _V2_SIZES:
            name = f"mobilenet_v2_{multiplier}_{size}"
            yield float_entry(name, _SLIM_V2, model, size, first, fifth, _SLIM_README)
    for kind, multiplier, model, top1, has_uint8 in _V3:
        name = f"v3-{kind}_224_{multiplier}"
        yield float_entry(f"{name}_float", _SLIM_V3, model, 224, top1, None, _SLIM_README)
        if has_uint8:
            yield quantised_entry(f"{name}_uint8", _SLIM_V3, model, 224)


def _keras_weights() -> Iterator[CatalogEntry]:
    """The weights of keras.applications, under short names of this package."""

    def entry(
        name: str, file: str, model: str, size: int, input: str, top1: float | None,
        top5: float | None = None,
    ) -> CatalogEntry:  # fmt: skip
        return CatalogEntry(
            f"keras-{name}", f"{_KERAS}{file}", model, "keras", size, 1000, input,
            *_at_224(size, top1, top5, _KERAS_DOCSTRINGS),
        )  # fmt: skip

    for multiplier, (digits, _, _, top1) in _V1.items():
        model = f"tf_mobilenetv1_{_percent(multiplier)}"
        for size in _V1_SIZES:
            file = f"mobilenet/mobilenet_{digits}_{size}_tf.h5"
            yield entry(f"v1_{multiplier}_{size}", file, model, size, SYMMETRIC, top1)
    for multiplier, accuracy in _V2.items():
        model = f"tf_mobilenetv2_{_percent(multiplier)}"
        for size in (224,) if multiplier in _V2_ONLY_AT_224 else _V2_SIZES:
            file = "mobilenet_v2/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_"
            file += f"{multiplier}_{size}.h5"
            yield entry(f"v2_{multiplier}_{size}", file, model, size, SYMMETRIC, *accuracy)
    for kind, multiplier, model, top1, _ in _V3:
        file = f"weights_mobilenet_v3_{kind.replace('-', '_')}_224_{multiplier}_float.h5"
        yield entry(
            f"v3-{kind}_{multiplier}_224", f"mobilenet_v3/{file}", model, 224, RESCALING_LAYER, top1
        )


ENTRIES = (*_mnasnets(), *_mobilenets(), *_keras_weights())

CATALOG: dict[str, CatalogEntry] = {entry.name: entry for entry in ENTRIES}

BY_FILE: dict[str, CatalogEntry] = {entry.file_name: entry for entry in ENTRIES}

_MODEL_ORDER = {model: i for i, model in enumerate(dict.fromkeys(e.model for e in ENTRIES))}

_ENDINGS = (".tgz", ".tflite", ".h5", ".keras")
_CLOSE = 0.75
"""Of difflib's ratio: a typing error, and not any two names of a family."""


def find_published(model: str) -> CatalogEntry | None:
    """The first entry that holds a network, or None."""
    return next((entry for entry in ENTRIES if entry.model == model), None)


def find_entry(name: str) -> CatalogEntry:
    """An entry by its own name or its file's, or the first that holds the network of that name.

    Raises:
        BadInput: there is none; the message lists the nearest names.
    """
    model = name if name.startswith("tf_") else f"tf_{name}"
    entry = CATALOG.get(name) or BY_FILE.get(name) or find_published(model)
    if entry is None:
        near = difflib.get_close_matches(name, CATALOG, n=5, cutoff=0.3)
        hint = (
            f"the nearest are {', '.join(near)}" if near else "porting sources lists what there is"
        )
        raise BadInput(f"no published source is called {name!r}; {hint}")
    return entry


def find_entries(pattern: str | None, model: str | None) -> list[CatalogEntry]:
    """Entries whose name or network has the pattern in it, grouped by network.

    ``*``, ``?`` and ``[...]`` mean what they do in a shell.

    Raises:
        UnknownModel: ``model`` is not a network.
        BadInput: there are none.
    """
    form = None if model is None else tensorflow_form(model)
    glob = f"*{pattern or ''}*".lower()
    matches = [
        entry
        for entry in ENTRIES
        if form in (None, entry.model)
        and any(fnmatchcase(text.lower(), glob) for text in (entry.name, entry.model))
    ]
    if not matches:
        terms = [f"like {pattern!r}"] * (pattern is not None) + [f"of {model}"] * (form is not None)
        raise BadInput(f"nothing is published {' and '.join(terms)}; porting sources lists all")
    return sorted(matches, key=lambda entry: _MODEL_ORDER[entry.model])


def near_names(text: str) -> list[str]:
    """Names that a user who typed ``text`` may have meant, the nearest first; often none."""
    name = PurePath(text).name
    for ending in _ENDINGS:
        name = name.removesuffix(ending)
    return difflib.get_close_matches(name, CATALOG, n=3, cutoff=_CLOSE)
