"""Self-contained HTML pages with thumbnails: matches of queries, and clusters of near-duplicates.

As in a report (`page`), the content security policy allows only the page's own script, and forbids loading anything.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from PIL import ExifTags, Image

from ..sources import decode
from ..system.files import display
from . import output
from .page import allowed, environment, script
from .thumbnails import thumbnail

MOST = 1000  # most images on a page
_MATCHES = 100  # most matches of a query
_SIDE = 240  # pixels of a thumbnail's longer side
_START = b"<!doctype html>\n<!-- pictures of TransHash -->\n"


@dataclass(frozen=True)
class Tile:
    """An image on a page.

    Attributes:
        path: its path; it may hold undecodable bytes as surrogates.
        distance: Hamming distance to the query, or to the first image of its cluster; None for a query.
        labels: its labels.
        role: its role in the cluster, as in `transhash.duplicates.Cluster`; empty for a match.
        verdict: what the distance means, as in `transhash.Match.verdict`.
        size: bytes of the file; -1 if not known.
        freed: bytes that are freed when all its rows in the cluster are removed.
        protected: whether it is in a reference folder.
    """

    path: str
    distance: int | None = None
    labels: tuple[str, ...] = ()
    role: str = ""
    size: int = -1
    verdict: str | None = None
    freed: int = 0
    protected: bool = False

    @property
    def word(self) -> str:
        """The verdict in words; empty if there is none."""
        return {None: "", "likely": "likely copy"}.get(self.verdict, self.verdict or "")

    @property
    def name(self) -> str:
        """The path as printable text."""
        return display(self.path)

    @property
    def key(self) -> str:
        """The bytes of the path, in base64."""
        return base64.b64encode(os.fsencode(self.path)).decode()

    @property
    def link(self) -> str:
        """The address of the image's file."""
        return Path(os.path.abspath(self.path)).as_uri()

    @cached_property
    def file(self) -> str:
        """An identifier that all names of one file share; `key` if the file does not exist."""
        try:
            status = os.stat(self.path)
        except (OSError, ValueError):
            return self.key
        return f"{status.st_dev}-{status.st_ino}"

    @property
    def date(self) -> str:
        """The date of the file's last change; empty if the file does not exist."""
        try:
            return datetime.fromtimestamp(os.stat(self.path).st_mtime).date().isoformat()
        except (OSError, ValueError, OverflowError):
            return ""

    @cached_property
    def picture(self) -> str:
        """A thumbnail as a data URI; empty if the image cannot be read."""
        encoded = thumbnail(self.path, _SIDE)
        return f"data:image/jpeg;base64,{encoded}" if encoded else ""

    @property
    def pixels(self) -> str:
        """Width and height of the upright image; empty if they cannot be read."""
        if not self.picture:  # not safe to open
            return ""
        try:
            with Image.open(self.path, formats=decode.FORMATS) as image:
                sides = image.size
                turned = image.getexif().get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8)
        except Exception:  # HEIF, which `decode` alone opens, or damaged EXIF data
            return ""
        return " × ".join(map(str, reversed(sides) if turned else sides))


def check_replaceable(path: Path) -> None:
    """Raise OutputError if `path` exists and is not an earlier page of images."""
    output.check(path, _START)


def write_matches(path: Path, queries: Sequence[str], matches: Sequence[Sequence[Tile]]) -> None:
    """Draw queries with their matches as an HTML page, written atomically.

    Shows at most 100 matches per query, and 1,000 in total. Raises OutputError as `check_replaceable` does.
    """
    shown: list[dict[str, Any]] = []
    free = MOST
    for query, results in zip(queries, matches, strict=True):
        if free <= 0:
            break
        tiles = results[: min(_MATCHES, free)]
        free -= max(1, len(tiles))
        shown.append({"query": Tile(query), "tiles": tiles, "found": len(results)})
    _write(path, "matches.html", shown=shown, queries=len(queries))


def write_clusters(path: Path, clusters: Sequence[Sequence[Tile]], radius: int) -> None:
    """Draw clusters of near-duplicates as an HTML page, where the selection can be changed and saved as a list.

    Shows clusters until they hold 1,000 images. Raises OutputError as `check_replaceable` does.
    """
    shown: list[Sequence[Tile]] = []
    for cluster in clusters:
        if shown and sum(map(len, shown)) + len(cluster) > MOST:
            break
        shown.append(cluster)
    _write(path, "clusters.html", shown=shown, clusters=len(clusters), radius=radius)


def _write(path: Path, template: str, **values: Any) -> None:
    code = script("clusters.js")
    page = environment().get_template(template)
    text = page.render(most=MOST, allowed=allowed([code]), script=code, **values)
    output.write(path, text.encode("utf-8", "backslashreplace"), _START)
