"""Plan an encoding run: check source, hasher and output before reading any image."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..codes.arithmetic import fast_model, is_fast
from ..codes.truncation import is_prefix
from ..errors import CodesError, ModelError, SourceError
from ..hashers import DEFAULT, HUB, check_embedder, check_stored, default_bits, load_hasher, model_ref
from ..hashers.base import Hasher
from ..sources import Share, open_source
from ..sources.base import ImageSource, origins
from .batch import embedding_hasher
from .target import Target, existing_target
from .unfinished import RunSettings

_SHARE = re.compile(r"(\d{1,9})/(\d{1,9})")
_MAX_SHARES = 999_999  # the largest number of shares that a codes file can record


@dataclass(frozen=True)
class Job:
    """A checked plan to encode images into a file.

    Attributes:
        source: the images.
        output: the codes file; not a link.
        hasher: encodes them.
        total: number of images; None if unknown.
        embeddings: whether to store embeddings.
        append: whether to extend the codes file at `output`.
        sync: whether to update its rows, too.
        share: the share of the images that the source yields, as I/N; empty for all of them.
        origins: the origins of the images in the finished file; None if unknown.
    """

    source: ImageSource
    output: Path
    hasher: Hasher
    total: int | None
    embeddings: bool
    append: bool
    sync: bool
    share: str
    origins: tuple[bytes, ...] | None

    @property
    def settings(self) -> RunSettings:
        """The settings on which the parts of the run depend."""
        ref = self.hasher.ref
        return RunSettings(ref.digest, ref.preprocessing, self.embeddings, self.append, self.sync, self.share or None)


def plan(
    images: Any,
    output: str | Path,
    hasher: Hasher | str | Path | None,
    *,
    embeddings: bool | None,
    append: bool,
    sync: bool,
    force: bool,
    shard: str | tuple[int, int] | None,
    bf16: bool,
    fast: bool,
    bits: int | None,
    embedder: str | Path | None,
) -> Job:
    """Check the arguments of `encode_to_file`, cheap checks first; then load the hasher."""
    if hasher is not None and not isinstance(hasher, str | Path):
        loaded_hasher(hasher, None)
    append = append or sync
    if force and append:
        raise CodesError("force replaces the codes file, append and sync extend it: choose one")
    output = Path(output)
    if output.is_symlink():  # write its target
        output = Path(os.path.realpath(output))
    source = opened(images, shard)
    share = source.place if isinstance(source, Share) else ""
    target = existing_target(output, force=force)
    extended = target if append else None
    if hasher is None:
        hasher = _model_of(extended) if extended else DEFAULT
        bf16 = bf16 or bool(extended and extended.bf16)
        fast = fast or bool(extended and is_fast(extended.model))
    if embeddings is None:
        embeddings = bool(extended and extended.embeddings)
    check_choosable(hasher, fast)
    bits = length(hasher, bits, extended)
    if embedder is not None:
        check_embedder(hasher, embedder)
    ref = model_ref(hasher, bits, fast=fast) if isinstance(hasher, str | Path) else hasher.ref
    if extended:
        extended.check_extended(ref, source.root, share, embeddings)
        if sync:
            extended.check_synced(origins(source))
    elif target and not force:
        target.check_replaced(ref, source.root, share, embeddings, origins(source))
    total = source.count()
    loaded = loaded_hasher(hasher, None if embeddings else total, bf16=bf16, fast=fast, bits=bits)
    if embeddings:
        embedding_hasher(loaded)
    read = extended.with_origins(origins(source)) if extended and not sync else origins(source)
    return Job(source, output, loaded, total, embeddings, append, sync, share, read)


def opened(images: Any, shard: str | tuple[int, int] | None = None) -> ImageSource:
    """Open an image source, or the share of it given by `shard`: ``"I/N"`` or (I, N) with I from 0 to N - 1.

    Raises SourceError if the images cannot be opened, or `shard` is invalid.
    """
    share = None if shard is None else parse_share(shard)
    source = open_source(images)
    return source if share is None else Share(source, *share)


def parse_share(shard: str | tuple[int, int]) -> tuple[int, int]:
    """Return the number of a share, and of all shares. Raises SourceError unless they are I/N with 0 <= I < N."""
    match = _SHARE.fullmatch(shard if isinstance(shard, str) else "/".join(map(str, shard)))
    number, shares = map(int, match.groups()) if match else (0, 0)
    if not number < shares <= _MAX_SHARES:
        raise SourceError(
            f"shard {shard!r}: expected I/N, such as 0/4, with I from 0 to N - 1 and N at most {_MAX_SHARES:,}"
        )
    return number, shares


def loaded_hasher(
    hasher: Hasher | str | Path,
    images: int | None,
    *,
    bf16: bool = False,
    fast: bool = False,
    bits: int | None = None,
) -> Hasher:
    """Return a hasher; load a name or a path for the expected number of `images` and codes of `bits`.

    Raises TypeError for anything that is not a hasher.
    """
    if isinstance(hasher, str | Path):
        return load_hasher(hasher, images, bf16=bf16, fast=fast, bits=bits)
    if not (hasattr(hasher, "preprocess") and hasattr(hasher, "encode")):
        raise TypeError(f"hasher is {type(hasher).__name__}; pass a name such as 'phash', a file, or a hasher")
    return hasher


def check_choosable(hasher: Hasher | str | Path, fast: bool) -> None:
    """Raise ModelError if `fast` is given for a hasher that is already loaded."""
    if fast and not isinstance(hasher, str | Path):
        raise ModelError("fast applies to a hasher's name or file; call load_hasher(…, fast=True) instead")


def length(hasher: Hasher | str | Path, bits: int | None, extended: Target | None = None) -> int | None:
    """Return the length of the codes: `bits`, the length in the file to extend, or the hasher's default.

    Raises ModelError if `bits` are given for a hasher that is already loaded.
    """
    if not isinstance(hasher, str | Path):
        if bits is not None:
            raise ModelError("bits apply to a hasher's name or file; the length of a loaded hasher is fixed")
        return None
    if bits is None and extended:
        whole = model_ref(hasher)
        if is_fast(extended.model):
            whole = fast_model(whole)
        if extended.model.digest == whole.digest or is_prefix(extended.model, whole):
            return extended.model.bits
    return default_bits(hasher) if bits is None else bits


def _model_of(target: Target) -> str:
    """Return the hasher that made a codes file. Raises ModelError if its file no longer exists."""
    name = target.model.name
    if name.startswith(HUB):
        check_stored(name)
    elif os.sep in name and not os.path.isfile(name):
        raise ModelError(
            f"{target.path}: was made with {name}, which no longer exists; name the file with --model (hasher=)"
        )
    return name
