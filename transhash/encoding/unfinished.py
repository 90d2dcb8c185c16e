"""An unfinished codes file: parts that are committed one by one, and joined when the last is there.

A part is a codes file of its own. Each appears whole, so a run that is killed loses only what came after its last
one; the next run checks that the images are still the same and goes on behind it. Whenever there are `_FAN_IN` parts
of a level they become one of the next, so that even a run of weeks has few files.
"""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from filelock import FileLock, Timeout
from numpy.typing import NDArray

from .. import codes, files
from ..codes import Codes
from ..errors import CodesError
from ..files import display
from ..sources.base import Item, Skipped

_RUN = "run.json"
_BASE = "base"
_FAN_IN = 32


class UnfinishedRun:
    """The parts of one codes file, in the folder ``<name>.parts`` beside it; made by `UnfinishedRun.open`.

    Attributes:
        base: the codes file that the parts are to be appended to, as it was when the first part began; or None.
        rows, skips: how many rows, and items without one, the parts hold; those of an earlier run from `beyond` on.
        first_skip: path and reason of the first item without a row, if there is one.
    """

    def __init__(self, folder: Path, output: Path) -> None:
        """Take the folder as it is."""
        self._folder = folder
        self._output = output
        self.base = folder / _BASE if (folder / _BASE).exists() else None
        self._parts = _tidy(folder)
        self.rows = self.skips = 0
        self.first_skip: tuple[bytes, str] | None = None

    @classmethod
    @contextmanager
    def open(
        cls, output: Path, run: dict[str, Any], *, append: bool = False, restart: bool = False
    ) -> Iterator[Self]:
        """Take up the parts for `output`, or begin with none.

        Args:
            output: the codes file that they are to become.
            run: what the parts depend on, as JSON can hold it; parts of another run are refused.
            append: append to the codes file that stands there, if one does, instead of replacing it.
            restart: throw away the parts that are there.

        Raises CodesError if they are of another run, or another process works on them.
        """
        folder = output.with_name(output.name + ".parts")
        folder.mkdir(exist_ok=True)
        lock = FileLock(folder / "lock", timeout=0)
        try:
            lock.acquire()
        except Timeout:
            raise CodesError(f"{output}: another process is writing it; wait, or choose another output") from None
        try:
            for path in folder.glob(".*.part"):  # what a killed run was writing
                path.unlink()
            if restart or not (folder / _RUN).exists():
                _begin(folder, output if append else None, run)
            _check(folder, output, run)
            yield cls(folder, output)
        finally:
            if not any(folder.glob("*.h5")):
                shutil.rmtree(folder, ignore_errors=True)
            lock.release()

    def beyond(self, items: Iterator[Item | Skipped]) -> Iterator[Item | Skipped]:
        """Pass over the items that the parts hold, and return the rest.

        Raises CodesError if the items are not those that the parts began with.
        """
        for held in self._parts:
            part = codes.read_codes(held.path)
            self._count(part)
            rows, skips = iter(part.records.paths), iter([name for name, _ in part.skipped])
            row, skip = next(rows, None), next(skips, None)
            while row is not None or skip is not None:
                item = next(items, None)
                if item is not None and item.path == row:
                    row = next(rows, None)
                elif item is not None and item.path == skip:
                    skip = next(skips, None)
                else:
                    name = display(item.path if item else row or skip or b"")
                    raise CodesError(
                        f"{self._output}: the images have changed since the unfinished run ({name!r}); "
                        "begin anew with --restart"
                    )
        return items

    def commit(self, part: Codes) -> None:
        """Add a part. Raises OSError if it cannot be written; the others stay."""
        items = len(part) + len(part.skipped)
        if not items:
            return
        start = self._parts[-1].stop if self._parts else 0
        new = _Part.of(self._folder, start, start + items, 0)
        codes.write_codes(new.path, part)
        self._parts.append(new)
        self._count(part)
        while len(self._parts) >= _FAN_IN and self._parts[-_FAN_IN].level == self._parts[-1].level:
            few = self._parts[-_FAN_IN:]
            one = _Part.of(self._folder, few[0].start, few[-1].stop, few[-1].level + 1)
            codes.merge([(old.path, None) for old in few], one.path, trusted=True)
            self._parts[-_FAN_IN:] = [one]
            for old in few:
                old.path.unlink()

    def discard(self) -> None:
        """Drop the parts."""
        (self._folder / _RUN).unlink()
        shutil.rmtree(self._folder)

    def join(self, keep: NDArray[Any] | None = None, share: str = "") -> None:
        """Make the codes file out of the rows of the base to `keep` (all if None) and of the parts, and drop these.

        It is that of a share of the images, or of all.

        Raises CodesError if they do not fit together, OSError if the file cannot be written; the parts stay then.
        """
        inputs = [(self.base, keep)] if self.base else []
        inputs += [(held.path, None) for held in self._parts]
        codes.merge(inputs, self._output, temporary=self._folder, trusted=True, share=share, partial=True)
        self.discard()

    def _count(self, part: Codes) -> None:
        self.rows += len(part)
        self.skips += len(part.skipped)
        self.first_skip = self.first_skip or next(iter(part.skipped), None)


@dataclass(frozen=True)
class _Part:
    """A part on disk, which holds the items from `start` up to `stop`."""

    path: Path
    start: int
    stop: int
    level: int

    @classmethod
    def of(cls, folder: Path, start: int, stop: int, level: int) -> Self:
        return cls(folder / f"{start:015d}-{stop:015d}-{level}.h5", start, stop, level)

    @classmethod
    def at(cls, path: Path) -> Self:
        start, stop, level = map(int, path.stem.split("-"))
        return cls(path, start, stop, level)


def _tidy(folder: Path) -> list[_Part]:
    """Return the parts in order, and remove those that had become one when a run was killed."""
    found: list[_Part] = []
    for part in sorted(map(_Part.at, folder.glob("*.h5")), key=lambda part: (part.start, -part.stop)):
        if found and part.start < found[-1].stop:
            part.path.unlink()
        else:
            found.append(part)
    return found


def _begin(folder: Path, base: Path | None, run: dict[str, Any]) -> None:
    """Leave no parts; what the folder holds counts once `_RUN` is there."""
    for path in (folder / _RUN, folder / _BASE, *folder.glob("*.h5")):
        path.unlink(missing_ok=True)
    if base and base.exists():
        try:
            os.link(base, folder / _BASE)
        except OSError:  # a file system without hard links
            with files.replacing(folder / _BASE) as copy:
                shutil.copyfile(base, copy)
    with files.replacing(folder / _RUN) as temporary:
        temporary.write_text(json.dumps(run))


def _check(folder: Path, output: Path, run: dict[str, Any]) -> None:
    try:
        before = dict(json.loads((folder / _RUN).read_text()))
    except (ValueError, TypeError):
        raise CodesError(f"{folder / _RUN}: damaged; begin anew with --restart") from None
    changed = next((name for name in run if before.get(name) != run[name]), None)
    if changed:
        raise CodesError(
            f"{output}: holds an unfinished run with another {changed} ({before.get(changed)}, now {run[changed]}); "
            "finish that one with its own command, or begin anew with --restart"
        )
