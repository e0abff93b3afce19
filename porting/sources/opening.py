"""Which reader a path needs, decided by the content of the file, and which model of an archive.

Google publishes several models of one network in an archive. A checkpoint is preferred to a
TFLite file, as it alone can hold both weight sets, unless it was trained for quantisation: its
float weights are the published network's only with the rounding that its graph adds, and the
TFLite file has that in its numbers. Without either, it is the SavedModel, then the frozen graph,
then the model of TensorFlow.js.
"""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike
from pathlib import Path, PurePosixPath

from porting.errors import BadInput, BadSource, UnsupportedSource
from porting.sources.archive import KERAS_NAMES, UnpackedArchive, is_archive
from porting.sources.checkpoint import (
    CheckpointSource,
    begins_like_v1,
    belongs_to_checkpoint,
    locate,
    looks_like_checkpoint,
    looks_like_v1,
)
from porting.sources.graphdef import (
    META_SUFFIX,
    SAVED_MODEL,
    FrozenGraphSource,
    SavedModelSource,
    TrainingGraphSource,
    looks_like_graph,
    looks_like_saved_model,
)
from porting.sources.keras.reader import KerasSource, looks_like_keras
from porting.sources.labels import LABEL_FILES
from porting.sources.source import Source
from porting.sources.tfjs import looks_like_tfjs, open_tfjs
from porting.sources.tflite.reader import TFLiteSource, looks_like_tflite

AVERAGES, FROM_TRAINING = "ema", "pristine"
"""Folders of MobileNet V3's archives: averages under the plain names, and training's checkpoint."""

MOST_BESIDE = 8
"""Most graphs that are considered beside a checkpoint: Google's archives have two."""

_QUANTISATION_VARIABLES = ("/weights_quant/", "/act_quant/")
"""In the names of variables that ``tensorflow/contrib/quantize/python/quant_ops.py`` adds."""

_RETRAINING_SCOPES = ("final_training_ops/", "final_retrain_ops/")
"""In the names of the layer that TensorFlow for Poets trains: ``add_final_training_ops`` and
``add_final_retrain_ops`` in tensorflow/examples/image_retraining/retrain.py, before and since TF
Hub. The network before it may be constants of the graph."""

_MOST_LETTERS = 200
"""Characters that are shown of a path that is too long."""

_OTHER_FORMATS = {
    b"\xff\xd8\xff": "a JPEG image",
    b"\x89PNG": "a PNG image",
    b"PK\x03\x04": "a zip archive",
    b"%PDF": "a PDF document",
    b"node {": "a graph as text (.pbtxt), of which only the binary form (.pb) is read",
    b"saved_model_schema_version": "a SavedModel as text, of which only the binary form is read",
}
"""First bytes of files that people pass by mistake, to name them."""


def open_source(path: str | PathLike[str], signature: str | None = None) -> Source:
    """Open a TensorFlow-side model: TFLite, a checkpoint, a graph, a Keras file, TensorFlow.js.

    A checkpoint may be given as its prefix, its ``.index`` file, a file of format
    V1 or a directory with a ``checkpoint`` file in it; a graph as a frozen ``.pb``, or as
    a SavedModel's directory or its ``saved_model.pb``; a model of TensorFlow.js as its
    ``model.json`` or the folder of that. All of these may lie in the ``.tgz`` that Google
    publishes, or in a ``.zip``, as Teachable Machine's ``converted_keras.zip``;
    :mod:`porting.sources.opening` says which of several is opened.
    ``signature`` names the one to take of a SavedModel or a TFLite file that has several; by
    default it is ``serving_default``, else the only one.

    Raises:
        BadSource: the path does not exist, or holds none of these, or is damaged.
        BadInput: the source has no signature of that name, or several to choose from.
        UnsupportedSource: it is sound but cannot be read.
    """
    if not isinstance(path, (str, PathLike)):
        raise BadSource(
            f"a source is given as {type(path).__name__}; expected the path of a file or folder"
        )
    place = Path(path)
    if "\0" in str(place):
        raise BadSource(f"{str(place)!r}: not a path: it has a null character in it")
    try:
        for has_format, reader in _READERS.items():
            if has_format(place):
                source = reader(place, signature)
                if signature is None or source.signature == signature:
                    return source
                raise BadInput(
                    f"{source.path}: its format has no signatures ({source.format}), so that "
                    f"{signature!r} is not one of them; leave --signature out"
                )
        content = _content(place)
    except OSError as error:
        # A name too long, or links in a circle: no reader gets as far as the file.
        name = str(place)
        name = f"{name[:_MOST_LETTERS]}..." if len(name) > _MOST_LETTERS else name
        raise BadSource(f"{name}: cannot be read: {error.strerror or error}") from error
    raise BadSource(
        f"{place}: {content}; expected a TFLite file, a TensorFlow checkpoint "
        "(a prefix, an .index file, a file of format V1, a directory with a 'checkpoint' file, "
        "a .tgz), a SavedModel's directory, a frozen graph (.pb), a Keras file (.h5, .keras) or "
        "a model of TensorFlow.js (model.json)"
    )


def claims_to_be_a_source(path: Path) -> bool:
    """Whether a path looks like a source, sound or damaged, by its content or its name."""
    return path.suffix == ".tflite" or any(has_format(path) for has_format in _READERS)


def graphs_beside(source: CheckpointSource) -> tuple[Path, ...]:
    """TFLite files and graphs that lie beside a checkpoint, at most :data:`MOST_BESIDE`.

    Those anywhere in its archive; else those of its own folder and, for one of
    MobileNet V3's pair, of the folder around. Their content is not checked.
    """
    home = source.archive.folder if source.archive else source.prefix.parent
    if source.archive is None and home.name in (AVERAGES, FROM_TRAINING):
        home = home.parent
    try:
        files = sorted(home.rglob("*") if source.archive else home.iterdir())
    except OSError:
        return ()
    lite = [file for file in files if file.suffix == ".tflite" and file.is_file()]
    graphs = [file for file in files if file.suffix == ".pb" and looks_like_graph(file)]
    return (*lite, *graphs)[:MOST_BESIDE]


def _content(path: Path) -> str:
    """Describe the content of a path that is not a source, for a message."""
    if path.is_dir():
        return "a directory without a checkpoint in it"
    try:
        with path.open("rb") as stream:
            head = stream.read(16)
    except FileNotFoundError:
        return "no such file"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    if not head:
        return "the file is empty"
    if path.suffix in (".pth", ".pt"):
        return "by its name a file of PyTorch, which porting diff, export and release take"
    formats = (name for start, name in _OTHER_FORMATS.items() if head.startswith(start))
    return next(formats, f"a file that begins with {head!r}")


def _open_checkpoint(path: Path, _: str | None) -> Source:
    """Open a checkpoint; with the graph beside it where that alone has the whole network.

    Raises:
        BadSource: it is damaged.
        UnsupportedSource: it holds nothing but a retrained last layer.
    """
    source = CheckpointSource(path)
    head = [name for name in source.tensors if any(part in name for part in _RETRAINING_SCOPES)]
    graph = source.prefix.with_name(f"{source.prefix.name}{META_SUFFIX}")
    if head and graph.is_file():
        return TrainingGraphSource(path, source.prefix)
    weights = [name for name in source.tensors if source.not_a_weight(name) is None]
    if head and len(head) == len(weights):
        raise UnsupportedSource(
            f"{path}: holds the retrained last layer alone; the network before it is in "
            f"{graph.name}, which is not there. Copy that beside it, or give the graph (.pb) that "
            "the retraining wrote"
        )
    return source


def _open_archive(path: Path, signature: str | None) -> Source:
    """Open the model that an archive was published for; the unpacked files go with the source.

    Raises:
        BadSource: the archive is damaged, or holds no model, or several that no
            rule chooses from.
    """

    def belongs_to_a_model(name: PurePosixPath, head: bytes) -> bool:
        suffixes = (".tflite", ".pb", ".json", ".bin", *KERAS_NAMES)
        by_name = name.suffix in suffixes or belongs_to_checkpoint(name.name)
        by_name = by_name or name.name in LABEL_FILES
        return by_name or begins_like_v1(head)

    archive = UnpackedArchive(path, belongs_to_a_model)
    try:
        return _model_in(archive, signature)
    except BaseException:
        archive.remove()
        raise


def _model_in(archive: UnpackedArchive, signature: str | None) -> Source:
    path, folder = archive.file, archive.folder
    models = sorted(file.parent for file in folder.rglob(SAVED_MODEL))
    homes = _checkpoint_folders(folder, models)
    files = sorted(folder.rglob("*.tflite"))
    checkpoint = _checkpoint_in(archive, homes)
    for_quantisation = checkpoint is not None and any(
        part in name for name in checkpoint.tensors for part in _QUANTISATION_VARIABLES
    )
    if len(files) == 1 and (not homes or for_quantisation):
        return TFLiteSource(files[0], archive, signature)
    if checkpoint is not None:
        return checkpoint
    graphs = [file for file in sorted(folder.rglob("*.pb")) if looks_like_graph(file)]
    tfjs = [file for file in sorted(folder.rglob("*.json")) if looks_like_tfjs(file)]
    keras = [
        file
        for file in sorted(folder.rglob("*"))
        if file.suffix in KERAS_NAMES and looks_like_keras(file)
    ]
    if not homes and not files:
        if len(models) == 1:
            return SavedModelSource(path, models[0], archive, signature)
        if len(graphs) == 1 and not models:
            return FrozenGraphSource(graphs[0], archive)
        if len(tfjs) == 1 and not models and not graphs:
            return open_tfjs(tfjs[0], archive)
        if len(keras) == 1 and not models and not graphs and not tfjs:
            return KerasSource(keras[0], archive)
    candidates = {
        "checkpoints in several folders": homes,
        "several TFLite files": files,
        "several SavedModels": models,
        "several frozen graphs": graphs,
        "several models of TensorFlow.js": tfjs,
        "several Keras files": keras,
    }
    for what, paths in candidates.items():
        if paths:
            names = ", ".join(str(path.relative_to(folder)) for path in paths)
            raise BadSource(f"{path}: holds {what}: {names}; unpack it and name one")
    raise BadSource(
        f"{path}: neither a checkpoint nor a TFLite file, a SavedModel, a frozen graph, a Keras "
        "file or a model of TensorFlow.js in this archive"
    )


def _checkpoint_folders(folder: Path, models: list[Path]) -> list[Path]:
    """Folders of checkpoints, without the variables of SavedModels where there are others.

    Google publishes the two side by side; the checkpoint alone can hold both weight sets.
    """
    homes = {p.parent for p in folder.rglob("*") if p.suffix == ".index" or looks_like_v1(p)}
    variables = {home for home in homes if home.name == "variables"}
    homes -= {home for home in variables if home.parent in models}
    # A folder of variables may lie there without its SavedModel.
    return sorted(homes - {h for h in variables if (h / "variables.index").is_file()} or homes)


def _checkpoint_in(archive: UnpackedArchive, homes: list[Path]) -> CheckpointSource | None:
    """The only checkpoint, or the one of MobileNet V3's pair that holds more; else None."""
    pair = [AVERAGES, FROM_TRAINING]
    if [home.name for home in homes] == pair and homes[0].parent == homes[1].parent:
        homes = homes[::-1]
    elif len(homes) != 1:
        return None
    for home in homes:
        files = locate(home, archive.display)
        source = CheckpointSource(archive.file, files, archive)
        if "ema" in source.weight_sets:
            break
    else:
        if len(homes) == 2:
            # They are not raw weights, and do not have the names of averages either.
            source.weight_sets = ("as stored",)
    return source


def _only_file(path: Path, pattern: str) -> Path | None:
    """The only file of a directory with a name of this pattern, or the file itself."""
    files = sorted(path.glob(pattern)) if path.is_dir() else [path]
    return files[0] if len(files) == 1 else None


def _holds_one_tflite_file(path: Path) -> bool:
    return path.is_dir() and _only_file(path, "*.tflite") is not None


def _is_one_graph(path: Path) -> bool:
    file = _only_file(path, "*.pb")
    return file is not None and looks_like_graph(file)


_READERS: dict[Callable[[Path], bool], Callable[[Path, str | None], Source]] = {
    looks_like_tflite: lambda path, signature: TFLiteSource(path, signature=signature),
    looks_like_keras: lambda path, _: KerasSource(path),
    looks_like_checkpoint: _open_checkpoint,
    lambda path: path.suffix == META_SUFFIX and path.is_file(): (
        lambda path, _: TrainingGraphSource(path)
    ),
    is_archive: _open_archive,
    _holds_one_tflite_file: lambda folder, signature: TFLiteSource(
        next(folder.glob("*.tflite")), signature=signature
    ),
    looks_like_saved_model: lambda path, signature: SavedModelSource(path, signature=signature),
    looks_like_tfjs: lambda path, _: open_tfjs(path),
    _is_one_graph: lambda path, _: FrozenGraphSource(_only_file(path, "*.pb") or path),
}
"""Whether a path holds a format -> what reads it, in the order in which they are tried.

A reader also gets the name of the signature to take, None for the default.
"""
