"""Export hashers to ONNX, for programs that use neither torch nor this package."""

import io
import json
import os
import warnings
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import ModelError, OutputError
from ..packing import BIT_ORDER
from ..system import files
from ..system.files import display
from .transhash import TransHasher

_MARK = b"transhash.digest"  # metadata, which ONNX stores at the end of a file


def export(hasher: TransHasher, output: Path) -> None:
    """Write a hasher to an ONNX file, atomically; see `transhash.export_hasher`."""
    onnx = _onnx()
    side = hasher.architecture.image_size
    network = _PackedCodes(hasher.net.cpu(), hasher.preprocessing.mean, hasher.preprocessing.std, hasher.ref.bits)
    example = torch.zeros((2, side, side, 3), dtype=torch.uint8)  # the exporter would take a batch of 1 as fixed
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            network.eval(),
            (example,),
            input_names=["images"],
            output_names=["codes"],
            dynamic_shapes={"images": {0: torch.export.Dim("n")}},
            dynamo=True,
        )
    assert program is not None
    model = program.model_proto
    _drop_debug_information(model)
    onnx.helper.set_model_props(model, _properties(hasher))
    if model.ByteSize() >= onnx.checker.MAXIMUM_PROTOBUF:
        raise ModelError(f"{display(hasher.ref.name)}: over 2 GiB, more than an ONNX file holds")
    with files.replacing(output) as temporary:
        temporary.write_bytes(model.SerializeToString())


def check_replaceable(output: Path) -> None:
    """Raise OutputError unless `output` ends in .onnx, and nothing other than an exported hasher exists there."""
    if output.suffix.lower() != ".onnx":
        raise OutputError(f"{display(output)}: the name must end in .onnx")
    files.check_replaceable(output, _is_export, "a hasher exported to ONNX")


class _PackedCodes(nn.Module):
    """A hasher's network from pixels (n, H, W, 3) uint8 to packed codes (n, bits/8) uint8."""

    mean: Tensor
    std: Tensor

    def __init__(self, net: nn.Module, mean: tuple[float, ...], std: tuple[float, ...], bits: int) -> None:
        super().__init__()
        self.net = net
        self.bits = bits
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1) * 255)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1) * 255)
        self.register_buffer("weights", 2.0 ** torch.arange(7, -1, -1))

    def forward(self, images: Tensor) -> Tensor:
        pixels = (images.permute(0, 3, 1, 2).float() - self.mean) / self.std
        bits = (self.net(pixels)[:, : self.bits] > 0).float()
        return (bits.unflatten(1, (-1, 8)) * self.weights).sum(2).to(torch.uint8)


def _properties(hasher: TransHasher) -> dict[str, str]:
    """Return the metadata of the file: what a program must know to prepare images and to compare codes.

    Mean and deviation are left out, because normalization is part of the graph.
    """
    prepared = hasher.preprocessing
    return {
        "transhash.model": hasher.ref.short_name,
        "transhash.digest": hasher.ref.digest,
        "transhash.bits": str(hasher.ref.bits),
        "transhash.bit_order": BIT_ORDER,
        "transhash.preprocessing": json.dumps(
            {
                "size": hasher.architecture.image_size,
                "fit": prepared.fit,
                "crop": prepared.crop,
                "resample": prepared.resample,
            }
        ),
    }


def _drop_debug_information(model: Any) -> None:
    """Remove what torch's exporter adds for debugging, such as stack traces, which contain paths of this machine."""
    for graph in (model.graph, *model.functions):
        del graph.metadata_props[:]
        for part in (*graph.node, *graph.value_info):
            del part.metadata_props[:]
            part.ClearField("doc_string")
    for part in (*model.graph.initializer, *model.graph.input, *model.graph.output):
        del part.metadata_props[:]
        part.ClearField("doc_string")


def _is_export(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - (64 << 10)))
        return _MARK in file.read()


def _onnx() -> Any:
    try:
        import onnx
        import onnxscript  # noqa: F401, which torch's exporter uses
    except ImportError:
        raise ModelError("exporting needs onnx; install it with: pip install 'transhash[onnx]'") from None
    return onnx
