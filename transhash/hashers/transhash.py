"""The TransHash hasher: network, preprocessing, and the one safetensors file that holds both."""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save as serialize
from torch import nn

from .. import files
from ..codes import ModelRef
from ..errors import ModelError
from ..packing import pack
from . import pretrain, smvit
from .architecture import Architecture
from .header import DAMAGE, Header, Preprocessing, check_replaceable, damaged, is_hasher, parse
from .numpy_net import unit
from .precision import has_bf16
from .smvit import SMViT, build, network, plain_backbone


class TransHasher:
    """A trained network that hashes images."""

    def __init__(
        self,
        net: SMViT,
        architecture: Architecture,
        preprocessing: Preprocessing,
        class_names: tuple[str, ...] = (),
        training: dict[str, Any] | None = None,
        ref: ModelRef | None = None,
        bf16: bool = False,
    ) -> None:
        """Put the parts together.

        `training` says how the network was trained, `ref` names its file, if any, and `bf16` lets it compute in
        bfloat16. Raises ModelError if this machine cannot do that.
        """
        if bf16 and not has_bf16():
            raise ModelError("neither processor nor GPU has instructions for bfloat16; leave out --bf16")
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.bf16 = bf16
        self.net = net.eval().to(self.device)
        self.architecture = architecture
        self.preprocessing = preprocessing
        self.class_names = class_names
        self.training = training or {}
        self.ref = ref or ModelRef("", "", architecture.bits)

    def preprocess(self, image: Image.Image) -> NDArray[Any]:
        """Cut out the central square and resize it (bicubic): (H, W, 3) uint8."""
        return self.preprocessing.square(image, self.architecture.image_size)

    def encode(self, batch: NDArray[Any]) -> NDArray[np.uint8]:
        """Hash preprocessed images (n, H, W, 3) uint8 into codes (n, bits/8) uint8."""
        return self._pack(self.outputs(batch))

    def outputs(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        """Return the outputs of preprocessed images, (n, bits), whose signs are the codes."""
        with self.computing() as net:
            return net(self._pixels(batch)).float().cpu().numpy()

    def encode_both(self, batch: NDArray[Any]) -> tuple[NDArray[np.uint8], NDArray[np.float16]]:
        """Return the codes of preprocessed images and the embeddings behind them, as `embed` does, in float16."""
        with self.computing() as net:
            features = net.features(self._pixels(batch))
            outputs = net.hash(features).float().cpu().numpy()
            return self._pack(outputs), unit(features.float().cpu().numpy()).astype(np.float16)

    def features(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        """Return what the network reads out of its streams, before the hash heads: (n, (1 + groups) F)."""
        with self.computing() as net:
            return net.features(self._pixels(batch)).float().cpu().numpy()

    def embed(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        """Return the float embedding behind the codes: the features, scaled to unit length."""
        return unit(self.features(batch))

    def _pixels(self, batch: NDArray[Any]) -> torch.Tensor:
        """Return images (n, H, W, 3) uint8 as the network takes them: (n, 3, H, W) float32, normalised."""
        pixels = torch.from_numpy(batch).to(self.device, non_blocking=True).permute(0, 3, 1, 2).float()
        mean, std = (
            torch.tensor(values, device=self.device).view(3, 1, 1) * 255
            for values in (self.preprocessing.mean, self.preprocessing.std)
        )
        return pixels.sub_(mean).div_(std)

    def _pack(self, outputs: NDArray[np.float32]) -> NDArray[np.uint8]:
        try:
            return pack(outputs)
        except ValueError as error:
            raise ModelError(f"{self.ref.name}: {error}; train it again") from error

    @contextmanager
    def computing(self) -> Iterator[SMViT]:
        """Yield the network, ready to run: in float32, in which every batch size gives the same bits, or bfloat16."""
        with torch.inference_mode(), torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            yield self._halved if self.bf16 else self.net

    @cached_property
    def _halved(self) -> SMViT:
        """The network with its matrices in bfloat16: autocast would convert them anew for every batch."""
        net = deepcopy(self.net)
        for module in net.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                module.to(torch.bfloat16)
        return net

    def save(self, path: str | Path) -> None:
        """Write weights, architecture, preprocessing and class names as one safetensors file, atomically.

        Raises ModelError if something other than a hasher stands there, OSError if it cannot be written.
        """
        path = Path(path)
        check_replaceable(path)
        header = Header(
            self.architecture, self.preprocessing, self.class_names, self.training, smvit.layout(self.net)
        )
        weights = {name: weight.cpu().contiguous() for name, weight in self.net.state_dict().items()}
        with files.replacing(path) as temporary:
            temporary.write_bytes(serialize(weights, header.metadata()))  # save_file would not name a full disk
        self.ref = header.ref(path)

    @classmethod
    def load(cls, path: str | Path, bf16: bool = False) -> Self:
        """Read what `save` wrote, to compute in bfloat16 or float32.

        The network is laid out without memory first and compared with the file's tensors by name and shape, so
        that a stranger's file cannot make it larger than the file is. Raises ModelError if anything is amiss.
        """
        path = Path(path)
        try:
            with safe_open(path, framework="pt") as file:
                header = parse(file.metadata())
                with torch.device("meta"):
                    net = build(header.architecture)
                expected = {name: tuple(weight.shape) for name, weight in net.state_dict().items()}
                found = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
                if expected != found:
                    name = min(expected.items() ^ found.items())[0]
                    raise ValueError(f"tensor {name}: {found.get(name)}, expected {expected.get(name)}")
                weights = {name: file.get_tensor(name).float() for name in found}
        except DAMAGE as error:
            raise damaged(path, error) from None
        net.load_state_dict(weights, assign=True)
        ref = header.ref(path, "bf16" if bf16 else None)
        return cls(net, header.architecture, header.preprocessing, header.class_names, header.training, ref, bf16)


def start(
    architecture: Architecture,
    *,
    pretrained: bool = False,
    weights: str | Path | None = None,
    class_names: tuple[str, ...] = (),
) -> TransHasher:
    """Return an untrained hasher: random weights, timm's (`pretrained`), or a safetensors file's (`weights`).

    From a hasher's file everything is taken but the hash heads, which may have other bits.

    Raises ModelError if the backbone or its weights cannot be had.
    """
    backbone = plain_backbone(architecture)
    earlier = TransHasher.load(weights) if weights is not None and is_hasher(weights) else None
    if pretrained:
        weights = pretrain.download(architecture.backbone)
    if weights is not None and earlier is None:
        pretrain.load(backbone, Path(weights))
    net = network(backbone, architecture)
    if earlier is not None:
        try:
            net.take_over(earlier.net.cpu())
        except ModelError as error:
            raise ModelError(f"{weights}: {error}; choose the settings that it was trained with") from None
    config = backbone.pretrained_cfg
    return TransHasher(net, architecture, Preprocessing(tuple(config["mean"]), tuple(config["std"])), class_names)
