"""Whether the processor's sums of 8-bit products saturate, as those without VNNI do in OpenVINO."""

from functools import cache

import numpy as np

from .openvino_runtime import Model, core, ops

_DEPTH = 64


@cache
def largest_weight() -> int:
    """Return the largest magnitude of an 8-bit weight whose products with inputs from 0 to 255 are summed exactly.

    Without VNNI, two products are summed in 16 bits, which hold 2 · 255 · 64 but not 2 · 255 · 127.
    """
    inputs = ops.parameter([1, _DEPTH], np.float32)
    low, high = (ops.constant(np.float32(end)) for end in (0, 255))
    rounded = ops.fake_quantize(inputs, low, high, low, high, 256)
    scale = ops.constant(np.ones((_DEPTH, 1), np.float32))
    weights = ops.multiply(ops.convert(ops.constant(np.full((_DEPTH, _DEPTH), 127, np.int8)), "f32"), scale)
    graph = Model([ops.matmul(rounded, weights, False, True)], [inputs])
    request = core().compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"}).create_infer_request()
    request.infer([np.full((1, _DEPTH), 255, np.float32)])
    return 127 if np.allclose(request.get_output_tensor(0).data, _DEPTH * 255 * 127) else 64
