"""A file for HDF5 to write to that takes a full disk calmly; HDF5 itself ends in a segmentation fault."""

import io
import os
from pathlib import Path
from typing import Any


class DeferredErrorFile(io.RawIOBase):
    """A new file on disk whose first failed write is remembered in `error` instead of raised.

    HDF5 cannot close a file that it cannot write, and h5py crashes over that when the process ends. So HDF5 is told
    that all is well; what it still writes before it is closed is kept in memory, for it to read back. The owner looks
    at `error` after every step, and throws the file away.
    """

    def __init__(self, path: Path) -> None:
        """Create the file."""
        self._file = open(path, "w+b", buffering=0)  # noqa: SIM115
        self._position = 0
        self._end = 0
        self._kept: list[tuple[int, bytes]] = []
        self.error: OSError | None = None

    def check(self) -> None:
        """Raise the first error, if there was one."""
        if self.error:
            raise self.error

    def readable(self) -> bool:
        """Say that HDF5 may read back."""
        return True

    def writable(self) -> bool:
        """Say that HDF5 may write."""
        return True

    def seekable(self) -> bool:
        """Say that HDF5 may write anywhere."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to an offset from the start or the end."""
        self._position = offset + (self._end if whence == os.SEEK_END else 0)
        return self._position

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def write(self, data: Any) -> int:
        """Write all of `data`, to disk or, once that has failed, to memory."""
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
        """Fill `buffer` with what was written last at this position; zeros where nothing was."""
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
