"""Encode images into codes, in memory or into a file; a run into a file can be interrupted and resumed."""

import os
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..codes import Codes
from ..errors import SourceError, TransHashError
from ..hashers import DEFAULT
from ..hashers.base import Hasher
from ..sources import heif
from ..sources.base import ImageSource, Item, Skipped, ignored_files
from ..sources.names import SUFFIXES
from ..system.arguments import check_choice, check_range, checked
from ..system.files import display
from ..system.interrupt import stopping
from ..system.progress import Progress, silent
from .batch import EncodedBatch
from .engines import BATCH_SIZE, ENGINES, MAX_BATCH, encode_batches
from .existing import ExistingRows
from .job import Job, check_choosable, length, loaded_hasher, opened, plan
from .pending import PendingBatches
from .summary import EncodingSummary, named_counts
from .unfinished import UnfinishedRun

__all__ = ["BATCH_SIZE", "EncodingSummary", "encode", "encode_to_file"]

OnSkipped = Callable[[list[Skipped]], None]


@checked
def encode(
    images: Any,
    hasher: Hasher | str | Path = DEFAULT,
    *,
    bits: int | None = None,
    fast: bool = False,
    batch_size: int = BATCH_SIZE,
    embeddings: bool = False,
) -> Codes:
    """Encode images into codes in memory.

    An image that cannot be read gets no row; `Codes.skipped` lists it with the reason.

    Args:
        images: anything that `transhash.sources.open_source` takes.
        hasher: a hasher, its name such as ``"copy"`` or ``"phash"``, or the file of a trained one.
        bits: length of the codes, for a hasher that was trained for several; by default the hasher's default length.
        fast: compute with 8-bit integers, as in `load_hasher`.
        batch_size: images that the hasher sees at once.
        embeddings: whether to return the hasher's embeddings, too.

    Returns:
        The codes, one row per image that could be read, in the order of the source.

    Raises SourceError if no image could be read, ModelError if the hasher cannot be loaded, does not make codes of
    `bits`, or has no embeddings.
    """
    check_range(1, MAX_BATCH, batch_size=batch_size)
    source = opened(images)
    check_choosable(hasher, fast)
    bits = length(hasher, bits)
    expected = source.count() if isinstance(hasher, str | Path) else None
    loaded = loaded_hasher(hasher, expected, fast=fast, bits=bits)
    pending = PendingBatches(source.root, loaded)
    for batch in encode_batches(iter(source), source.root, loaded, batch_size, embeddings=embeddings):
        pending.add(batch)
    codes = pending.take()
    if not len(codes):
        raise _nothing_read_error(source, len(codes.skipped), next(iter(codes.skipped), None))
    return codes


@checked
def encode_to_file(
    images: Any,
    output: str | Path,
    hasher: Hasher | str | Path | None = None,
    *,
    embeddings: bool | None = None,
    append: bool = False,
    sync: bool = False,
    force: bool = False,
    restart: bool = False,
    shard: str | tuple[int, int] | None = None,
    bf16: bool = False,
    fast: bool = False,
    bits: int | None = None,
    embedder: str | Path | None = None,
    batch_size: int = BATCH_SIZE,
    processes: int | None = 1,
    engine: str = "local",
    on_resume: Callable[[int], None] = lambda images: None,
    on_progress: Progress = silent,
    on_skipped: OnSkipped = lambda items: None,
) -> EncodingSummary:
    """Encode images into a codes file.

    The file appears when it is complete; until then, a codes file at `output` does not change. Finished parts are
    stored beside it: after an interruption, the same call resumes from them, and writes the same file as an
    uninterrupted run.

    Args:
        images: anything that `transhash.sources.open_source` takes.
        output: the codes file to write.
        hasher: a hasher, its name such as ``"copy"`` or ``"phash"``, or the file of a trained one. By default the
            one that made the file which `append` or `sync` extends, else ``"copy"``.
        embeddings: whether to keep the hasher's embeddings. By default as in the file that is extended, else not.
        append: add images that have no row yet to the codes file at `output`.
        sync: append, encode changed files again, and drop the rows of files that are gone.
        force: replace a codes file at `output` although it was made of another folder or with another hasher.
        restart: start over instead of resuming an interrupted run.
        shard: encode one of N shares of the images only, as ``"I/N"`` or (I, N) with I from 0 to N - 1.
        bf16: compute in bfloat16: faster, but about one bit in several hundred differs.
        fast: compute with 8-bit integers, as in `load_hasher`. By default as in the file that is extended.
        bits: length of the codes, for a hasher that was trained for several. By default that of the file to extend,
            else the hasher's default length.
        embedder: check that the hasher was fitted to this ONNX model. It contains a copy, which encodes.
        batch_size: images that the hasher sees at once.
        processes: how many processes encode, each on a GPU if there are any; None for as many as suit the machine or
            the cluster. With several, the hasher must be one that `load_hasher` finds by its name.
        engine: ``"local"`` for this machine; ``"ray"`` for the Ray cluster that RAY_ADDRESS names, or else one that
            Ray starts on this machine.
        on_resume: called with the number of images that the interrupted run had done.
        on_progress: called after each batch with the number of images done, and of all (0 if unknown).
        on_skipped: called with the images of a batch that could not be read, as items with `path` and `reason`.

    Returns:
        What the run did.

    Raises SourceError if no image could be read; OutputError if `output` may not be replaced; CodesError if it cannot
    be extended, or holds an unfinished run of another kind; ModelError if the hasher cannot be loaded, or an encoding
    process dies; ClusterError if the Ray cluster fails; KeyboardInterrupt, once finished work is kept, on Ctrl-C or
    SIGTERM.
    """
    check_range(1, MAX_BATCH, batch_size=batch_size, processes=processes)
    check_choice(ENGINES, engine=engine)
    job = plan(
        images,
        output,
        hasher,
        embeddings=embeddings,
        append=append,
        sync=sync,
        force=force,
        shard=shard,
        bf16=bf16,
        fast=fast,
        bits=bits,
        embedder=embedder,
    )
    with (
        stopping() as stopped,
        UnfinishedRun.open(job.output, job.settings, append=job.append, restart=restart) as unfinished,
    ):
        run = _Run(job, unfinished, stopped)
        on_resume(run.done)
        with closing(run.batches(batch_size, processes, engine)) as batches:
            for batch in batches:
                on_progress(run.done, job.total or 0)
                if batch.skipped:
                    on_skipped(batch.skipped)
        run.finish()
    return run.summary


class _Run:
    """The state of a run into a file: its progress, the pending batches, and the rows of the file that it extends."""

    def __init__(self, job: Job, unfinished: UnfinishedRun, stopped: Callable[[], bool]) -> None:
        """Resume after the parts of `unfinished`. Raises CodesError if they were made from other images."""
        self._began = time.perf_counter()
        self._job = job
        self._unfinished = unfinished
        self._stopped = stopped
        self._existing = ExistingRows(unfinished.base, job.hasher.ref, self._interrupt) if unfinished.base else None
        self._pending = PendingBatches(job.source.root, job.hasher)
        self._encoded = 0
        self.summary = EncodingSummary(job.output, job.hasher.ref.bits, sync=job.sync)
        items = self._interruptible(_without(job.output, job.source))
        self.items = unfinished.resume(self._existing.new(items, sync=job.sync) if self._existing else items)
        self.summary.resumed = unfinished.rows
        self._resumed = unfinished.rows + unfinished.skips

    @property
    def done(self) -> int:
        """Number of images of the source that are encoded, skipped, or in the extended file."""
        return self._resumed + self._encoded + (self._existing.passed if self._existing else 0)

    def batches(self, batch_size: int, processes: int | None, engine: str) -> Generator[EncodedBatch]:
        """Encode the items; yield each batch when it is counted."""
        job = self._job
        with closing(
            encode_batches(
                self.items,
                job.source.root,
                job.hasher,
                batch_size,
                embeddings=job.embeddings,
                processes=processes,
                engine=engine,
            )
        ) as batches:
            yield from self._committed(batches)

    def _committed(self, batches: Iterator[EncodedBatch]) -> Iterator[EncodedBatch]:
        """Yield batches; commit them regularly, when the run is interrupted, and when it fails."""
        try:
            for batch in batches:
                self._pending.add(batch)
                self.summary.add(batch)
                self._encoded += len(batch.items) + len(batch.skipped)
                yield batch
                if self._stopped():
                    raise KeyboardInterrupt
                if self._pending.due:
                    self._unfinished.commit(self._pending.take())
        except (TransHashError, KeyboardInterrupt):
            self._unfinished.commit(self._pending.take())
            if self._stopped():  # a signal to the process group may have ended child processes, too
                raise KeyboardInterrupt from None
            raise
        self._unfinished.commit(self._pending.take())

    def finish(self) -> None:
        """Write the codes file. Raises SourceError if no image could be read."""
        job, unfinished, existing = self._job, self._unfinished, self._existing
        keep = existing.kept(sync=job.sync) if existing else None
        if not unfinished.rows and (keep is None or not keep.any()):
            unfinished.discard()
            raise _nothing_read_error(job.source, unfinished.skips, unfinished.first_skip)
        unfinished.join(keep, job.share, job.origins, self._interrupt)
        summary = self.summary
        summary.rows = unfinished.rows + _count(keep)
        summary.size = job.output.stat().st_size
        summary.ignored = ignored_files(job.source)
        if existing:
            summary.changed = _count(existing.changed)
            summary.vanished = _count(~existing.seen)
        summary.seconds = time.perf_counter() - self._began

    def _interruptible(self, items: Iterator[Item | Skipped]) -> Iterator[Item | Skipped]:
        for item in items:
            self._interrupt()
            yield item

    def _interrupt(self, *progress: int) -> None:
        if self._stopped():
            raise KeyboardInterrupt


def _count(rows: NDArray[np.bool_] | None) -> int:
    return 0 if rows is None else int(rows.sum())


def _without(output: Path, source: ImageSource) -> Iterator[Item | Skipped]:
    """Yield the items of a source except `output`, because a codes file may have the name of an image."""
    target = os.fsencode(os.path.realpath(output))
    name = os.path.basename(target)
    for item in source:
        if not item.path.endswith(name) or os.path.realpath(os.path.join(source.root, item.path)) != target:
            yield item


def _nothing_read_error(source: ImageSource, skips: int, first: tuple[bytes, str] | None) -> SourceError:
    """Return the error for a source of which no image could be read."""
    if first:
        path, reason = repr(display(first[0])), first[1]
        many = f"none of {skips:,} files could be read; the first, {path}: {reason}"
        return SourceError(f"{source.description}: {many if skips > 1 else f'{path} cannot be read: {reason}'}")
    where = display(source.root) or "the list"
    ignored = ignored_files(source)
    found = f"; it holds {ignored.total()} files of other kinds ({named_counts(ignored)})" if ignored else ""
    if any(ignored[suffix] for suffix in heif.SUFFIXES):
        found += f": {heif.MISSING}"
    return SourceError(f"{where}: no images in it; looked for {' '.join(SUFFIXES)}{found}")
