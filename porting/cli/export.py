"""The command ``porting export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from porting.cli.options import JsonOption, ModelOption
from porting.reports.terminal import print_lines, show


def export(
    checkpoint: Annotated[
        Path, typer.Argument(metavar="CHECKPOINT", help="A ported file, or any state dict.")
    ],
    format_name: Annotated[
        Literal["onnx", "pt2", "torchscript", "executorch", "tflite"],
        typer.Option("--format", help="Format of the file; pt2 is what torch.export saves."),
    ] = "onnx",
    model: ModelOption = None,
    sizes: Annotated[
        Literal["fixed", "batch", "open"] | None,
        typer.Option(
            "--sizes",
            help="Fix all sizes, leave the batch open, or batch, height and width. By default "
            "fixed, for TorchScript open.",
        ),
    ] = None,
    side: Annotated[
        int | None,
        typer.Option("--side", min=8, help="Pixels of a side; by default those of the card."),
    ] = None,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Images, where fixed.")] = 1,
    with_preprocessing: Annotated[
        bool,
        typer.Option(
            "--with-preprocessing", help="Take pixels 0..255 and give probabilities."
        ),
    ] = False,
    layout: Annotated[
        Literal["nchw", "nhwc"] | None,
        typer.Option("--layout", help="Layout of the input; by default nchw, for TFLite nhwc."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="File; by default in checkpoints/exported.")
    ] = None,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Export a network to ONNX, torch.export, TorchScript, ExecuTorch or TFLite.

    The file's own runtime is compared with PyTorch at five sizes before the file gets its name;
    exits with 1, and keeps nothing, where they differ beyond float32 noise.
    """
    from porting.atomic_files import check_files
    from porting.folders import EXPORTS
    from porting.release.export import FORMATS, ExportOptions
    from porting.release.export import export as export_file

    open_sizes = format_name == "torchscript"
    default_layout: Literal["nchw", "nhwc"] = "nhwc" if format_name == "tflite" else "nchw"
    place = out or EXPORTS / f"{checkpoint.stem}{FORMATS[format_name].suffix}"
    check_files([place], (checkpoint,))
    options = ExportOptions(
        sizes or ("open" if open_sizes else "fixed"), side, batch,
        with_preprocessing, layout or default_layout,
    )  # fmt: skip
    result = export_file(checkpoint, place, format_name, options, model)
    data = {
        "file": str(result.path),
        "model": result.model,
        "runtime": result.runtime,
        "noise_ratio": result.ratio,
        "relative_difference": result.relative,
    }
    lines = [
        ("exported", str(result.path)),
        ("network", result.model),
        ("sizes", f"{options.sizes}, {options.layout}, {result.options.side} pixels a side"),
        ("compared", f"{result.runtime} differs from PyTorch by {result.ratio:.2g} times the "
         f"float32 noise at most, {result.relative:.2g} of the output's scale, on 5 inputs"),
    ]  # fmt: skip
    show(as_json, lambda: data, lambda: print_lines(lines))
