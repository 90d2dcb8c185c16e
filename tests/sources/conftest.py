"""Images in memory, and the memory used to read them."""

import io
import subprocess
import sys
import textwrap
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image


def _png(shade: int) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (20, 10), (shade, 0, 0)).save(data, "PNG")
    return data.getvalue()


@pytest.fixture(scope="session")
def png() -> Callable[[int], bytes]:
    """Return a function that creates a PNG of 20 x 10 pixels with the colour (shade, 0, 0)."""
    return _png


@pytest.fixture(scope="session")
def peak() -> Callable[..., int]:
    """Return a function that runs Python code in a subprocess and returns its peak memory in bytes."""

    def measure(code: str, *arguments: object) -> int:
        report = 'print([line for line in open("/proc/self/status") if line.startswith("VmHWM")][0].split()[1])'
        done = subprocess.run(
            [sys.executable, "-c", f"{textwrap.dedent(code)}\n{report}", *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, done.stderr
        return int(done.stdout.split()[-1]) * 1024

    return measure


@pytest.fixture(scope="session")
def gradient() -> np.ndarray:
    """Six different colour images, (6, 8, 12, 3) uint8."""
    return np.random.default_rng(0).integers(0, 256, (6, 8, 12, 3), dtype=np.uint8)
