"""Support for bfloat16 on this machine."""

import torch


def has_bf16() -> bool:
    """Return whether the GPU or, without one, the processor has instructions for bfloat16."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    capabilities = getattr(torch.cpu, "get_capabilities", dict)  # missing in the oldest torch that we support
    known: dict[str, bool] = capabilities()
    return bool(known.get("avx512_bf16") or known.get("amx_bf16"))
