"""The TransHash hasher: network, preprocessing, and the one safetensors file that holds both."""

import json
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize

from .. import files
from ..codes import ModelRef
from ..errors import ModelError
from ..packing import pack
from . import pretrain
from .architecture import Architecture
from .smvit import SMViT, build, network, plain_backbone

FORMAT = "transhash-hasher"
VERSION = 0


@dataclass(frozen=True)
class Preprocessing:
    """How an image becomes the network's input.

    Attributes:
        mean, std: of the channels, for pixels from 0 to 1.
        crop: side of the central square that is kept, as a part of the shorter side.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    crop: float = 1.0


class TransHasher:
    """A trained network that hashes images."""

    def __init__(
        self,
        net: SMViT,
        architecture: Architecture,
        preprocessing: Preprocessing,
        class_names: tuple[str, ...] = (),
        name: str = "",
        digest: str = "",
    ) -> None:
        """Put the parts together; `name` and `digest` are those of the file, once there is one."""
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.net = net.eval().to(self.device)
        self.architecture = architecture
        self.preprocessing = preprocessing
        self.class_names = class_names
        self.ref = ModelRef(name, digest, architecture.bits)

    def preprocess(self, image: Image.Image) -> NDArray[Any]:
        """Crop the central square, resize it (bicubic) and normalise: (3, H, W) float32."""
        side, crop = self.architecture.image_size, self.preprocessing.crop
        square = ImageOps.fit(image, (side, side), Image.Resampling.BICUBIC, bleed=(1 - crop) / 2)
        pixels = np.asarray(square, dtype=np.float32) / 255
        mean, std = (np.asarray(v, np.float32) for v in (self.preprocessing.mean, self.preprocessing.std))
        return np.ascontiguousarray(((pixels - mean) / std).transpose(2, 0, 1))

    def encode(self, batch: NDArray[Any]) -> NDArray[np.uint8]:
        """Hash preprocessed images (n, 3, H, W) float32 into codes (n, bits/8) uint8."""
        try:
            return pack(self._run(batch)[1])
        except ValueError as error:
            raise ModelError(f"{self.ref.name}: {error}; train it again") from error

    def embed(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        """Return the float features behind the codes, (n, (1 + groups) D), scaled to unit length."""
        features = self._run(batch)[0]
        return features / np.linalg.norm(features, axis=1, keepdims=True).clip(1e-12)

    def _run(self, batch: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        with torch.inference_mode():
            features = self.net.features(torch.from_numpy(batch).to(self.device))
            return features.cpu().numpy(), self.net.hash(features).cpu().numpy()

    def save(self, path: str | Path) -> None:
        """Write weights, architecture, preprocessing and class names as one safetensors file, atomically.

        Raises ModelError if something other than a hasher stands there, OSError if it cannot be written.
        """
        path = Path(path)
        check_replaceable(path)
        config = {
            "architecture": asdict(self.architecture),
            "preprocessing": asdict(self.preprocessing),
            "class_names": self.class_names,
        }
        metadata = {"format": FORMAT, "version": str(VERSION), "config": json.dumps(config)}
        weights = {name: weight.cpu().contiguous() for name, weight in self.net.state_dict().items()}
        with files.replacing(path) as temporary:
            temporary.write_bytes(serialize(weights, metadata))  # save_file would not name a full disk
        self.ref = _ref(path, self.architecture.bits)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what `save` wrote.

        The network is laid out without memory first and compared with the file's tensors by name and shape, so
        that a stranger's file cannot make it larger than the file is. Raises ModelError if anything is amiss.
        """
        path = Path(path)
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                architecture, preprocessing, class_names = _parse(metadata)
                with torch.device("meta"):
                    net = build(architecture)
                expected = {name: tuple(weight.shape) for name, weight in net.state_dict().items()}
                found = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
                if expected != found:
                    name = min(expected.items() ^ found.items())[0]
                    raise ValueError(f"tensor {name}: {found.get(name)}, expected {expected.get(name)}")
                weights = {name: file.get_tensor(name).float() for name in found}
        except (SafetensorError, ModelError, ValueError, KeyError, TypeError, RuntimeError) as error:
            line = " ".join(str(error).split())[:200]
            raise ModelError(f"{path}: not a hasher, or a damaged one ({line}); train one with: th train") from None
        net.load_state_dict(weights, assign=True)
        ref = _ref(path, architecture.bits)
        return cls(net, architecture, preprocessing, class_names, ref.name, ref.digest)


def start(
    architecture: Architecture,
    *,
    pretrained: bool = False,
    weights: str | Path | None = None,
    class_names: tuple[str, ...] = (),
) -> TransHasher:
    """Return an untrained hasher: random weights, timm's (`pretrained`), or a safetensors file's (`weights`).

    Raises ModelError if the backbone or its weights cannot be had.
    """
    backbone = plain_backbone(architecture)
    if pretrained:
        weights = pretrain.download(architecture.backbone)
    if weights is not None:
        pretrain.load(backbone, Path(weights))
    config = backbone.pretrained_cfg
    return TransHasher(
        network(backbone, architecture),
        architecture,
        Preprocessing(tuple(config["mean"]), tuple(config["std"])),
        class_names,
    )


def check_replaceable(path: Path) -> None:
    """Raise ModelError if something other than a hasher stands at `path`."""
    if not path.exists():
        return
    try:
        with safe_open(path, framework="pt") as file:
            ours = (file.metadata() or {}).get("format") == FORMAT
    except (SafetensorError, OSError):
        ours = False
    if not ours:
        raise ModelError(f"{path}: exists and is not a hasher; choose another output")


def _ref(path: Path, bits: int) -> ModelRef:
    name = os.fsencode(path.absolute()).decode("utf-8", "backslashreplace")
    return ModelRef(name, files.sha256(path), bits)


def _parse(metadata: dict[str, str]) -> tuple[Architecture, Preprocessing, tuple[str, ...]]:
    if metadata.get("format") != FORMAT:
        raise ValueError("no TransHash hasher")
    if metadata.get("version") != str(VERSION):
        raise ValueError(f"format version {metadata.get('version')}, this TransHash reads {VERSION}")
    config = json.loads(metadata["config"])
    architecture = Architecture(**config["architecture"])
    for field in fields(Architecture):
        value = getattr(architecture, field.name)
        if not isinstance(value, cast(type, field.type)):
            raise ValueError(f"{field.name} is {value!r}")
    given = config["preprocessing"]
    mean, std, crop = _three(given["mean"]), _three(given["std"]), float(given["crop"])
    if not (min(std) > 0 and 0 < crop <= 1):
        raise ValueError("preprocessing out of range")
    names = tuple(str(name) for name in config["class_names"])
    return architecture, Preprocessing(mean, std, crop), names


def _three(values: Any) -> tuple[float, float, float]:
    red, green, blue = (float(value) for value in values)
    return red, green, blue
