"""HEIC and HEIF images, supported if the package pi-heif is installed: ``pip install 'transhash[heic]'``."""

from functools import cache
from importlib.util import find_spec

SUFFIXES = (".heic", ".heif", ".hif")

MISSING = "HEIC, which is read after: pip install 'transhash[heic]'"

_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")


def installed() -> bool:
    """Return whether HEIC images can be read."""
    return find_spec("pi_heif") is not None


def starts(head: bytes) -> bool:
    """Return whether a file that starts with `head`, 12 bytes, may be HEIC."""
    return head[4:8] == b"ftyp" and head[8:12] in _BRANDS


def formats(head: bytes) -> tuple[str, ...]:
    """Return the formats to try, besides Pillow's own, for a file that starts with `head`, 12 bytes."""
    return _registered() if starts(head) else ()


@cache
def _registered() -> tuple[str, ...]:
    if not installed():
        return ()
    import pi_heif

    pi_heif.register_heif_opener()
    return ("HEIF",)
