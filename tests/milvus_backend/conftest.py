"""A real Milvus on loopback, from the package `milvus` 2.3.5: standalone and old, it tests the API, not a cluster."""

import importlib.util
import platform
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

TOKEN = "root:Milvus"  # of a new server
SETTINGS = {  # answers sooner than a busy cluster would want
    "common.security.authorizationEnabled": "true",
    "proxy.timeTickInterval": "20",
    "queryCoord.checkInterval": "100",
    "queryCoord.distPullInterval": "50",
    "dataCoord.segment.assignmentExpiration": "200",
    "common.session.ttl": "3",
}


class Milvus:
    """A server that can be killed and started again, on another port each time, over the same data."""

    def __init__(self, folder: Path, programs: Path) -> None:
        self._folder = folder
        (folder / "bin").symlink_to(programs)
        self._server: Any = None
        self.start()

    def start(self) -> None:
        from milvus import MilvusServer, MilvusServerConfig

        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        config = MilvusServerConfig(data_dir=str(self._folder), proxy_port=port)
        for name, value in SETTINGS.items():
            config.set(name, value)
        self._server = MilvusServer(config)
        self._server.start()
        self.uri = f"http://127.0.0.1:{port}"

    @property
    def pid(self) -> int:
        """The process of the server."""
        return int(self._server.server_proc.pid)

    def kill(self) -> None:
        """Kill -9."""
        self._server.server_proc.kill()
        self._server.server_proc.wait()
        self.stop()

    def stop(self) -> None:
        self._server.stop()

    def location(self, name: str) -> str:
        return f"milvus://{self.uri.removeprefix('http://')}/{name}"


class Impatient:
    """The module `time` for the client, which waits half a second before it asks the server again."""

    time = staticmethod(time.time)

    @staticmethod
    def sleep(seconds: float) -> None:
        time.sleep(min(seconds, 0.05))


@pytest.fixture(scope="module")
def milvus(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Milvus]:
    if sys.platform != "linux" or platform.machine() != "x86_64":
        pytest.skip("the package milvus has a server for Linux x86-64 only")
    for package in ("milvus", "pymilvus"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"no package {package}: pip install pymilvus milvus==2.3.5")
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", 9091)) == 0:
            pytest.skip("port 9091, which Milvus needs, is taken")
    from pymilvus.client import grpc_handler

    from milvus_backend import ledger

    unpacked = request.config.cache.mkdir("milvus")  # for later runs: it takes ten seconds
    server = Milvus(tmp_path_factory.mktemp("milvus"), unpacked)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grpc_handler, "time", Impatient)
        patch.setattr(ledger, "_SETTLE", 0.05)
        patch.setenv("MILVUS_TOKEN", TOKEN)
        patch.setenv("MILVUS_TIMEOUT", "20")
        yield server
    server.stop()
