"""The network in plain numpy, for a few images: loading torch would take longer than computing their codes.

The same arithmetic as `smvit`, in float32, on the tensors of a hasher's file.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from .bit_layout import bit_order

Floats = NDArray[np.float32]

PATCHES = "backbone.patch_embed.proj"
"""The name of the patch embedding."""

MAX_PATCHES = 1 << 12  # attention takes memory proportional to their square

_ROWS = 64  # rows of the hidden layer: they fit into a core's cache while GELU makes many passes over them
# erf(x) = x P(x²) / Q(x²) for |x| <= 4, to within 5e-7: the coefficients of Eigen, highest power first
_ERF_LIMIT = np.float32(4)
_P = np.array(
    (
        -2.72614225801306e-10,
        2.77068142495902e-08,
        -2.10102402082508e-06,
        -5.69250639462346e-05,
        -7.34990630326855e-04,
        -2.95459980854025e-03,
        -1.60960333262415e-02,
    ),
    np.float32,
)
_Q = np.array(
    (
        -1.45660718464996e-05,
        -2.13374055278905e-04,
        -1.68282697438203e-03,
        -7.37332916720468e-03,
        -1.42647390514189e-02,
    ),
    np.float32,
)

_BLOCK = r"(norm[12]|attn\.qkv|attn\.proj|mlp\.fc[12])\.(weight|bias)|ls[12]\.gamma"
_KNOWN_TENSORS = re.compile(
    r"backbone\.((cls_token|reg_token|pos_embed)|patch_embed\.proj\.(weight|bias)"
    rf"|blocks\.\d+\.({_BLOCK}))"
    rf"|(global|local)_block\.({_BLOCK})|(global|local)_norm\.(weight|bias)"
    r"|(global_head|local_heads\.\d+)\.(weight|bias)"
)


def unit(features: Floats) -> Floats:
    """Scale features (n, d) to length 1; those of length 0 stay as they are."""
    return features / np.linalg.norm(features, axis=1, keepdims=True).clip(1e-12)


@dataclass(frozen=True)
class Layout:
    """The properties of a network that the names and shapes of its tensors do not determine.

    Attributes:
        heads: number of attention heads in every block.
        eps: added to the variance in every layer norm.
        late_prefix: whether the class token is added after the position embeddings, without one of its own.
        stride: pixels from one patch to the next.
    """

    heads: Annotated[int, Meta(ge=1, le=1024)]
    eps: Annotated[float, Meta(gt=0, lt=1)]
    late_prefix: bool
    stride: Annotated[int, Meta(ge=1, le=1024)]


class NumpyViT:
    """Maps images to outputs, as `smvit.SMViT` does.

    Attributes:
        weights: the tensors of the hasher's file, by name.
        layout: the properties that they do not determine.
        order: position of every bit among the outputs of the heads; None if they are in order.
        groups, pool, mirror: as in `Architecture`.
        blocks: names of the blocks before the streams.
        lead: class token and registers, each (1, n, D).
        prefix: number of these tokens.
        positions: number of patches.
    """

    def __init__(
        self,
        weights: Mapping[str, Floats],
        layout: Layout,
        groups: int,
        pool: str,
        mirror: bool,
        lengths: Sequence[int] = (),
    ) -> None:
        """Take a hasher's tensors, named as in `SMViT`, and the properties that they do not determine.

        Raises ValueError if there are tensors that a plain transformer does not have.
        """
        foreign = next((name for name in weights if not _KNOWN_TENSORS.fullmatch(name)), None)
        if foreign:
            raise ValueError(f"tensor {foreign}: not part of a plain transformer")
        self.weights = weights
        self.layout = layout
        self.order = bit_order(lengths, groups) if len(lengths) > 1 else None
        self.groups = groups
        self.pool = pool
        self.mirror = mirror
        blocks = {name.split(".")[2] for name in weights if name.startswith("backbone.blocks.")}
        self.blocks = [f"backbone.blocks.{number}" for number in sorted(blocks, key=int)]
        self.lead = [
            weights[f"backbone.{name}"] for name in ("cls_token", "reg_token") if f"backbone.{name}" in weights
        ]
        self.prefix = sum(token.shape[1] for token in self.lead)
        positions = weights["backbone.pos_embed"].shape
        self.positions = positions[1] - (0 if layout.late_prefix else self.prefix)
        if len(positions) != 3 or self.positions > MAX_PATCHES:
            raise ValueError(f"position embeddings {positions}")

    @property
    def block_names(self) -> list[str]:
        """Names of all blocks, those of the streams included."""
        return [*self.blocks, "global_block", *(["local_block"] if self.groups else [])]

    @property
    def heads(self) -> list[str]:
        """Names of the hash heads, in the order of their outputs."""
        return ["global_head", *(f"local_heads.{place}" for place in range(self.groups))]

    def __call__(self, images: Floats) -> Floats:
        """Map images (n, 3, H, W) to outputs (n, bits), whose signs are the code."""
        return self.hash(self.features(images))

    def features(self, images: Floats) -> Floats:
        """Read out the streams, side by side: (n, 3, H, W) -> (n, (1 + K) F)."""
        features = self._read(images)
        return (features + self._read(images[..., ::-1])) * np.float32(0.5) if self.mirror else features

    def _read(self, images: Floats) -> Floats:
        tokens = self._tokens(images)
        for name in self.blocks:
            tokens = self._block(tokens, name)
        streams = [self._stream(tokens, "global")]
        if self.groups:
            prefix, patches = np.split(tokens, [self.prefix], axis=1)
            for group in np.array_split(patches, self.groups, axis=1):
                streams.append(self._stream(np.concatenate([prefix, group], axis=1), "local"))
        return np.concatenate(streams, axis=1)

    def hash(self, features: Floats) -> Floats:
        """Map features (n, (1 + K) F) to outputs (n, bits), whose signs are the code."""
        streams = np.split(features, len(self.heads), axis=1)
        outputs = np.concatenate([self._linear(*pair) for pair in zip(streams, self.heads, strict=True)], axis=1)
        return outputs if self.order is None else outputs[:, self.order]

    def _tokens(self, images: Floats) -> Floats:
        """Embed patches, preceded by the class token, and add positions: (n, prefix + N, D)."""
        weight = self.weights[f"{PATCHES}.weight"]  # (D, 3, P, P)
        side = weight.shape[2:]
        windows = np.lib.stride_tricks.sliding_window_view(images, side, axis=(2, 3))
        windows = windows[:, :, :: self.layout.stride, :: self.layout.stride]  # (n, 3, rows, columns, P, P)
        count, _, rows, columns = windows.shape[:4]
        if rows * columns != self.positions:
            raise ValueError(f"{rows} x {columns} patches, and positions for {self.positions}")
        flat = windows.transpose(0, 2, 3, 1, 4, 5).reshape(count, rows * columns, -1)
        tokens = flat @ weight.reshape(len(weight), -1).T
        tokens += self.weights.get(f"{PATCHES}.bias", np.float32(0))
        positions = self.weights["backbone.pos_embed"]
        lead = [np.repeat(token, count, axis=0) for token in self.lead]
        if self.layout.late_prefix:
            return np.concatenate([*lead, tokens + positions], axis=1)
        return np.concatenate([*lead, tokens], axis=1) + positions

    def _stream(self, tokens: Floats, name: str) -> Floats:
        """Read out a stream: (n, F)."""
        tokens = self._norm(self._block(tokens, f"{name}_block"), f"{name}_norm")
        if self.pool == "token":
            return tokens[:, 0]
        mean = tokens[:, self.prefix :].mean(axis=1)
        return mean if self.pool == "mean" else np.concatenate([tokens[:, 0], mean], axis=1)

    def _block(self, tokens: Floats, name: str) -> Floats:
        attended = self._attention(self._norm(tokens, f"{name}.norm1"), f"{name}.attn")
        tokens = tokens + attended * self.weights.get(f"{name}.ls1.gamma", np.float32(1))
        hidden = self._linear(self._norm(tokens, f"{name}.norm2"), f"{name}.mlp.fc1")
        for start in range(0, hidden.shape[1], _ROWS):
            _gelu(hidden[:, start : start + _ROWS])
        return tokens + self._linear(hidden, f"{name}.mlp.fc2") * self.weights.get(f"{name}.ls2.gamma", np.float32(1))

    def _attention(self, tokens: Floats, name: str) -> Floats:
        count, length, dim = tokens.shape
        qkv = self._linear(tokens, f"{name}.qkv").reshape(count, length, 3, self.layout.heads, -1)
        query, key, value = qkv.transpose(2, 0, 3, 1, 4)  # each (n, heads, length, D/heads)
        scores = query @ key.swapaxes(2, 3) * np.float32(query.shape[-1] ** -0.5)
        scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
        mixed = scores / scores.sum(axis=-1, keepdims=True) @ value
        return self._linear(mixed.transpose(0, 2, 1, 3).reshape(count, length, dim), f"{name}.proj")

    def _linear(self, values: Floats, name: str) -> Floats:
        result = values @ self.weights[f"{name}.weight"].T
        result += self.weights.get(f"{name}.bias", np.float32(0))
        return result

    def _norm(self, values: Floats, name: str) -> Floats:
        centered = values - values.mean(axis=-1, keepdims=True)
        deviation = np.sqrt(np.square(centered).mean(axis=-1, keepdims=True) + np.float32(self.layout.eps))
        return centered / deviation * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]


def _gelu(values: Floats) -> None:
    """Replace x by x (1 + erf(x / √2)) / 2. Importing SciPy for erf would take longer than a whole query."""
    error = erf(values * np.float32(2**-0.5))
    error += np.float32(1)
    error *= np.float32(0.5)
    values *= error


def erf(values: Floats) -> Floats:
    """Compute the error function, to within 5e-7."""
    bounded = np.clip(values, -_ERF_LIMIT, _ERF_LIMIT)
    square = np.square(bounded)
    bounded *= _polynomial(_P, square)
    bounded /= _polynomial(_Q, square)
    return bounded


def _polynomial(coefficients: Floats, values: Floats) -> Floats:
    result = np.full_like(values, coefficients[0])
    for coefficient in coefficients[1:]:
        result *= values
        result += coefficient
    return result
