"""Small ONNX models for tests."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIDE = 8
WIDTH = 3 * SIDE * SIDE
FLATTEN = (helper.make_node("Flatten", ["pixels"], ["embedding"]),)
"""The operators of a model whose embedding is its input."""


def build(
    nodes: Sequence[Any] = FLATTEN,
    *,
    shape: Sequence[Any] = ("n", 3, SIDE, SIDE),
    kind: int = TensorProto.FLOAT,
    outputs: Sequence[str] = ("embedding",),
    constants: dict[str, Any] | None = None,
    domains: Sequence[str] = (),
    more_inputs: Sequence[str] = (),
) -> Any:
    """Make a model with the input ``pixels``."""
    inputs = [helper.make_tensor_value_info("pixels", kind, shape)]
    inputs += [helper.make_tensor_value_info(name, TensorProto.INT64, [1]) for name in more_inputs]
    results = [helper.make_empty_tensor_value_info(name) for name in outputs]
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in (constants or {}).items()]
    graph = helper.make_graph(list(nodes), "graph", inputs, results, tensors)
    opsets = [helper.make_opsetid("", 17), *(helper.make_opsetid(domain, 1) for domain in domains)]
    model = helper.make_model(graph, opset_imports=opsets)
    model.ir_version = 9
    return model


def save(path: Path, model: Any) -> Path:
    """Write a model, and return its path."""
    path.write_bytes(model.SerializeToString())
    return path


def linear(weight: Any) -> Any:
    """Make a model that multiplies its flat input by `weight` (3 * SIDE * SIDE, d)."""
    nodes = [
        helper.make_node("Flatten", ["pixels"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weight"], ["embedding"]),
    ]
    return build(nodes, constants={"weight": np.asarray(weight, np.float32)})


def with_data_file(model: Any, location: str, **entries: object) -> Any:
    """Return a copy of a model whose constants are in another file; `entries` are its offset and length."""
    moved = onnx.ModelProto()
    moved.CopyFrom(model)
    for tensor in moved.graph.initializer:
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in {"location": location, **entries}.items():
            tensor.external_data.add(key=key, value=str(value))
    return moved
