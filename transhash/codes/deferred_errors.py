"""A file object that records the first write error, because HDF5 crashes the process on a full disk."""

import io
import os
from pathlib import Path
from typing import Any


class DeferredErrorFile(io.RawIOBase):
    """A new file on disk whose first failed write is stored in `error` instead of being raised.

    HDF5 cannot close a file that it cannot write, and h5py then crashes when the process ends. So this object reports
    success to HDF5, and keeps later writes in memory, from where HDF5 can read them back. The owner checks `error`
    after every step and discards the file.
    """

    def __init__(self, path: Path) -> None:
        """Create the file."""
        self._file = open(path, "w+b", buffering=0)  # noqa: SIM115
        self._position = 0
        self._end = 0
        self._kept: list[tuple[int, bytes]] = []
        self.error: OSError | None = None

    def check(self) -> None:
        """Raise the first write error, if there was one."""
        if self.error:
            raise self.error

    def readable(self) -> bool:
        """Return True: HDF5 reads back what it has written."""
        return True

    def writable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True: HDF5 writes at any offset."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to an offset from the start or the end."""
        self._position = offset + (self._end if whence == os.SEEK_END else 0)
        return self._position

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def write(self, data: Any) -> int:
        """Write all of `data` to disk or, after a failed write, to memory."""
        view = memoryview(data).cast("B")
        if not self.error:
            try:
                self._file.seek(self._position)
                rest = view
                while rest:
                    rest = rest[self._file.write(rest) :]
            except OSError as error:
                self.error = error
        if self.error:
            self._kept.append((self._position, bytes(view)))
        self._position += len(view)
        self._end = max(self._end, self._position)
        return len(view)

    def readinto(self, buffer: Any) -> int:
        """Fill `buffer` with the bytes last written at this position, or zeros where nothing was written."""
        view = memoryview(buffer).cast("B")
        self._file.seek(self._position)
        count = self._file.readinto(view) or 0
        view[count:] = bytes(len(view) - count)
        for start, data in self._kept:
            low, high = max(start, self._position), min(start + len(data), self._position + len(view))
            if low < high:
                view[low - self._position : high - self._position] = data[low - start : high - start]
        self._position += len(view)
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        """Set the file's length."""
        self._end = self._position if size is None else size
        if not self.error:
            try:
                self._file.truncate(self._end)
            except OSError as error:
                self.error = error
        return self._end

    def close(self) -> None:
        """Close the file on disk."""
        self._file.close()
        super().close()
