"""The TransHash hasher: network, preprocessing, and the one safetensors file that holds both."""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import save as serialize
from torch import nn

from ..codes import ModelRef
from ..errors import ModelError
from ..packing import pack
from . import pretrain, smvit, tensor_file, weight_types
from .architecture import Architecture
from .base import Named
from .header import DAMAGE, HasherConfig, check_replaceable, damaged, is_hasher, parse_network
from .numpy_net import unit
from .precision import has_bf16
from .preprocessing import Preprocessing
from .rarity import Rarity
from .smvit import SMViT, build, network, plain_backbone


class TransHasher(Named):
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
        """Combine a network with the other contents of a hasher's file.

        `training` records how the network was trained, `ref` identifies its file, if there is one, and `bf16` selects
        bfloat16. The attributes `default_bits` and `rarity` are those of `HasherConfig`.

        Raises ModelError if this machine cannot compute in bfloat16.
        """
        if bf16 and not has_bf16():
            raise ModelError("neither processor nor GPU has instructions for bfloat16; leave out --bf16 (bf16=True)")
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.bf16 = bf16
        self.net = net.eval().to(self.device)
        self.architecture = architecture
        self.preprocessing = preprocessing
        self.class_names = class_names
        self.training = training or {}
        self.default_bits: int | None = None
        self.rarity: tuple[Rarity, ...] = ()
        self.ref = ref or ModelRef("", "", architecture.bits)

    def preprocess(self, image: Image.Image) -> NDArray[Any]:
        """Convert an image to the network's square input (H, W, 3) uint8, as `preprocessing` says."""
        return self.preprocessing.square(image, self.architecture.image_size)

    def encode(self, batch: NDArray[Any]) -> NDArray[np.uint8]:
        """Hash preprocessed images (n, H, W, 3) uint8 into codes (n, bits/8) uint8."""
        return self._pack(self.outputs(batch))

    def outputs(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        """Compute the outputs (n, bits) float32 of preprocessed images; their signs are the codes."""
        with self.computing() as net:
            return net(self._pixels(batch)).float().cpu().numpy()[:, : self.ref.bits]

    def encode_both(self, batch: NDArray[Any]) -> tuple[NDArray[np.uint8], NDArray[np.float16]]:
        """Compute codes (n, bits/8) uint8 and the embeddings (n, d) float16 behind them, of unit length."""
        with self.computing() as net:
            features = net.features(self._pixels(batch))
            outputs = net.hash(features).float().cpu().numpy()[:, : self.ref.bits]
            return self._pack(outputs), unit(features.float().cpu().numpy()).astype(np.float16)

    def features(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        """Compute the features (n, (1 + groups) F) float32 that the hash heads see."""
        with self.computing() as net:
            return net.features(self._pixels(batch)).float().cpu().numpy()

    def embed(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        """Compute the embeddings (n, (1 + groups) F) float32 behind the codes: features scaled to unit length."""
        return unit(self.features(batch))

    def _pixels(self, batch: NDArray[Any]) -> torch.Tensor:
        """Normalise images (n, H, W, 3) uint8 for the network: (n, 3, H, W) float32."""
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
        """Yield the network, ready to run in bfloat16 or in float32, where every batch size gives the same bits."""
        with torch.inference_mode(), torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            yield self._halved if self.bf16 else self.net

    @cached_property
    def _halved(self) -> SMViT:
        """The network with its matrices in bfloat16: autocast would convert them for every batch."""
        net = deepcopy(self.net)
        for module in net.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                module.to(torch.bfloat16)
        return net

    def save(self, path: str | Path, weights: str = "fp32") -> None:
        """Write weights, architecture, preprocessing and class names to one safetensors file, atomically.

        Equal hashers produce equal files with the same digest. `weights` selects how the weights are stored, one of
        `weight_types.WEIGHT_TYPES`; a hasher loaded from fp16 or int8 weights may compute a few bits differently.

        Raises ModelError if something other than a hasher exists there or the weights cannot be stored so, OSError if
        the file cannot be written.
        """
        path = Path(path)
        check_replaceable(path)
        config = HasherConfig(
            self.architecture,
            self.preprocessing,
            self.class_names,
            self.training,
            smvit.layout(self.net),
            self.default_bits,
            self.rarity,
        )
        arrays = {name: weight.cpu().contiguous().numpy() for name, weight in self.net.state_dict().items()}
        tensor_file.write(path, serialize(weight_types.convert(arrays, weights), config.metadata()))
        self.ref = config.ref(path)

    @classmethod
    def load(cls, path: str | Path, bf16: bool = False) -> Self:
        """Load a hasher that `save` wrote, to compute in bfloat16 or float32.

        The network is first built without memory and compared with the file's tensors by name and shape, so that
        an untrusted file cannot make it larger than the file is. Raises ModelError if the file is not a hasher, is
        damaged, or holds a layout that does not match its network.
        """
        path = Path(path)
        try:
            tensor_file.verify(path)
            with safe_open(path, framework="pt") as file:
                config = parse_network(file.metadata())
                with torch.device("meta"):
                    architecture = smvit.explicit(config.architecture)
                    net = build(architecture)
                expected = {name: tuple(weight.shape) for name, weight in net.state_dict().items()}
                found = weight_types.shapes(file)
                if expected != found:
                    name = min(expected.items() ^ found.items())[0]
                    raise ValueError(f"tensor {name}: {found.get(name)}, expected {expected.get(name)}")
                if config.layout not in (None, smvit.layout(net)):
                    raise ValueError(f"{config.layout} is not that of {config.architecture.backbone}")
                weights = {name: weight_types.restore(file, name, torch.Tensor.float) for name in found}
        except DAMAGE as error:
            raise damaged(path, error) from None
        net.load_state_dict(weights, assign=True)
        ref = config.ref(path, "bf16" if bf16 else None)
        hasher = cls(net, architecture, config.preprocessing, config.class_names, config.training, ref, bf16)
        hasher.default_bits, hasher.rarity = config.default_bits, config.rarity
        return hasher


def start(
    architecture: Architecture,
    *,
    pretrained: bool = False,
    weights: str | Path | None = None,
    class_names: tuple[str, ...] = (),
) -> TransHasher:
    """Make an untrained hasher with random weights, timm's (`pretrained`), or those of the file `weights`.

    A hasher's file supplies everything but the hash heads, so the new hasher may have another number of bits.

    Raises ModelError if the backbone or its weights are not available.
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
    architecture = replace(architecture, stride=net.backbone.patch_embed.proj.stride[0])
    config = backbone.pretrained_cfg
    default = Preprocessing(tuple(config["mean"]), tuple(config["std"]))
    return TransHasher(net, architecture, earlier.preprocessing if earlier else default, class_names)
