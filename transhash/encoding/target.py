"""The codes file that already exists at the output, and whether a run may replace or extend it."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..codes import ModelRef, check_replaceable, hdf5, header
from ..codes.arithmetic import described
from ..codes.guard import guarded
from ..errors import CodesError, OutputError
from ..sources.names import is_image
from ..system.files import display, printable


@dataclass(frozen=True)
class Target:
    """The header of an existing codes file.

    Attributes:
        path: the file.
        model: the hasher that made it.
        root: the folder that its paths start from; empty if there is none.
        share: the share of the images in it, as I/N; empty for all of them.
        rows: number of rows.
        embeddings: length of its embeddings; 0 if it has none.
        origins: what its images were read from, as in `codes.header.Header`; None if unknown.
    """

    path: Path
    model: ModelRef
    root: bytes
    share: str
    rows: int
    embeddings: int
    origins: tuple[bytes, ...] | None

    @property
    def bf16(self) -> bool:
        """Whether the hasher computed in bfloat16."""
        try:
            return json.loads(self.model.preprocessing or "{}").get("precision") == "bf16"
        except (ValueError, AttributeError):
            return False

    def check_replaced(
        self, model: ModelRef, root: bytes, share: str, embeddings: bool, origins: tuple[bytes, ...] | None
    ) -> None:
        """Raise OutputError if a run would replace the file with codes of other images or another hasher."""
        unread = self._unread(origins)
        if self.share and share and self.share != share:
            difference = f"is share {share}"
        elif self.model.digest != model.digest:
            difference = f"uses {_named(model)}"
        elif self.root != root:
            difference = f"is of {_folder(root)}"
        elif self.embeddings and not embeddings:
            difference = "keeps no embeddings"
        elif unread:
            difference = f"does not read {unread}"
        else:
            return
        share = f", share {self.share}" if self.share else ""
        kept = ", with embeddings" if self.embeddings else ""
        raise OutputError(
            f"{display(self.path)}: holds {self.rows:,} rows of {_folder(self.root)}{share}, made with "
            f"{_named(self.model)}{kept}; this run {difference}: choose another output, "
            "or replace it with --force (force=True)"
        )

    def check_synced(self, origins: tuple[bytes, ...] | None) -> None:
        """Raise CodesError if a run would drop rows because it does not read their origins."""
        if unread := self._unread(origins):
            raise CodesError(
                f"{display(self.path)}: has rows of {unread}, which this run does not read and would drop; pass "
                "it, too, or use --append (append=True), or encode into another file"
            )

    def with_origins(self, origins: tuple[bytes, ...] | None) -> tuple[bytes, ...] | None:
        """Return the origins after adding those of another source; None if unknown."""
        if self.origins is None or origins is None:
            return None
        return tuple(dict.fromkeys((*self.origins, *origins)))

    def _unread(self, origins: tuple[bytes, ...] | None) -> str:
        """Describe the file's origins that still exist and are not in `origins`; empty if none or unknown."""
        if self.origins is None or origins is None:
            return ""
        read = set(origins)
        unread = (name for name in self.origins if name not in read and not (b"." in read and is_image(name)))
        left = [name for name in unread if os.path.lexists(os.path.join(self.root, name))]
        if not left:
            return ""
        first = f"all of {_folder(self.root)}" if left[0] == b"." else display(left[0])
        return first if len(left) == 1 else f"{first} and {len(left) - 1:,} more"

    def check_extended(self, model: ModelRef, root: bytes, share: str, embeddings: bool) -> None:
        """Raise CodesError if a run cannot add its rows to the file."""
        where = display(self.path)
        if self.share != share:
            old, new = (f"share {share}" if share else "all images" for share in (self.share, share))
            raise CodesError(
                f"{where}: holds {old}, but this run encodes {new}; extend it with the same --shard (shard=)"
            )
        if (self.model.digest, self.model.bits) != (model.digest, model.bits):
            raise CodesError(
                f"{where}: was made with {_named(self.model)}, not with {_named(model)}; encode into another file"
            )
        if self.root != root:
            raise CodesError(
                f"{where}: was made from {_folder(self.root)}, not from {_folder(root)}; append to it from there, or "
                "choose another output"
            )
        if embeddings and not self.embeddings:
            raise CodesError(
                f"{where}: holds no embeddings; append without --embeddings (embeddings=False), "
                "or encode into another file"
            )
        if self.embeddings and not embeddings:
            raise CodesError(f"{where}: holds embeddings; append with them, or encode into another file")


def existing_target(output: Path, *, force: bool) -> Target | None:
    """Read the header of a codes file at `output`; None if it does not exist, or is damaged and `force` is true.

    Raises OutputError if it is not a codes file, or is damaged and `force` is false.
    """
    check_replaceable(output)
    if not output.exists():
        return None
    try:
        fields = guarded(lambda report: _peek(output), output)
    except CodesError as error:
        if force:
            return None
        raise OutputError(f"{error}; --force (force=True) replaces it") from None
    names = fields["origins"]
    origins = None if names is None else tuple(map(bytes.fromhex, names))
    share, rows, embeddings = fields["rest"]
    root = bytes.fromhex(fields["root"])
    return Target(output, ModelRef(*fields["model"]), root, share, rows, embeddings, origins)


def _peek(path: Path) -> dict[str, Any]:
    """Return the header of a codes file as JSON can hold it."""
    with hdf5.opened(path) as file:
        head = header.read(file)
        rows = hdf5.dataset(file, "codes", np.uint8, ndim=(2,)).shape[0]
        width = hdf5.dataset(file, "embeddings", np.float16, ndim=(2,)).shape[1] if "embeddings" in file else 0
        model = head.model
        return {
            "model": (model.name, model.digest, model.bits, model.preprocessing),
            "root": head.root.hex(),
            "origins": None if head.origins is None else [name.hex() for name in head.origins],
            "rest": (head.share, int(rows), int(width)),
        }


def _named(model: ModelRef) -> str:
    return printable(described(model))


def _folder(root: bytes) -> str:
    return display(root) if root else "a list of files"
