"""Naming what is wrong with a port: all of ``porting diagnose`` but reading and printing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from genmobilenet.config import SEPARATOR
from porting.atomic_files import sync, temporary
from porting.catalog.local import open_published
from porting.diff import diff
from porting.errors import BadInput, MissingJudge, NotAtParity, OutputError
from porting.mapping.families import Affine
from porting.mapping.input_spec import InputConvention, convention_of, parse_affine
from porting.own_module import copied
from porting.parity.diagnosis.cause import Diagnosis
from porting.parity.diagnosis.engine import diagnose_port
from porting.parity.inputs import INPUTS, Images, image_stream
from porting.parity.weights import compare_weights
from porting.sources import Source
from porting.subject import Subject, subject_of

if TYPE_CHECKING:
    from torch import nn

IMAGES = INPUTS
"""Most images that a diagnosis takes: two to choose on, two or more that are held out."""


@dataclass(frozen=True, eq=False)
class PortDiagnosis:
    """A diagnosis with the two that it is of; ``inputs`` says on which images."""

    source: Source
    subject: Subject
    convention: InputConvention
    diagnosis: Diagnosis
    inputs: str
    affine: Affine | None = None


def diagnose_subject(
    source: Source,
    subject: Subject,
    images: Images | None = None,
    *,
    affine: Affine | None = None,
) -> PortDiagnosis:
    """Name what makes a network disagree with its source's judge, as far as it can be proved.

    ``images`` are the built-in ones where it is None; the first ten are taken.

    Raises:
        MissingJudge: the judge is not installed; the message says what the weights alone show.
        BadInput: there are fewer than two images, or the judge's values are not finite.
    """
    convention = convention_of(source, subject.match, affine)
    stream = image_stream(
        images, IMAGES, convention.size, convention.channels, source.graph is None
    )
    pixels = list(islice(stream, IMAGES))
    try:
        diagnosis = diagnose_port(source, subject.match, subject.network, convention, pixels)
    except MissingJudge as error:
        weights = compare_weights(source, subject.match, subject.network, convention)
        findings = "\n  ".join((weights.headline(), *weights.lines()))
        raise MissingJudge(
            f"{error}; without a judge the weights alone can be compared:\n  {findings}"
        ) from error
    _check_finite(source, diagnosis)
    return PortDiagnosis(source, subject, convention, diagnosis, stream.what, affine)


def _check_finite(source: Source, diagnosis: Diagnosis) -> None:
    """Check that the judge's values are numbers.

    Raises:
        BadInput: some are NaN or infinite on both sides, and nothing can be proved behind them.
    """
    comparison = diagnosis.before
    if comparison is None or diagnosis.at_parity or diagnosis.causes:
        return
    for tap in comparison.taps:
        if any(figures.nonfinite for figures in tap.readings):
            raise BadInput(
                f"{source.path}: the judge and the port give NaN or infinite values at {tap.tap} "
                f"({tap.judge_name}); no cause can be proved behind that; see what feeds it with "
                "porting diff, or give other images with --images"
            )


def diagnose(
    source: Source | str | PathLike[str],
    model: nn.Module | str | PathLike[str],
    images: Images | None = None,
    *,
    name: str | None = None,
    weights: str | None = None,
    mean: float | Sequence[float] | str | None = None,
    std: float | Sequence[float] | str | None = None,
) -> Diagnosis:
    """Name what makes a PyTorch network disagree with its TensorFlow source.

    Each cause in the result is proved: a copy of the network in which it is mended agrees with the
    judge there, on images that were not used to find it. ``.summary()`` is a sentence, ``.causes``
    the chain of causes, and ``.mended`` the copy.

    Args:
        source: a path, or an opened source.
        model: a module, or the file of a state dict.
        images: as :func:`porting.compare` takes them; the first ten are used.
        name: the network's name, where source or file leave more than one.
        weights: the source's weight set, ``"ema"`` or ``"raw"``.
        mean, std: how RGB pixels 0..255 become what the network's first layer takes, where the
            source does not say it.

    Raises:
        BadInput: the source cannot be read, or the two do not fit.
    """
    opened = source if isinstance(source, Source) else open_published(source)
    subject = subject_of(opened, model, name, weights)
    return diagnose_subject(opened, subject, images, affine=parse_affine(mean, std)).diagnosis


def check_mendable(result: PortDiagnosis) -> None:
    """Check that other weights alone mend the network.

    Raises:
        NotAtParity: they do not; the message says what else there is to change.
    """
    diagnosis = result.diagnosis
    in_code = [cause for cause in diagnosis.causes if not cause.keys]
    in_weights = [cause for cause in diagnosis.causes if cause.keys]
    if in_code:
        remedies = "".join(f"\n  {cause.cause}: {cause.remedy}" for cause in in_code)
        begin = "no file of weights mends this network"
        if in_weights:
            names = ", ".join(dict.fromkeys(cause.cause for cause in in_weights))
            begin = f"other weights mend a part alone ({names})"
        raise NotAtParity(f"{begin}; nothing is written. Change the network's code:{remedies}")
    if not diagnosis.complete:
        raise NotAtParity(
            "the causes that are proved do not account for all of the disagreement; nothing is "
            "written"
        )


def write_mended(result: PortDiagnosis, file: Path) -> None:
    """Write the mended state dict, once the network built anew from it is at parity.

    Raises:
        NotAtParity: the network as it is, with the mended weights, disagrees; nothing is written.
        OutputError: the file cannot be written; nothing is left.
    """
    import torch

    from genmobilenet.factory import with_strings

    subject, mended = result.subject, result.diagnosis.mended
    assert mended is not None  # check_mendable looked
    state = {key: values.detach().clone() for key, values in mended.state_dict().items()}
    network = copied(subject.network)
    network.load_state_dict(state)
    comparison = diff(
        result.source, replace(subject, network=network), affine=result.affine
    ).comparison
    if not comparison:
        raise NotAtParity(f"{file}: {comparison.summary()}; nothing is written")
    written = with_strings(state, subject.model) if SEPARATOR in subject.model else state
    try:
        with temporary(file.parent) as place:
            with place.open("wb") as stream:
                torch.save(written, stream)
                sync(stream)
            place.replace(file)
    except (OSError, RuntimeError) as error:
        raise OutputError(f"{file}: cannot be written: {error}") from error
