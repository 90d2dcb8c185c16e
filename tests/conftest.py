"""Shared fixtures: the real command, real pictures, a real hasher."""

import ctypes
import gc
import io
import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import chdir, redirect_stderr, redirect_stdout
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from PIL import Image

from . import forking

settings.register_profile(
    "busy machine", deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("busy machine")

os.environ.setdefault("OMP_NUM_THREADS", "1")  # one test a core
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # many containers set it: every process would compile torch again
sys.dont_write_bytecode = False

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell starts background jobs; commands would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)

if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
    libc.mallopt(-1, 1 << 29)  # M_TRIM_THRESHOLD: memory is kept, which spares thousands of tests its page faults
    libc.mallopt(-3, 1 << 28)  # M_MMAP_THRESHOLD

Th = Callable[..., subprocess.CompletedProcess[str]]

REPOSITORY = Path(__file__).parent.parent
sys.path.append(str(REPOSITORY))  # for benchmarks, which are not installed; the installed packages come first

SLOW = {
    "forks",
    "start",
    "command",
    "benchmarks",
    "begin",
    "peak",
    "milvus",
    "postgres",
    "cluster",
    "ray_folder",
    "chromium",
}
"""Fixtures that start processes."""


@pytest.hookimpl(tryfirst=True)  # before pytest selects by marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests as slow that use a slow fixture, and run files with slow tests first: two workers end together."""
    for item in items:
        if isinstance(item, pytest.Function) and not SLOW.isdisjoint(item.fixturenames):
            item.add_marker(pytest.mark.slow)
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_collection_finish() -> None:
    """Keep the million objects of the imports out of every garbage collection."""
    gc.freeze()


def pytest_sessionfinish() -> None:
    gc.unfreeze()


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> None:
    """Start the process that forks before the tests start threads, with the imports that they have in common."""
    global _forks
    if any("forks" in getattr(item, "fixturenames", ()) for item in session.items):
        for name in ("faiss", "h5py", "transhash_cli.running", *(["timm"] if "torch" in sys.modules else [])):
            import_module(name)
        gc.freeze()
        _forks = forking.Server()


_forks: forking.Server | None = None


@pytest.fixture(scope="session")
def forks() -> Iterator[forking.Server]:
    """Start Python code as a process of its own that has its imports already."""
    assert _forks
    yield _forks
    _forks.stop()


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """Run a single file or test in this process; None leaves the number of workers to xdist."""
    if len(config.args) == 1 and Path(config.args[0].split("::")[0]).is_file():
        config.option.dist = "no"
        return 0
    return None


@pytest.fixture(autouse=True)
def _reading_here(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read codes files in this process, unless `guarded`: to fork one that has loaded torch takes 50 ms."""
    if not request.node.get_closest_marker("guarded"):
        monkeypatch.setattr("transhash.codes.guard._FORKS", False)


@pytest.fixture(scope="session")
def command() -> list[str]:
    """How to start `th` in a process of its own."""
    return _command()


def _command() -> list[str]:
    """The installed console script; without one on disk, its entry point."""
    script = Path(sys.executable).with_name("th")
    if script.exists():
        return [str(script)]
    (point,) = entry_points(group="console_scripts", name="th")
    return [sys.executable, "-c", f"from {point.module} import {point.attr}; {point.attr}()"]


@pytest.fixture(scope="session")
def th() -> Th:
    """Run `th` in this process, which has loaded torch already; with `env`, in a process of its own."""

    def run(
        *arguments: object, cwd: Path | None = None, code: int = 0, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        words = [os.fspath(a) if isinstance(a, Path) else str(a) for a in arguments]
        done = _inside(words, cwd or Path.cwd()) if env is None else _process([*_command(), *words], cwd, env)
        assert done.returncode == code, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    return run


@pytest.fixture(scope="session")
def th_inside(th: Th) -> Th:
    """Run `th` in this process."""
    return th


def _inside(words: list[str], cwd: Path) -> subprocess.CompletedProcess[str]:
    from transhash_cli import render, running

    written = io.BytesIO(), io.BytesIO()
    out, err = (io.TextIOWrapper(one, "utf-8", "surrogateescape", write_through=True) for one in written)
    try:
        with warnings.catch_warnings(), chdir(cwd), redirect_stdout(out), redirect_stderr(err):
            code = running.run(words)
    finally:
        render.use_quiet(False)
        render.use_json(False)
    stdout, stderr = (one.getvalue().decode("utf-8", "surrogateescape") for one in written)
    return subprocess.CompletedProcess(words, code, stdout, stderr)


def _process(words: list[str], cwd: Path | None, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words,
        cwd=cwd,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        errors="surrogateescape",
        timeout=1800,  # even on a busy machine
    )


@pytest.fixture
def start(command: list[str]) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start `th` as a group of processes that can be interrupted as from a terminal; it does not outlive the test."""
    running: list[subprocess.Popen[str]] = []

    def run(*arguments: object, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*command, *map(str, arguments)],
            env={**os.environ, **(env or {})},
            stderr=subprocess.PIPE,
            text=True,
            process_group=0,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # background jobs ignore it
        )
        running.append(process)
        return process

    yield run
    for process in running:
        process.kill()
        process.communicate()


@pytest.fixture
def launch(forks: forking.Server) -> Iterator[Callable[..., forking.Process]]:
    """Start `th` as `start` does, but forked from a process that has its imports."""
    running: list[forking.Process] = []

    def run(*arguments: object) -> forking.Process:
        running.append(forks.start(forking.TH, *arguments, pipes=["stderr"], group=True))
        return running[-1]

    yield run
    for process in running:
        process.close()


FULL = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (1024 * int(sys.argv.pop(1)),) * 2)  # Python ignores SIGXFSZ
"""


@pytest.fixture(scope="session")
def full_disk(forks: forking.Server) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `th` where files have at most a number of KiB, which stands in for a full disk."""
    return lambda blocks, *arguments: forks.run(FULL + forking.TH, blocks, *arguments)


@pytest.fixture(scope="session")
def left() -> Callable[[int], bool]:
    """Return whether a process of a group still runs after a timeout."""

    def look(group: int) -> bool:
        for _ in range(600):
            try:
                os.killpg(group, 0)
            except ProcessLookupError:
                return False
            time.sleep(0.1)
        return True

    return look


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A headless Chromium, driven by Playwright; its event loop must not outlive the module."""
    api = pytest.importorskip("playwright.sync_api")
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("no Chromium is installed")
    with api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 PNG pictures in 3 classes; those of a class look alike."""
    root = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for label in ("circle", "cross", "stripe"):
        (root / label).mkdir()
        base = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        for number in range(8):
            pixels = np.asarray(Image.fromarray(base).resize((40, 40), Image.Resampling.NEAREST)).astype(int)
            noisy = np.clip(pixels + rng.integers(-30, 30, pixels.shape), 0, 255).astype(np.uint8)
            Image.fromarray(noisy).save(root / label / f"{number}.png")
    return root


TINY = ["--backbone", "test_vit", "--image-size", "32", "--patch-size", "8", "--stride", "6", "--groups", "2"]


@pytest.fixture(scope="session")
def hasher_file(th: Th, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hasher of 16 bits, trained for a few steps by the real command."""
    path = tmp_path_factory.mktemp("hasher") / "hasher.safetensors"
    th("train", pictures, "-o", path, *TINY, "--bits", 16, "--epochs", 2, "--batch-size", 12)
    return path
