"""The location of a collection: ``lance://FOLDER/NAME``, or ``lance+s3://BUCKET/FOLDER/NAME`` and the like."""

import re
from dataclasses import dataclass
from typing import Self

from transhash.errors import BackendError

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,200}")  # what LanceDB takes
_STORES = ("s3", "gs", "az")


@dataclass(frozen=True)
class Location:
    """A database as LanceDB takes it, a folder or the URI of one in a bucket, and a table in it."""

    text: str
    database: str
    name: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a location. Raises BackendError, without repeating what may be a password."""
        scheme, _, rest = text.partition("://")
        _, _, store = scheme.partition("+")
        folder, _, name = rest.rpartition("/")
        if (scheme != "lance" and store not in _STORES) or not folder:
            raise BackendError(
                "a collection of LanceDB is lance://FOLDER/NAME, or lance+s3://BUCKET/FOLDER/NAME (also lance+gs, "
                "lance+az)"
            )
        if store and ("@" in folder or "?" in text):
            raise BackendError("the location contains credentials that others can see; set them in the environment")
        if not _NAME.fullmatch(name):
            raise BackendError(f"collection {name[:80]!r}: LanceDB takes letters, digits, '_', '-' and '.'")
        return cls(text, f"{store}://{folder}" if store else folder, name)

    def __str__(self) -> str:
        """Return the text that `parse` reads."""
        return self.text
