"""Search packed codes on a GPU, exactly, with a scan in Triton: flat collections and inverted lists.

    from transhash.gpu import DeviceCodes

    codes = DeviceCodes(packed, "cuda")             # (n, bits/8) uint8
    matches = codes.top_k(queries, k=10)            # as transhash.hamming.top_k, ties included

It loads torch and Triton, so the rest of the package imports it only to use a GPU.
"""

from .device import choose
from .flat import DeviceCodes
from .lists import DeviceLists

__all__ = ["DeviceCodes", "DeviceLists", "choose"]
