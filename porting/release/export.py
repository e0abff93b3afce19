"""Export a network to another format, and keep the file if it computes what PyTorch does.

Each file is run by its own runtime at five sizes (or on five images of its one size), and lies no
further from PyTorch than eight times the float32 noise of the network's output, as a judge must
(:mod:`porting.parity.noise`).
"""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from porting.atomic_files import written_whole
from porting.card import read_card
from porting.errors import BadInput, NotAtParity
from porting.parity.noise import FACTOR, floor, noise_of
from porting.sha256 import sha256_of

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from genmobilenet.network import GenMobileNet

Sizes = Literal["fixed", "batch", "open"]
Layout = Literal["nchw", "nhwc"]

SEED = 0

SMALLEST_SIDE = 32
"""Smallest side in pixels at which a file with open sizes is compared."""

Run = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class ExportOptions:
    """What is exported, and of which sizes.

    ``sizes``: all fixed, the batch open, or batch, height and width open. ``side`` is that of
    images in pixels, None for that of the checkpoint's card or network; ``batch`` is their number
    where it is fixed. ``with_preprocessing`` takes pixels
    0..255 and gives probabilities; ``layout`` is that of the input.
    """

    sizes: Sizes
    side: int | None = None
    batch: int = 1
    with_preprocessing: bool = False
    layout: Layout = "nchw"

    def shapes(self) -> list[tuple[int, int, int]]:
        """Batch, height and width of the five inputs on which a file is compared."""
        assert self.side is not None  # export has put the network's in
        side, other = self.side, max(self.side // 2, SMALLEST_SIDE) + 1
        if self.sizes == "fixed":
            return [(self.batch, side, side)] * 5
        if self.sizes == "batch":
            return [(batch, side, side) for batch in (1, 2, 3, 5, 8)]
        return [
            (1, side, side), (2, side + 1, side), (1, side, side + 1), (3, side + 1, side + 1),
            (1, other, other + 2),
        ]  # fmt: skip


@dataclass(frozen=True)
class Exported:
    """An exported file, and its largest distance from PyTorch, over the noise."""

    path: Path
    model: str
    options: ExportOptions
    ratio: float
    relative: float
    runtime: str


@dataclass(frozen=True)
class Format:
    """How a format is written and run; ``sizes`` are those that it can leave open."""

    suffix: str
    sizes: tuple[Sizes, ...]
    write: Callable[[nn.Module, Tensor, ExportOptions, dict[str, str], Path], None]
    load: Callable[[Path], tuple[Run, str]]
    same_as_operator: bool = False
    why_not_open: str = ""


def export(
    checkpoint: Path,
    out: Path,
    format_name: str,
    options: ExportOptions,
    model: str | None = None,
) -> Exported:
    """Export a ported file, or another checkpoint of the network ``model``.

    Raises:
        BadInput: the checkpoint does not say what it is, the format cannot leave those sizes open,
            or its packages are not installed.
        NotAtParity: the file gives other numbers than PyTorch; it is not kept.
    """
    import torch

    from genmobilenet.exporting import exportable
    from genmobilenet.factory import create_model, read_state_dict, strings_in

    kind = FORMATS.get(format_name)
    if kind is None:
        raise BadInput(f"format {format_name!r}: expected one of {', '.join(FORMATS)}")
    if options.sizes not in kind.sizes:
        raise BadInput(
            f"{format_name} has no files with --sizes {options.sizes}, but with "
            f"{' or '.join(kind.sizes)}: {kind.why_not_open}"
        )
    digest = sha256_of_checkpoint(checkpoint)
    card = read_card(checkpoint, digest)
    if card is not None and card.onto is not None:
        raise BadInput(
            f"{checkpoint}: was ported onto {card.onto}, a user-defined module; export that module "
            "itself"
        )
    state = read_state_dict(checkpoint)
    name = model or (card.model if card is not None else strings_in(state))
    if name is None:
        raise BadInput(f"{checkpoint}: neither a card nor the file says its network; use --model")
    network = create_model(name, checkpoint_path=checkpoint).eval()
    convention = None if card is None else card.input
    affine = None
    if options.with_preprocessing and not network.config.normalises:
        if convention is None:
            raise BadInput(
                f"{checkpoint}: no card beside it says how pixels are normalised, which "
                "--with-preprocessing needs"
            )
        affine = (convention.mean, convention.std)
    if options.side is None:
        size = network.config.input_size if convention is None else convention.size
        options = replace(options, side=size)
    pixels = affine is not None or network.config.normalises
    reference = _whole_network(network, affine, options)
    form = _whole_network(exportable(network, kind.same_as_operator), affine, options)
    example = _inputs(network, options, pixels)
    metadata = {
        "model": name,
        "weights_sha256": digest,
        "input": f"{options.layout}, {'pixels 0..255' if pixels else 'normalised'}",
        "output": "probabilities" if options.with_preprocessing else "logits",
    }
    if card is not None and card.labels is not None:
        metadata["labels"] = json.dumps(card.labels)
    with written_whole(out) as place, torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of exporters, on their own internals
        inputs = list(example)
        # A suffix of its own: some runtimes go by it.
        file = place.with_name(f"{place.name}{kind.suffix}")
        try:
            first = inputs[0] if options.sizes == "fixed" else inputs[1]
            kind.write(form, first, options, metadata, file)
            run, runtime = kind.load(file)
            ratio, relative = _compare(reference, run, inputs, out)
            file.replace(place)
        finally:
            file.unlink(missing_ok=True)
    return Exported(out, name, options, ratio, relative, runtime)


def sha256_of_checkpoint(checkpoint: Path) -> str:
    """The checksum of a checkpoint.

    Raises:
        BadInput: it cannot be read.
    """
    try:
        return sha256_of(checkpoint)
    except OSError as error:
        raise BadInput(f"{checkpoint}: cannot be read: {error.strerror or error}") from error


def _whole_network(
    network: GenMobileNet,
    affine: tuple[tuple[float, ...], tuple[float, ...]] | None,
    options: ExportOptions,
) -> nn.Module:
    """A network with what is exported around it: layout, normalisation, softmax."""
    import torch
    from torch import nn

    class WholeNetwork(nn.Module):
        mean: Tensor
        std: Tensor

        def __init__(self) -> None:
            super().__init__()
            self.network = network
            mean, std = affine or ((0.0,), (1.0,))
            self.register_buffer("mean", torch.tensor(mean).reshape(-1, 1, 1))
            self.register_buffer("std", torch.tensor(std).reshape(-1, 1, 1))

        def forward(self, x: Tensor) -> Tensor:
            if options.layout == "nhwc":
                x = x.permute(0, 3, 1, 2)
            if affine is not None:
                x = (x - self.mean) / self.std
            x = self.network(x)
            return x.softmax(1) if options.with_preprocessing else x

    return WholeNetwork().eval()


def _inputs(network: GenMobileNet, options: ExportOptions, pixels: bool) -> Iterator[Tensor]:
    """Random images of the five sizes: pixels 0..255, or values as normalised ones are."""
    import torch

    generator = torch.Generator().manual_seed(SEED)
    channels = network.config.in_chans
    for batch, height, width in options.shapes():
        shape = (batch, channels, height, width)
        if options.layout == "nhwc":
            shape = (batch, height, width, channels)
        values = torch.rand(shape, generator=generator)
        yield (values * 255).round() if pixels else values * 4 - 2


def _compare(
    reference: nn.Module, run: Run, inputs: list[Tensor], out: Path
) -> tuple[float, float]:
    """The largest distance over the noise, and over the scale of the output.

    Raises:
        NotAtParity: it is more than FACTOR times the noise, or of another shape.
    """
    import copy

    from porting.parity.summation_order import ReversedSums, SequentialSums

    exact_form = copy.deepcopy(reference).double()
    worst = relative = 0.0
    for x in inputs:
        exact = exact_form(x.double()).numpy()
        runs = [reference(x).numpy()]
        for order in (SequentialSums(), ReversedSums()):
            with order:
                runs.append(reference(x).numpy())
        values = run(x.numpy())
        size = "x".join(map(str, x.shape))
        if values.shape != exact.shape:
            raise NotAtParity(f"{out}: gives {values.shape} at {size}, PyTorch {exact.shape}")
        scale = float(np.abs(exact).max())
        noise = max(float(noise_of(exact, *runs).max()), floor(scale))
        apart = float(np.abs(values - runs[0]).max())
        if not apart <= FACTOR * noise:  # written so that NaN exceeds any limit
            raise NotAtParity(
                f"{out}: differs from PyTorch at {size} by {apart:.3g}, {apart / noise:.3g} times "
                f"the float32 noise, of {FACTOR:g} allowed; the file is not kept"
            )
        worst, relative = max(worst, apart / noise), max(relative, apart / scale if scale else 0)
    return worst, relative


def _needs(*packages: str) -> None:
    """Check that packages can be imported.

    Raises:
        BadInput: one cannot; the message says how to install it.
    """
    from importlib.util import find_spec

    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        names = [name.replace("_", "-") for name in missing]
        raise BadInput(
            f"this format needs {' and '.join(names)}, not installed here: "
            f"pip install {' '.join(names)}"
        )


def _dynamic_shapes(options: ExportOptions) -> tuple[dict[int, Any], ...] | None:
    """Which axes of the input are open, as ``torch.export`` takes it."""
    from torch.export import Dim

    if options.sizes == "fixed":
        return None
    axes: dict[int, Any] = {0: Dim("batch")}
    if options.sizes == "open":
        first = 2 if options.layout == "nchw" else 1
        axes |= {first: Dim("height", min=8), first + 1: Dim("width", min=8)}
    return (axes,)


def _write_onnx(
    module: nn.Module, example: Tensor, options: ExportOptions, metadata: dict[str, str], path: Path
) -> None:
    _needs("onnx", "onnxscript", "onnxruntime")
    import onnx
    import torch
    from onnxscript import opset20 as op

    def same_conv(
        x: Any, weight: Any, bias: Any, stride: list[int], dilation: list[int], groups: int
    ) -> Any:
        return op.Conv(
            x, weight, bias, auto_pad="SAME_UPPER", strides=list(stride), dilations=list(dilation),
            group=groups,
        )  # fmt: skip

    with _quiet():
        program = torch.onnx.export(
            module, (example,), dynamo=True, input_names=["input"], output_names=["output"],
            dynamic_shapes=_dynamic_shapes(options), verbose=False, opset_version=20,
            custom_translation_table={
                torch.ops.genmobilenet.conv2d_same.default: same_conv,
            },
        )  # fmt: skip
    assert program is not None  # no path was given
    proto = program.model_proto
    # The exporter notes its own run: stack traces, with the machine's paths.
    for part in (proto, proto.graph, *proto.graph.node, *proto.graph.value_info,
                 *proto.graph.initializer, *proto.graph.input, *proto.graph.output,
                 *proto.functions):  # fmt: skip
        del part.metadata_props[:]
        part.doc_string = ""
    if options.sizes == "fixed":
        _pad_by_numbers(proto)
    for key, value in metadata.items():
        proto.metadata_props.add(key=key, value=value)
    onnx.checker.check_model(proto, full_check=True)
    path.write_bytes(proto.SerializeToString(deterministic=True))


def _pad_by_numbers(proto: Any) -> None:
    """Write SAME padding as numbers, which more readers of ONNX know than ``auto_pad``."""
    from genmobilenet.layers import same_padding

    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*proto.graph.input, *proto.graph.value_info)
    }
    kernels = {tensor.name: list(tensor.dims[2:]) for tensor in proto.graph.initializer}
    for node in proto.graph.node:
        attributes = {attribute.name: attribute for attribute in node.attribute}
        if "auto_pad" not in attributes or attributes["auto_pad"].s != b"SAME_UPPER":
            continue
        sides = shapes[node.input[0]][2:]
        totals = [
            same_padding(side, kernel, stride, dilation)
            for side, kernel, stride, dilation in zip(
                sides, kernels[node.input[1]], attributes["strides"].ints,
                attributes["dilations"].ints, strict=True,
            )
        ]  # fmt: skip
        node.attribute.remove(attributes["auto_pad"])
        import onnx

        pads = [total // 2 for total in totals] + [total - total // 2 for total in totals]
        node.attribute.append(onnx.helper.make_attribute("pads", pads))


def _load_onnx(path: Path) -> tuple[Run, str]:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def run(x: np.ndarray) -> np.ndarray:
        return np.asarray(session.run(None, {name: x})[0])

    return run, f"ONNX Runtime {onnxruntime.__version__}"


def _write_pt2(
    module: nn.Module, example: Tensor, options: ExportOptions, metadata: dict[str, str], path: Path
) -> None:
    import torch

    program = torch.export.export(module, (example,), dynamic_shapes=_dynamic_shapes(options))
    torch.export.save(program, path, extra_files={"metadata.json": json.dumps(metadata)})


def _load_pt2(path: Path) -> tuple[Run, str]:
    import torch

    return _of_module(torch.export.load(path).module()), f"torch.export {torch.__version__}"


def _write_torchscript(
    module: nn.Module, example: Tensor, options: ExportOptions, metadata: dict[str, str], path: Path
) -> None:
    import torch

    trace = torch.jit.trace(module, example, check_trace=False)  # type: ignore[no-untyped-call]
    files = {"metadata.json": json.dumps(metadata)}
    torch.jit.save(torch.jit.freeze(trace), path, _extra_files=files)


def _load_torchscript(path: Path) -> tuple[Run, str]:
    import torch

    module = torch.jit.load(path)  # type: ignore[no-untyped-call]
    return _of_module(module), f"TorchScript {torch.__version__}"


def _of_module(module: Callable[[torch.Tensor], torch.Tensor]) -> Run:
    import torch

    def run(x: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return module(torch.from_numpy(x)).numpy()

    return run


def _write_executorch(
    module: nn.Module, example: Tensor, options: ExportOptions, metadata: dict[str, str], path: Path
) -> None:
    _needs("executorch")
    import torch
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    program = torch.export.export(module, (example,))
    edge_program = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
    path.write_bytes(edge_program.to_executorch().buffer)


def _load_executorch(path: Path) -> tuple[Run, str]:
    from importlib.metadata import version

    import torch
    from executorch.runtime import Runtime

    content = path.read_bytes()
    program = Runtime.get().load_program(content)
    method = program.load_method("forward")
    owners = (content, program)  # the method reads their memory

    def run(x: np.ndarray) -> np.ndarray:
        assert owners
        return np.asarray(method.execute([torch.from_numpy(x)])[0].numpy())

    return run, f"ExecuTorch {version('executorch')}"


def _write_tflite(
    module: nn.Module, example: Tensor, options: ExportOptions, metadata: dict[str, str], path: Path
) -> None:
    _needs("litert_torch")
    import litert_torch

    with _quiet():
        litert_torch.convert(module, (example,)).export(str(path))


def _load_tflite(path: Path) -> tuple[Run, str]:
    from importlib.metadata import version

    _needs("ai_edge_litert")
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path))
    runner = interpreter.get_signature_runner()
    [name] = runner.get_input_details()

    def run(x: np.ndarray) -> np.ndarray:
        [values] = runner(**{name: x}).values()
        return np.asarray(values)

    return run, f"LiteRT {version('ai-edge-litert')}"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence what exporters log about packages that are not installed."""
    import logging

    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(previous)


FORMATS = {
    "onnx": Format(
        ".onnx", ("fixed", "batch", "open"), _write_onnx, _load_onnx, same_as_operator=True
    ),
    "pt2": Format(
        ".pt2", ("fixed", "batch"), _write_pt2, _load_pt2,
        why_not_open="torch.export cannot prove that its guards on SAME padding, which depends on "
        "the size modulo the stride layer after layer, hold for all of them",
    ),
    "torchscript": Format(".pt", ("open",), _write_torchscript, _load_torchscript,
                          why_not_open="a traced network takes any size"),
    "executorch": Format(
        ".pte", ("fixed",), _write_executorch, _load_executorch,
        why_not_open="XNNPACK plans its memory for one size",
    ),
    "tflite": Format(
        ".tflite", ("fixed",), _write_tflite, _load_tflite,
        why_not_open="its converter makes all shapes constants",
    ),
}  # fmt: skip
"""Formats by name; ``pt2`` is what ``torch.export`` saves."""
