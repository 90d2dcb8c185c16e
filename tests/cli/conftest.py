"""`th` without a process of its own."""

import io
import os
import subprocess
import warnings
from collections.abc import Callable
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from transhash_cli import running


@pytest.fixture(scope="session")
def th_inside() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `th` in this process, which has loaded torch already; `th` is the same in a process of its own."""

    def run(*arguments: object, cwd: Path | None = None, code: int = 0) -> subprocess.CompletedProcess[str]:
        words = [os.fspath(word) if isinstance(word, Path) else str(word) for word in arguments]
        out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", "surrogateescape", write_through=True) for _ in range(2))
        with warnings.catch_warnings(), chdir(cwd or Path.cwd()), redirect_stdout(out), redirect_stderr(err):
            found = running.run(words)
        stdout, stderr = (stream.buffer.getvalue().decode("utf-8", "surrogateescape") for stream in (out, err))  # type: ignore[attr-defined]
        assert found == code, f"exit code {found}\n{stdout}\n{stderr}"
        return subprocess.CompletedProcess(words, found, stdout, stderr)

    return run
