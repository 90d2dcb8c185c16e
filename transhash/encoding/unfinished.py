"""An unfinished codes file: parts that are committed one by one, and joined at the end.

Each part is a codes file that is written atomically, so a killed run loses only the images after its last part. The
next run checks that the images are the same, and resumes after the parts. `_FAN_IN` parts of one level are merged
into one of the next level, so that even a run of weeks has few files.
"""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import msgspec
from numpy.typing import NDArray

from .. import codes
from ..codes import Codes
from ..errors import CodesError
from ..sources.base import Item, Skipped
from ..system import files
from ..system.files import display
from ..system.progress import Progress, silent

_RUN = "run.json"
_BASE = "base"
_FAN_IN = 32
_PART_NAME = re.compile(r"(\d{15,})-(\d{15,})-(\d+)\.h5")


class RunSettings(msgspec.Struct, frozen=True):
    """The settings on which the parts of a run depend: runs with the same settings write the same parts.

    Attributes:
        model: digest of the hasher.
        preparation: the hasher's preprocessing.
        embeddings: whether embeddings are stored.
        append: whether the run extends a codes file.
        sync: whether it also updates and drops rows of that file.
        share: the share of the images that it encodes, as I/N; None for all of them.
    """

    model: str
    preparation: str
    embeddings: bool = False
    append: bool = False
    sync: bool = False
    share: str | None = None


class UnfinishedRun:
    """The parts of one codes file, in the folder ``<name>.parts`` beside it; opened by `UnfinishedRun.open`.

    Attributes:
        base: the codes file that the run extends, as it was when the run started; None if it extends none.
        rows: number of rows in the parts, including those of an earlier run after `resume` has checked them.
        skips: number of skipped items in the parts.
        first_skip: path and reason of the first skipped item, if there is one.
    """

    def __init__(self, folder: Path, output: Path) -> None:
        """Take the folder as it is."""
        self._folder = folder
        self._output = output
        self.base = folder / _BASE if (folder / _BASE).exists() else None
        self._parts = _remaining_parts(folder)
        self.rows = self.skips = 0
        self.first_skip: tuple[bytes, str] | None = None

    @classmethod
    @contextmanager
    def open(
        cls, output: Path, settings: RunSettings, *, append: bool = False, restart: bool = False
    ) -> Iterator[Self]:
        """Open the unfinished run for `output`, or start one.

        Args:
            output: the codes file that the parts will become.
            settings: of this run; parts of a run with other settings are refused.
            append: whether to extend an existing codes file at `output` rather than replace it.
            restart: whether to delete the parts of an earlier run.

        Raises CodesError if the parts belong to another run, and OutputError if another process is writing them.
        """
        output = files.destination(output)
        folder = parts_folder(output)
        folder.mkdir(exist_ok=True)
        with files.locked(folder / "lock", output):
            try:
                for path in folder.glob(".*.part"):  # left by a killed run
                    path.unlink()
                if restart or not (folder / _RUN).exists():
                    _start(folder, output if append else None, settings)
                _check_settings(folder, output, settings)
                yield cls(folder, output)
            finally:
                if not any(folder.glob("*.h5")):
                    shutil.rmtree(folder, ignore_errors=True)

    def resume(self, items: Iterator[Item | Skipped]) -> Iterator[Item | Skipped]:
        """Skip the items that are in the parts, and return the iterator over the rest.

        Raises CodesError if the items differ from those in the parts.
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
                        f"{self._output}: the images have changed since the unfinished run (first difference: "
                        f"{name!r}); start over with --restart (restart=True)"
                    )
        return items

    def commit(self, part: Codes) -> None:
        """Add a part. Raises OSError if it cannot be written; the other parts are kept."""
        items = len(part) + len(part.skipped)
        if not items:
            return
        start = self._parts[-1].stop if self._parts else 0
        new = _Part.of(self._folder, start, start + items, 0)
        codes.write_codes(new.path, part)
        self._parts.append(new)
        self._count(part)
        while len(self._parts) >= _FAN_IN and self._parts[-_FAN_IN].level == self._parts[-1].level:
            group = self._parts[-_FAN_IN:]
            merged = _Part.of(self._folder, group[0].start, group[-1].stop, group[-1].level + 1)
            codes.merge([(old.path, None) for old in group], merged.path, trusted=True)
            self._parts[-_FAN_IN:] = [merged]
            for old in group:
                old.path.unlink()

    def discard(self) -> None:
        """Delete the parts."""
        (self._folder / _RUN).unlink()
        shutil.rmtree(self._folder)

    def join(
        self,
        keep: NDArray[Any] | None = None,
        share: str = "",
        origins: tuple[bytes, ...] | None = None,
        on_rows: Progress = silent,
    ) -> None:
        """Write the codes file and delete the parts.

        Args:
            keep: which rows of the base go first, (n,) bool; None for all of them.
            share: the share of the images in the file, as I/N; empty for all of them.
            origins: what its images were read from, as in `codes.header.Header`.
            on_rows: called with the number of rows written so far, and the total; what it raises ends the join.

        Raises CodesError if the parts are inconsistent, OSError if the file cannot be written; the parts are kept.
        """
        inputs = [(self.base, keep)] if self.base else []
        inputs += [(held.path, None) for held in self._parts]
        codes.merge(
            inputs,
            self._output,
            temporary=self._folder,
            trusted=True,
            share=share,
            origins=origins,
            partial=True,
            on_rows=on_rows,
        )
        self.discard()

    def _count(self, part: Codes) -> None:
        self.rows += len(part)
        self.skips += len(part.skipped)
        self.first_skip = self.first_skip or next(iter(part.skipped), None)


def parts_folder(output: Path) -> Path:
    """Return the folder for the parts of a codes file: ``<name>.parts``, or a shorter name where that is too long."""
    return files.beside(files.destination(output), ".parts")


@dataclass(frozen=True)
class _Part:
    """A part on disk: the items from `start` up to `stop`."""

    path: Path
    start: int
    stop: int
    level: int

    @classmethod
    def of(cls, folder: Path, start: int, stop: int, level: int) -> Self:
        return cls(folder / f"{start:015d}-{stop:015d}-{level}.h5", start, stop, level)

    @classmethod
    def at(cls, path: Path) -> Self | None:
        match = _PART_NAME.fullmatch(path.name)
        return cls(path, *map(int, match.groups())) if match else None


def _remaining_parts(folder: Path) -> list[_Part]:
    """Return the parts in order; delete those that were already merged when a run was killed."""
    parts = [part for path in folder.glob("*.h5") if (part := _Part.at(path))]
    remaining: list[_Part] = []
    for part in sorted(parts, key=lambda part: (part.start, -part.stop)):
        if remaining and part.start < remaining[-1].stop:
            part.path.unlink()
        else:
            remaining.append(part)
    return remaining


def _start(folder: Path, base: Path | None, settings: RunSettings) -> None:
    """Delete all parts and write the settings. The folder is valid once `_RUN` exists."""
    for path in (folder / _RUN, folder / _BASE, *folder.glob("*.h5")):
        path.unlink(missing_ok=True)
    if base and base.exists():
        try:
            os.link(base, folder / _BASE)
        except OSError:  # a file system without hard links
            with files.replacing(folder / _BASE) as copy:
                shutil.copyfile(base, copy)
    with files.replacing(folder / _RUN) as temporary:
        temporary.write_bytes(msgspec.json.encode(settings))


def _check_settings(folder: Path, output: Path, settings: RunSettings) -> None:
    """Raise CodesError if the parts in `folder` were written with other settings."""
    try:
        before = msgspec.json.decode((folder / _RUN).read_bytes(), type=RunSettings)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise CodesError(f"{folder / _RUN}: damaged; start over with --restart (restart=True)") from None
    for name in RunSettings.__struct_fields__:
        old, new = getattr(before, name), getattr(settings, name)
        if old != new:
            raise CodesError(
                f"{output}: holds an unfinished run with another {name} ({old}, now {new}); finish that run with its "
                "own command, or start over with --restart (restart=True)"
            )
