"""The collections in which near-duplicates can be looked for."""

from pathlib import Path

from ..codes import Codes, is_codes_file, read_codes
from ..errors import BackendError
from ..index.ids import RowIds
from ..index.index import Index

Images = Index | Codes | str | Path


def opened(images: "Images") -> tuple[Codes, RowIds]:
    """Return the codes of an index, of codes, or of the path of either, and the ids of their rows.

    Raises TypeError for anything else; BackendError for a server; and what reading the index or codes file raises.
    """
    if isinstance(images, str | Path):
        if "://" in str(images):
            raise BackendError(
                "a server does not give its codes back; give the codes file that the collection was filled from"
            )
        images = read_codes(images) if is_codes_file(Path(images)) else Index.open(images)
    if isinstance(images, Index):
        return images.codes(), images.ids
    if isinstance(images, Codes):
        return images, RowIds.first(len(images))
    raise TypeError(f"{type(images).__name__}: expected an index, codes, or the path of either")
