"""Exact searches of packed codes on a GPU: our own scan in Triton, for flat collections and inverted lists.

    from transhash.gpu import DeviceCodes

    codes = DeviceCodes(packed, "cuda")             # (n, bits/8) uint8
    matches = codes.top_k(queries, k=10)            # as transhash.hamming.top_k, ties included

Nothing else imports this package unless a GPU was asked for; it loads torch and Triton.
"""

from .device import choose
from .flat import DeviceCodes
from .lists import DeviceLists

__all__ = ["DeviceCodes", "DeviceLists", "choose"]
