"""The TransHash hasher: network, preprocessing, and the one safetensors file that holds both."""

import json
import math
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
        training: dict[str, Any] | None = None,
    ) -> None:
        """Put the parts together; `name` and `digest` are those of the file, once there is one.

        `training` says how the network was trained, for people to read.
        """
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.net = net.eval().to(self.device)
        self.architecture = architecture
        self.preprocessing = preprocessing
        self.class_names = class_names
        self.training = training or {}
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
            with torch.inference_mode():
                return pack(self.net(self._tensor(batch)).float().cpu().numpy())
        except ValueError as error:
            raise ModelError(f"{self.ref.name}: {error}; train it again") from error

    def features(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        """Return what the network reads out of its streams, before the hash heads: (n, (1 + groups) F)."""
        with torch.inference_mode():
            return self.net.features(self._tensor(batch)).float().cpu().numpy()

    def embed(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        """Return the float embedding behind the codes: the features, scaled to unit length."""
        features = self.features(batch)
        return features / np.linalg.norm(features, axis=1, keepdims=True).clip(1e-12)

    def _tensor(self, batch: NDArray[Any]) -> torch.Tensor:
        return torch.from_numpy(batch).to(self.device)

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
            "training": self.training,
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
                architecture, preprocessing, class_names, training = _parse(metadata)
                with torch.device("meta"):
                    net = build(architecture)
                expected = {name: tuple(weight.shape) for name, weight in net.state_dict().items()}
                found = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
                if expected != found:
                    name = min(expected.items() ^ found.items())[0]
                    raise ValueError(f"tensor {name}: {found.get(name)}, expected {expected.get(name)}")
                weights = {name: file.get_tensor(name).float() for name in found}
        except (SafetensorError, ModelError, ArithmeticError, ValueError, KeyError, TypeError, RuntimeError) as error:
            line = " ".join(str(error).split())[:200]
            raise ModelError(f"{path}: not a hasher, or a damaged one ({line}); train one with: th train") from None
        net.load_state_dict(weights, assign=True)
        ref = _ref(path, architecture.bits)
        return cls(net, architecture, preprocessing, class_names, ref.name, ref.digest, training)


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


def _parse(metadata: dict[str, str]) -> tuple[Architecture, Preprocessing, tuple[str, ...], dict[str, Any]]:
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
    if not (min(std) > 0 and 0 < crop <= 1 and all(map(math.isfinite, (*mean, *std)))):
        raise ValueError("preprocessing out of range")
    names = tuple(str(name) for name in config["class_names"])
    return architecture, Preprocessing(mean, std, crop), names, dict(config.get("training", {}))


def _three(values: Any) -> tuple[float, float, float]:
    red, green, blue = (float(value) for value in values)
    return red, green, blue
