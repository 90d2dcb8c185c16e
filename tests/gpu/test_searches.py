"""The tests in `searches/`, in a process of their own: Triton decides at its import if it interprets or compiles.

By hand: ``TRITON_INTERPRET=1 pytest -n 0 tests/gpu/searches/*.py``.
"""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("triton") is None, reason="torch brings Triton on Linux only"),
]

SEARCHES = sorted(map(str, (Path(__file__).parent / "searches").glob("*.py")))


def run(interpret: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-n", "0", "-q", "-p", "no:cacheprovider", *SEARCHES],
        env={**os.environ, "TRITON_INTERPRET": interpret},
        cwd=Path(__file__).parent.parent.parent,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]


def test_under_the_interpreter():
    run("1")


def test_on_a_gpu():
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA GPU")
    run("0")
