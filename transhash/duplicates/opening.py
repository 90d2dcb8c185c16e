"""Open the collections in which near-duplicates can be found."""

from pathlib import Path

from ..codes import Codes, is_codes_file, read_codes
from ..index import collection
from ..index.contract import Collection
from ..index.ids import RowIds
from ..index.locations import is_server

Images = Collection | Codes | str | Path


def opened(images: "Images") -> tuple[Codes, RowIds]:
    """Return the codes of an index, of codes, or of the path of either, and the ids of their rows.

    Raises TypeError for other types, and what reading the index or codes file raises.
    """
    if isinstance(images, str | Path):
        is_file = not is_server(images) and is_codes_file(Path(images))
        images = read_codes(images) if is_file else collection.open(images)
    if isinstance(images, Collection):
        ids, codes = images.snapshot()
        return codes, RowIds.given(ids)
    if isinstance(images, Codes):
        return images, RowIds.first(len(images))
    raise TypeError(f"{type(images).__name__}: expected an index, codes, or the path of either")
