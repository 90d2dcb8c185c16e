"""How `th encode` reports: to people, or to machines. The methods are the callbacks of `encode_to_file`."""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Self

from . import render

if TYPE_CHECKING:
    from transhash.encoding.summary import EncodingSummary
    from transhash.sources import Skipped

_EVENT_EVERY = 5.0  # seconds between progress events


class Terminal:
    """Reports to people: a progress bar, a line per skipped image, and a summary."""

    def __init__(self, description: str) -> None:
        """Report on images that `description` describes."""
        self._description = description
        self._stack = ExitStack()
        self._bar: Any = None
        self._resumed = self._skipped = 0

    def __enter__(self) -> Self:
        """Begin to report."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *about: object) -> None:
        """Close the bar; after Ctrl-C, say how to resume."""
        self._stack.close()
        if kind is KeyboardInterrupt and self._bar is not None:
            render.note("stopped; finished work is kept, and the same command resumes from there")

    def resumed(self, images: int) -> None:
        """Say what is encoded, and how many images an interrupted run had done."""
        render.note(self._description)
        self._resumed = images
        if images:
            render.note(f"resuming after {render.counted(images, 'image')}")

    def progress(self, done: int, total: int) -> None:
        """Move the bar."""
        if self._bar is None:
            self._bar = self._stack.enter_context(render.progress(total or None, "images", initial=self._resumed))
        self._bar.update(done - self._bar.n)

    def skipped(self, items: "Sequence[Skipped]") -> None:
        """Print a line for each image."""
        self._skipped += len(items)
        self._bar.set_postfix_str(f"{self._skipped} skipped", refresh=False)
        self._bar.clear()
        render.skipped([(item.path, item.reason) for item in items])

    def summary(self, summary: "EncodingSummary") -> None:
        """Print what the run did, and warnings about the codes."""
        reasons = ", ".join(f"{count} {reason}" for reason, count in summary.skipped.most_common())
        rate = f" at {summary.images_per_second:.1f} images/s" if summary.encoded else ""
        earlier = f" and {summary.resumed} before the interruption" if summary.resumed else ""
        render.note(
            f"wrote {summary.output}: {render.counted(summary.rows, 'row')} of {summary.bits} bits, "
            f"{render.size(summary.size)}; "
            f"encoded {render.counted(summary.encoded, 'image')}{earlier}{rate}; "
            f"{summary.skipped.total()} skipped{f' ({reasons})' if reasons else ''}"
        )
        if summary.ignored:
            from transhash.encoding.summary import named_counts

            others = render.counted(summary.ignored.total(), "other file")
            render.note(f"ignored {others}: {named_counts(summary.ignored)}")
        if summary.changed or summary.vanished:
            done = "encoded again or dropped" if summary.sync else "their rows are kept; --sync updates them"
            changed = render.counted(summary.changed, "image")
            render.note(f"{changed} changed, {summary.vanished} gone: {done}")
        for warning in summary.warnings:
            render.note(f"warning: {warning}")


class JsonLines:
    """Reports to machines: one JSON object per line of stderr."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Report rates by `clock`, in seconds."""
        self._clock = clock
        self._began = self._last = clock()
        self._resumed = self._skipped = 0

    def __enter__(self) -> Self:
        """Begin to report."""
        return self

    def __exit__(self, *about: object) -> None:
        """End the report."""

    def resumed(self, images: int) -> None:
        """Write an event if an interrupted run is resumed."""
        self._resumed = images
        if images:
            render.event("resumed", done=images)

    def progress(self, done: int, total: int) -> None:
        """Write an event now and then."""
        now = self._clock()
        if now - self._last > _EVENT_EVERY:
            self._last = now
            rate = (done - self._resumed) / (now - self._began)
            render.event(
                "progress", done=done, total=total or None, skipped=self._skipped, images_per_second=round(rate, 1)
            )

    def skipped(self, items: "Sequence[Skipped]") -> None:
        """Write an event for each image."""
        self._skipped += len(items)
        render.skipped([(item.path, item.reason) for item in items])

    def summary(self, summary: "EncodingSummary") -> None:
        """Write what the run did, and warnings about the codes."""
        for warning in summary.warnings:
            render.event("warning", message=warning)
        render.event("summary", **summary.as_dict())
