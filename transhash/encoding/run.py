"""The forward arrow: images -> hasher -> codes, in memory or into a file that survives interruption."""

import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..codes import UNKNOWN, Codes, Records, StringTable, check_replaceable, label_ids
from ..errors import ClusterError, ModelError, SourceError
from ..files import display
from ..hashers.base import Hasher
from ..interrupt import stopping
from ..sources import decode
from ..sources.base import ImageSource
from ..sources.share import Share
from . import processes as workers
from .batch import Batch
from .existing import ExistingRows
from .processes import BATCH_SIZE
from .unfinished import UnfinishedRun

__all__ = ["BATCH_SIZE", "Summary", "encode", "encode_to_file"]

_PART_ITEMS = 1 << 13  # a part is committed when it has so many,
_PART_SECONDS = 2.0  # or after so long


@dataclass
class Summary:
    """What a run did.

    Attributes:
        rows: of the finished file.
        encoded: images that this run encoded.
        resumed: images that an unfinished run before it had done.
        skipped: what this run could not read, by reason.
        changed, vanished: rows of the file appended to whose image differs now, or is not there any more.
        seconds: how long it took.
        ones: for each bit, in how many of this run's codes it is set, (bits,) int64.
    """

    rows: int = 0
    encoded: int = 0
    resumed: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    changed: int = 0
    vanished: int = 0
    seconds: float = 0.0
    ones: NDArray[np.int64] = field(default_factory=lambda: np.zeros(1, np.int64))

    def add(self, batch: Batch) -> None:
        """Count a batch."""
        self.encoded += len(batch.items)
        self.skipped.update(item.reason.partition(":")[0] for item in batch.skipped)
        self.ones = self.ones + np.unpackbits(batch.codes, axis=1).sum(axis=0, dtype=np.int64)


def encode(
    source: str | Path | Iterable[str | Path] | ImageSource,
    hasher: Hasher,
    batch_size: int = BATCH_SIZE,
    *,
    embeddings: bool = False,
) -> Codes:
    """Encode a folder, some image files, or any source, into codes in memory.

    What cannot be read has no row and stands in `Codes.skipped` with the reason.
    Raises SourceError if no image could be read.
    """
    if isinstance(source, str | Path):
        found: ImageSource = decode.folder(source)
    else:
        found = source if isinstance(source, ImageSource) else decode.files(source)
    waiting = _Waiting(found.root, hasher)
    for batch in workers.encode(iter(found), found.root, hasher, batch_size, embeddings=embeddings):
        waiting.add(batch)
    codes = waiting.codes()
    _check_any(found, len(codes), len(codes.skipped), next(iter(codes.skipped), None))
    return codes


def encode_to_file(
    source: ImageSource,
    hasher: Hasher,
    output: str | Path,
    batch_size: int = BATCH_SIZE,
    *,
    embeddings: bool = False,
    append: bool = False,
    sync: bool = False,
    restart: bool = False,
    processes: int | None = 1,
    ray: bool = False,
    on_resume: Callable[[int], None] = lambda images: None,
    on_batch: Callable[[Batch], None] = lambda batch: None,
) -> Summary:
    """Encode a source into a codes file.

    The file appears when it is complete; until then a codes file that stood there stays as it was. What is done is
    kept in parts beside it, and the same call goes on behind them, with the result of a run that never stopped.

    Args:
        source: the images.
        hasher: encodes them.
        output: the codes file.
        batch_size: images that the hasher sees at once.
        embeddings: keep the hasher's embeddings, too.
        append: add images that have no row yet to the file that stands there.
        sync: append, drop rows whose image has vanished, and encode images again whose files have changed.
        restart: begin anew where an unfinished run would go on.
        processes: how many encode, each on a GPU of its own if there are some; None for as many as suit the machine,
            or the cluster.
        ray: let them run on a Ray cluster: the one that RAY_ADDRESS names, or else this machine.
        on_resume: called with the number of images that an unfinished run did.
        on_batch: called after every batch.

    Raises SourceError if no image could be read; CodesError if `output` is not replaceable, holds another share, is
    of another model or folder than what is appended, or holds an unfinished run of another kind; ModelError or
    ClusterError if those that encode die; KeyboardInterrupt, once what is done is kept, on Ctrl-C or SIGTERM.
    """
    output = Path(output)
    share = source.place if isinstance(source, Share) else ""
    check_replaceable(output, share)
    began = time.perf_counter()
    append = append or sync
    run = {
        "model": hasher.ref.digest,
        "preparation": hasher.ref.preprocessing,
        "embeddings": embeddings,
        "append": append,
        "sync": sync,
        "share": share or None,
    }
    with UnfinishedRun.open(output, run, append=append, restart=restart) as parts, stopping() as stopped:
        known = ExistingRows(parts.base, source.root, hasher.ref) if parts.base else None
        items = parts.beyond(known.new(source, sync=sync) if known else iter(source))
        summary = Summary(resumed=parts.rows)
        on_resume(parts.rows + parts.skips)
        waiting = _Waiting(source.root, hasher)
        try:
            for batch in workers.encode(
                items, source.root, hasher, batch_size, embeddings=embeddings, processes=processes, ray=ray
            ):
                waiting.add(batch)
                summary.add(batch)
                on_batch(batch)
                if waiting.due or stopped():
                    parts.commit(waiting.codes())
                    waiting = _Waiting(source.root, hasher)
                if stopped():
                    raise KeyboardInterrupt
        except (ClusterError, ModelError, SourceError):
            if not stopped():
                raise
            parts.commit(waiting.codes())  # the signal went to the processes that help, too
            raise KeyboardInterrupt from None
        parts.commit(waiting.codes())
        keep = known.keep(sync=sync) if known else None
        if not parts.rows and (keep is None or not keep.any()):
            parts.discard()
            _check_any(source, 0, parts.skips, parts.first_skip)
        parts.join(keep, share)
        summary.rows = parts.rows + (0 if keep is None else int(keep.sum()))
        if known:
            summary.changed = int(known.changed.sum())
            summary.vanished = int((~known.seen).sum())
    summary.seconds = time.perf_counter() - began
    return summary


class _Waiting:
    """Batches that are not in a part yet."""

    def __init__(self, root: bytes, hasher: Hasher) -> None:
        self.batches: list[Batch] = []
        self._root = root
        self._hasher = hasher
        self._items = 0
        self._since = time.monotonic()

    def add(self, batch: Batch) -> None:
        self.batches.append(batch)
        self._items += len(batch.items) + len(batch.skipped)

    @property
    def due(self) -> bool:
        """Whether it is time to commit them."""
        return self._items >= _PART_ITEMS or time.monotonic() - self._since > _PART_SECONDS

    def codes(self) -> Codes:
        """Return them as one."""
        items = [item for batch in self.batches for item in batch.items]
        skipped = [(item.path, item.reason) for batch in self.batches for item in batch.skipped]
        most = max((len(item.labels) for item in items), default=0)
        names: dict[str, int] = {}
        labels = label_ids([item.labels for item in items], most, names) if most else None
        known = any(item.size != UNKNOWN for item in items)
        stats = np.array([(item.size, item.mtime) for item in items], np.int64).reshape(-1, 2) if known else None
        records = Records(
            StringTable.of([item.path for item in items]),
            self._root,
            labels,
            tuple(names),
            None if stats is None else stats[:, 0],
            None if stats is None else stats[:, 1],
        )
        vectors = [batch.embeddings for batch in self.batches if batch.embeddings is not None]
        return Codes(
            np.concatenate([np.empty((0, self._hasher.ref.bits // 8), np.uint8), *(b.codes for b in self.batches)]),
            records,
            self._hasher.ref,
            skipped,
            np.concatenate(vectors) if vectors else None,
        )


def _check_any(source: ImageSource, rows: int, skips: int, first: tuple[bytes, str] | None) -> None:
    if rows:
        return
    where = display(source.root) or "the list"
    if first:
        path, reason = display(first[0]), first[1]
        raise SourceError(f"{where}: none of {skips} files could be read; the first, {path!r}: {reason}")
    raise SourceError(f"{where}: no images in it; looked for {' '.join(decode.SUFFIXES)}")
