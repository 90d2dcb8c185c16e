"""A local stand-in for the Hugging Face Hub that serves downloads and uploads of small files."""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "hf_testtoken"


class Hub(ThreadingHTTPServer):
    """Repositories in memory; every commit replaces the former. The name ``gated`` exists but cannot be read."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.requests: list[str] = []
        self.refusal: tuple[int, dict[str, str]] | None = None  # of every upload, as status and document

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def commit(self, repository: str) -> str:
        """Return a commit that depends on the files."""
        digest = hashlib.sha1()
        for name, data in sorted(self.repositories[repository].items()):
            digest.update(name.encode() + data)
        return digest.hexdigest()


class _Handler(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *values: object) -> None: ...

    def do_HEAD(self) -> None:
        self._resolve()

    def do_GET(self) -> None:
        self._resolve()

    def do_POST(self) -> None:
        self.server.requests.append(f"POST {self.path}")
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._answer(401, {"error": "Invalid username or password."})
        if self.server.refusal:
            return self._answer(*self.server.refusal)
        if self.path == "/api/repos/create":
            named = json.loads(body)
            name = f"{named['organization']}/{named['name']}" if named.get("organization") else named["name"]
            self.server.repositories.setdefault(name, {})
            return self._answer(200, {"url": f"{self.server.url}/{name}", "name": name})
        if "/preupload/" in self.path:
            names = [one["path"] for one in json.loads(body)["files"]]
            files = [{"path": one, "uploadMode": "regular", "shouldIgnore": False} for one in names]
            return self._answer(200, {"files": files})
        if "/commit/" in self.path:
            repository = "/".join(self.path.split("/")[3:5])
            for entry in map(json.loads, body.splitlines()):
                if entry["key"] == "file":
                    data = base64.b64decode(entry["value"]["content"])
                    self.server.repositories[repository][entry["value"]["path"]] = data
            oid = self.server.commit(repository)
            return self._answer(200, {"commitUrl": f"{self.server.url}/{repository}/commit/{oid}", "commitOid": oid})
        return self._answer(200, {"errors": [], "warnings": []})  # validation of the model card's metadata

    def _resolve(self) -> None:
        self.server.requests.append(f"{self.command} {self.path}")
        match = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self.path)
        if match is None:
            return self._answer(404, {"error": "not found"})
        repository, revision, name = match.groups()
        if repository == "user/gated":
            return self._answer(403, {"error": "gated"}, {"X-Error-Code": "GatedRepo"})
        if repository not in self.server.repositories:
            return self._answer(401, {"error": "Invalid username or password."}, {"X-Error-Code": "RepoNotFound"})
        if revision not in ("main", self.server.commit(repository)):
            return self._answer(404, {"error": "no revision"}, {"X-Error-Code": "RevisionNotFound"})
        data = self.server.repositories[repository].get(name)
        commit = {"X-Repo-Commit": self.server.commit(repository)}
        if data is None:
            return self._answer(404, {"error": "no entry"}, commit | {"X-Error-Code": "EntryNotFound"})
        return self._send(200, data, commit | {"ETag": f'"{hashlib.sha1(data).hexdigest()}"'})

    def _answer(self, status: int, document: Any, headers: dict[str, str] | None = None) -> None:
        data = json.dumps(document).encode()
        self._send(status, data, (headers or {}) | {"Content-Type": "application/json"})

    def _send(self, status: int, data: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


@contextmanager
def running() -> Iterator[Hub]:
    """Run the server in a thread until the block ends."""
    with Hub() as hub:
        thread = threading.Thread(target=hub.serve_forever, daemon=True)
        thread.start()
        try:
            yield hub
        finally:
            hub.shutdown()
            thread.join()
