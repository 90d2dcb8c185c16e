"""A network of 8-bit matrices as a graph of OpenVINO, which uses the processor's instructions for them."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..system.threads import threads
from .numpy_net import PATCHES, Floats, NumpyViT
from .openvino_runtime import Model, core, ops
from .quantized import Levels, Matrix

_CHUNK = 8  # images that a thread computes at once
_END = np.iinfo(np.int64).max

Node = Any


class OpenVinoViT:
    """Maps images to features and outputs, which do not depend on the batch of an image."""

    def __init__(self, net: NumpyViT, matrices: Mapping[str, Matrix], side: int) -> None:
        """Compile a network with folded preprocessing, and its rounded matrices by name, for images of some side.

        Raises RuntimeError or ValueError if its tensors are inconsistent.
        """
        self._sides = net.weights[f"{PATCHES}.weight"].shape[1:3]
        self._stride = net.layout.stride
        self._mirror = net.mirror
        rows, columns = ((side - patch) // self._stride + 1 for patch in self._sides)
        if rows * columns != net.positions:
            raise ValueError(f"{rows} x {columns} patches, and positions for {net.positions}")
        patches = ops.parameter([-1, net.positions, matrices[PATCHES].values.shape[1]], np.uint8)
        graph = Model(list(_Graph(net, matrices).results(patches)), [patches])
        self._threads = threads()
        settings = {
            "INFERENCE_NUM_THREADS": self._threads,
            "NUM_STREAMS": self._threads,
            "INFERENCE_PRECISION_HINT": "f32",  # of the other operations; bfloat16 would give other bits
        }
        compiled = core().compile_model(graph, "CPU", settings)
        self._idle: SimpleQueue[Any] = SimpleQueue()
        for _ in range(self._threads):
            self._idle.put(compiled.create_infer_request())
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="transhash-fast")

    def __call__(self, images: NDArray[np.uint8]) -> tuple[Floats, Floats]:
        """Return the features (n, (1 + K) F) and the outputs (n, bits) of images (n, side, side, 3) uint8."""
        size = min(_CHUNK, -(-len(images) // self._threads))
        chunks = [images[start : start + size] for start in range(0, len(images), size)]
        features, outputs = zip(*self._pool.map(self._computed, chunks), strict=True)
        return np.concatenate(features), np.concatenate(outputs)

    def _computed(self, images: NDArray[np.uint8]) -> tuple[Floats, Floats]:
        """Compute a part of the images in one thread."""
        request = self._idle.get()
        try:
            request.infer([self._patches(images)])
            features, outputs = (np.array(request.get_output_tensor(number).data) for number in range(2))
        finally:
            self._idle.put(request)
        return features, outputs

    def _patches(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Cut images into patches (n, N, P · P · 3); if the network mirrors, each is followed by its mirror image."""
        if self._mirror:
            images = np.stack([images, images[:, :, ::-1]], axis=1).reshape(-1, *images.shape[1:])
        windows = np.lib.stride_tricks.sliding_window_view(images, self._sides, axis=(1, 2))
        windows = windows[:, :: self._stride, :: self._stride]  # (n, rows, columns, 3, P, P)
        count, rows, columns = windows.shape[:3]
        return windows.transpose(0, 1, 2, 4, 5, 3).reshape(count, rows * columns, -1)


class _Graph:
    """Builds the graph, step by step as `NumpyViT` computes."""

    def __init__(self, net: NumpyViT, matrices: Mapping[str, Matrix]) -> None:
        self._net = net
        self._matrices = matrices

    def results(self, patches: Node) -> tuple[Node, Node]:
        """Return features and outputs of the patches of images."""
        features = self._read(patches)
        if self._net.mirror:
            images, mirrored = (ops.slice(features, *map(_numbers, (start, _END, 2, 0))) for start in (0, 1))
            features = ops.multiply(ops.add(images, mirrored), _constant(np.float32(0.5)))
        streams = ops.split(features, _constant(np.int64(1)), len(self._net.heads)).outputs()
        outputs = ops.concat(
            [self._linear(stream, name) for stream, name in zip(streams, self._net.heads, strict=True)], 1
        )
        if self._net.order is not None:
            outputs = ops.gather(outputs, _numbers(*self._net.order), _constant(np.int64(1)))
        return features, outputs

    def _read(self, patches: Node) -> Node:
        tokens = self._tokens(patches)
        for name in self._net.blocks:
            tokens = self._block(tokens, tokens, name)
        streams = [self._stream(tokens, "global")]
        if self._net.groups:
            lead = _rows(tokens, 0, self._net.prefix)
            start = self._net.prefix
            for group in np.array_split(np.arange(self._net.positions), self._net.groups):
                rest = _rows(tokens, start, start + len(group))
                streams.append(self._stream(ops.concat([lead, rest], 1), "local"))
                start += len(group)
        return ops.concat(streams, 1)

    def _tokens(self, patches: Node) -> Node:
        net = self._net
        tokens = self._linear(ops.convert(patches, "f32"), PATCHES)
        positions, lead = net.weights["backbone.pos_embed"], np.concatenate(net.lead, axis=1)
        if lead.shape[2] != positions.shape[2]:
            raise ValueError(f"class token {lead.shape} and positions {positions.shape}")
        if not net.layout.late_prefix:
            lead, positions = lead + positions[:, : net.prefix], positions[:, net.prefix :]
        count = ops.gather(ops.shape_of(patches), _numbers(0), _constant(np.int64(0)))
        shape = ops.concat([count, _numbers(*lead.shape[1:])], 0)
        return ops.concat([ops.broadcast(_constant(lead), shape), ops.add(tokens, _constant(positions))], 1)

    def _stream(self, tokens: Node, name: str) -> Node:
        """Read out a stream; where only the class token is read, the block computes nothing else."""
        pool, prefix = self._net.pool, self._net.prefix
        wanted = _rows(tokens, 0, 1) if pool == "token" else tokens
        read = self._norm(self._block(wanted, tokens, f"{name}_block"), f"{name}_norm")
        token = ops.gather(read, _constant(np.int64(0)), _constant(np.int64(1)))
        if pool == "token":
            return token
        mean = ops.reduce_mean(_rows(read, prefix, _END), _numbers(1), False)
        return mean if pool == "mean" else ops.concat([token, mean], 1)

    def _block(self, wanted: Node, tokens: Node, name: str) -> Node:
        """Compute a block for some of the tokens."""
        source = self._norm(tokens, f"{name}.norm1")
        asking = source if wanted is tokens else self._norm(wanted, f"{name}.norm1")
        wanted = ops.add(wanted, self._attention(asking, source, f"{name}.attn"))
        hidden = self._linear(self._norm(wanted, f"{name}.norm2"), f"{name}.mlp.fc1")
        return ops.add(wanted, self._linear(ops.gelu(hidden, "erf"), f"{name}.mlp.fc2"))

    def _attention(self, asking: Node, source: Node, name: str) -> Node:
        heads, width = self._net.layout.heads, self._net.weights[f"{name}.proj.weight"].shape[1]
        levels = self._matrices[f"{name}.qkv"].levels
        inputs = [_rounded(asking, levels)] * 3
        inputs[1:] = [inputs[0] if asking is source else _rounded(source, levels)] * 2
        query, key, value = (
            ops.transpose(
                ops.reshape(
                    self._product(part, f"{name}.qkv", slice(place * width, (place + 1) * width)),
                    _numbers(0, 0, heads, width // heads),
                    True,
                ),
                _numbers(0, 2, 1, 3),
            )
            for place, part in enumerate(inputs)
        )
        query = ops.multiply(query, _constant(np.float32((width // heads) ** -0.5)))
        mixed = ops.matmul(ops.softmax(ops.matmul(query, key, False, True), -1), value, False, False)
        mixed = ops.reshape(ops.transpose(mixed, _numbers(0, 2, 1, 3)), _numbers(0, 0, width), True)
        return self._linear(mixed, f"{name}.proj")

    def _linear(self, values: Node, name: str) -> Node:
        if name in self._matrices:
            return self._product(_rounded(values, self._matrices[name].levels), name, slice(None))
        result = ops.matmul(values, _constant(self._net.weights[f"{name}.weight"]), False, True)
        bias = self._net.weights.get(f"{name}.bias")
        return result if bias is None else ops.add(result, _constant(bias))

    def _product(self, rounded: Node, name: str, rows: slice) -> Node:
        """Multiply rounded values by selected rows of an 8-bit matrix."""
        matrix = self._matrices[name]
        weight = ops.multiply(ops.convert(_constant(matrix.values[rows]), "f32"), _constant(matrix.scale[rows, None]))
        result = ops.matmul(rounded, weight, False, True)
        bias = self._net.weights.get(f"{name}.bias")
        return result if bias is None else ops.add(result, _constant(bias[rows]))

    def _norm(self, values: Node, name: str) -> Node:
        result = ops.mvn(values, _numbers(-1), True, self._net.layout.eps, "inside_sqrt")
        gamma, beta = self._net.weights[f"{name}.weight"], self._net.weights[f"{name}.bias"]
        if (gamma == 1).all() and not beta.any():
            return result
        return ops.add(ops.multiply(result, _constant(gamma)), _constant(beta))


def _rounded(values: Node, levels: Levels) -> Node:
    low, high = map(_constant, levels.ends)
    return ops.fake_quantize(values, low, high, low, high, 256)


def _rows(tokens: Node, start: int, stop: int) -> Node:
    return ops.slice(tokens, *(_numbers(number) for number in (start, stop, 1, 1)))


def _constant(values: Any) -> Node:
    return ops.constant(np.asarray(values, order="C"))


def _numbers(*values: int) -> Node:
    return ops.constant(np.array(values, np.int64))
