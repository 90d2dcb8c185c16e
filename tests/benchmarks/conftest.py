"""The real command of the benchmarks."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from transhash.errors import ResultsError

REPOSITORY = Path(__file__).parent.parent.parent

ENVIRONMENT = {
    **os.environ,
    "COLUMNS": "200",
    "GIT_DIR": os.devnull,  # whoever edits a file meanwhile changes nothing
    "PYTHONPATH": str(REPOSITORY),
}

Benchmarks = Callable[..., subprocess.CompletedProcess[str]]


def words(arguments: tuple[object, ...]) -> list[str]:
    return [sys.executable, "-m", "benchmarks", *map(str, arguments)]


@pytest.fixture(scope="session")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which commands run."""
    return tmp_path_factory.mktemp("elsewhere")


@pytest.fixture(scope="session")
def benchmarks(elsewhere: Path) -> Benchmarks:
    """Run `python -m benchmarks` in a process of its own."""

    def run(*arguments: object, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            words(arguments), cwd=elsewhere, env=ENVIRONMENT, capture_output=True, text=True, timeout=600
        )
        assert done.returncode == code, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        return done

    return run


@pytest.fixture(scope="session")
def invoke() -> Callable[..., Result]:
    """Run a command of the benchmarks in this process, which has its imports already."""
    from benchmarks.__main__ import main

    environment = {"GIT_DIR": os.devnull, "COLUMNS": "200"}
    return lambda *arguments: CliRunner(env=environment).invoke(main, [str(one) for one in arguments])


@pytest.fixture
def th_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let benchmarks run `th` in this process, which loads torch once instead of for every command."""
    from benchmarks import digits, training
    from cli import running

    def run(*arguments: object, show: bool = False) -> None:
        code = running.run([str(one) for one in arguments])
        if code:
            raise ResultsError(f"th {arguments[0]}: exit code {code}")

    for module in (digits, training):
        monkeypatch.setattr(module, "th", run)


@pytest.fixture
def begin(elsewhere: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start `python -m benchmarks` in the background; it does not outlive the test."""
    running: list[subprocess.Popen[str]] = []

    def run(*arguments: object) -> subprocess.Popen[str]:
        running.append(
            subprocess.Popen(
                words(arguments),
                cwd=REPOSITORY,
                env=ENVIRONMENT,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        return running[-1]

    yield run
    for process in running:
        process.kill()
        process.communicate()
