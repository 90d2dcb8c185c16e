"""`th encode`."""

import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import click

from transhash.files import display

from . import options, render

_LOG_EVERY = 5.0  # seconds between lines of --log-json
_SHOWN = 5  # images that --dry-run names
_STUCK = 0.01  # a bit that fewer codes differ in says nothing,
_ENOUGH = 100  # of so many or more


@click.command()
@options.SOURCES
@click.option("-o", "--output", type=options.Output(), help="Codes file to write (HDF5).")
@click.option("--model", help="A hasher made by th train or th fit, or phash for near-duplicates.")
@options.SOURCE_LIST
@options.NULL
@options.INCLUDE
@options.EXCLUDE
@click.option("--append", is_flag=True, help="Add what has no row yet to the codes file that stands there.")
@click.option("--sync", is_flag=True, help="Append, encode what has changed again, and drop what has vanished.")
@click.option("--restart", is_flag=True, help="Begin anew where an unfinished run would go on.")
@click.option("--embeddings", is_flag=True, help="Keep the float embeddings, too: 2 bytes for each of their numbers.")
@click.option("--bf16", is_flag=True, help="Compute in bfloat16: faster, but a bit in some hundreds differs.")
@click.option("--batch-size", type=click.IntRange(1, 4096), default=32, show_default=True, help="Images at a time.")
@click.option(
    "--processes",
    type=click.IntRange(1, 4096),
    help="Processes that encode; if not given one for each GPU. Without GPUs one, or one for every four cores of a "
    "Ray cluster.",
)
@click.option(
    "--engine",
    type=click.Choice(("local", "ray")),
    default="local",
    show_default=True,
    help="Where they run: on this machine, or on the Ray cluster that RAY_ADDRESS names.",
)
@click.option(
    "--shard",
    callback=options.share,
    metavar="I/N",
    help="Encode one of N shares, I from 0 to N - 1, each into a file of its own; then th codes merge.",
)
@click.option("--dry-run", is_flag=True, help="Count the images and show the first ones; encode nothing.")
@click.option("--log-json", is_flag=True, help="Report progress and result as lines of JSON on stderr.")
def encode(
    images: tuple[str, ...],
    output: Path | None,
    model: str | None,
    names: str | None,
    null: bool,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    append: bool,
    sync: bool,
    restart: bool,
    embeddings: bool,
    bf16: bool,
    batch_size: int,
    processes: int | None,
    engine: str,
    shard: tuple[int, int] | None,
    dry_run: bool,
    log_json: bool,
) -> None:
    """Encode images into a codes file: those under a folder, in tar shards, in Parquet, or in an array.

    \b
    Examples:
        th encode photos/ -o codes.h5 --model hasher.safetensors
        th encode ~/Pictures -o codes.h5 --model phash --sync
        find . -name '*.jpg' -print0 | th encode . --list - -0 -o codes.h5 --model phash
        th encode shards/*.tar -o codes.h5 --model hasher.safetensors --embeddings
        th encode photos/ -o codes.3.h5 --model hasher.safetensors --shard 3/16
        RAY_ADDRESS=head:6379 th encode photos/ -o codes.h5 --model hasher.safetensors --engine ray

    A file that cannot be read is skipped and named with the reason. The first folder on the way to an image is its
    label, unless the list, table or archive gives others.

    The codes file appears when it is complete, and replaces one that stood there. After Ctrl-C, or a kill, the same
    command goes on where it stopped.
    """
    from transhash import sources

    found = sources.open_source(images, names=names, include=include, exclude=exclude, null=null)
    if shard:
        found = sources.Share(found, *shard)
    if dry_run:
        _show(found)
        return
    if output is None or model is None:
        raise click.UsageError(f"Missing option {'-o' if output is None else '--model'!r}; or look first: --dry-run")

    from transhash import codes
    from transhash.encoding import run
    from transhash.hashers import load_hasher

    codes.check_replaceable(output, getattr(found, "place", ""))
    total = found.count()
    hasher = load_hasher(model, None if embeddings else total, bf16=bf16)
    render.note(found.description)
    log = _Log(log_json)
    with render.progress(total, "images", quiet=log_json) as bar:

        def resumed(done: int) -> None:
            bar.reset(bar.total)
            bar.initial = bar.n = bar.last_print_n = done
            if done:
                render.note(f"going on after {done} images")

        def show(batch: Any) -> None:
            bar.update(len(batch.items) + len(batch.skipped))
            log.add(len(batch.items), len(batch.skipped), bar.total)
            bar.set_postfix_str(f"{log.skipped} skipped" if log.skipped else "", refresh=False)
            if batch.skipped:
                bar.clear()
                render.skipped([(item.path, item.reason) for item in batch.skipped])

        try:
            summary = run.encode_to_file(
                found,
                hasher,
                output,
                batch_size,
                embeddings=embeddings,
                append=append,
                sync=sync,
                restart=restart,
                processes=processes,
                ray=engine == "ray",
                on_resume=resumed,
                on_batch=show,
            )
        except KeyboardInterrupt:
            render.note("stopped; what is done is kept: the same command goes on from there")
            raise
    _sum_up(summary, output, log, sync)


class _Log:
    """Lines of JSON for machines, if they are wanted."""

    def __init__(self, wanted: bool) -> None:
        self.skipped = 0
        self.wanted = wanted
        self._done = 0
        self._began = self._said = time.monotonic()

    def add(self, encoded: int, skipped: int, total: int | None) -> None:
        self._done += encoded + skipped
        self.skipped += skipped
        now = time.monotonic()
        if now - self._said > _LOG_EVERY:
            self._said = now
            rate = self._done / (now - self._began)
            counts = {"done": self._done, "total": total, "skipped": self.skipped}
            self.write("progress", **counts, images_per_second=round(rate, 1))

    def write(self, event: str, **values: Any) -> None:
        if self.wanted:
            render.note(json.dumps({"event": event, **values}))


def _show(found: Any) -> None:
    """Say what would be read."""
    from transhash.sources.base import Skipped

    count, labels, skipped = 0, Counter[str](), []
    for item in found:
        if isinstance(item, Skipped):
            skipped.append((item.path, item.reason))
            continue
        count += 1
        labels.update(item.labels)
        if count <= _SHOWN:
            render.line(f"{render.path(item.path)}  {', '.join(item.labels) or '-'}")
    render.skipped(skipped)
    more = f", {len(labels)} labels" if labels else ""
    render.line(f"{count} images{more}; {len(skipped)} skipped before reading")


def _sum_up(summary: Any, output: Path, log: _Log, sync: bool) -> None:
    """Say what came of it, and warn if the codes have collapsed."""
    bits = len(summary.ones)
    share = summary.ones / max(1, summary.encoded)
    stuck = int(((share < _STUCK) | (share > 1 - _STUCK)).sum()) if summary.encoded >= _ENOUGH else 0
    size = output.stat().st_size / summary.rows
    rate = summary.encoded / summary.seconds
    log.write(
        "summary",
        output=display(output),
        rows=summary.rows,
        encoded=summary.encoded,
        resumed=summary.resumed,
        skipped=dict(summary.skipped),
        changed=summary.changed,
        vanished=summary.vanished,
        seconds=round(summary.seconds, 2),
        images_per_second=round(rate, 1),
        bytes_per_image=round(size, 1),
        stuck_bits=stuck,
    )
    if log.wanted:
        return
    reasons = "".join(f"; {count} {reason}" for reason, count in summary.skipped.most_common())
    earlier = f" and {summary.resumed} before it stopped" if summary.resumed else ""
    render.note(
        f"wrote {output}: {summary.rows} rows; encoded {summary.encoded} images{earlier} at {rate:.1f} images/s, "
        f"{size:.1f} bytes an image on disk; {summary.skipped.total()} skipped{reasons}"
    )
    if summary.changed or summary.vanished:
        verb = "encoded again or dropped" if sync else "kept as they were; --sync brings them up to date"
        render.note(f"{summary.changed} images have changed, {summary.vanished} have vanished: {verb}")
    if stuck > bits // 10:
        render.note(f"warning: {stuck} of {bits} bits hardly vary over these images; the codes say little about them")
