"""HTTP clients that put a server under load: each sends its next request as soon as the last one is answered.

They run in a subprocess: ``python -m benchmarks.clients`` reads one line of JSON with the address, the files that
hold the requests, and the numbers of clients and requests. It writes one line of JSON with the latencies.
"""

import asyncio
import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from transhash.errors import ResultsError

from .machine import REPOSITORY


@dataclass(frozen=True)
class Load:
    """Requests per second, and percentiles of the seconds per request."""

    rate: float
    p50: float
    p95: float
    p99: float


def load(address: str, requests: list[bytes], clients: int, count: int, folder: Path) -> Load:
    """Send `count` requests from `clients` concurrent clients, cycling through `requests`.

    Raises ResultsError if a request fails.
    """
    files = []
    for number, request in enumerate(requests):
        files.append(str(folder / f"request-{number}"))
        Path(files[-1]).write_bytes(request)
    job = json.dumps({"address": address, "files": files, "clients": clients, "count": count})
    command = [sys.executable, "-m", "benchmarks.clients"]
    done = subprocess.run(command, input=job, cwd=REPOSITORY, capture_output=True, text=True)
    if done.returncode:
        raise ResultsError(f"the clients failed: {done.stderr.strip().splitlines()[-1]}")
    seconds, times = json.loads(done.stdout)
    p50, p95, p99 = np.percentile(times, [50, 95, 99])
    return Load(count / seconds, float(p50), float(p95), float(p99))


def as_request(kind: str, body: bytes) -> bytes:
    """Return a POST request to /v1/search with content type `kind`."""
    head = (
        f"POST /v1/search HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def upload(image: bytes, query: str) -> bytes:
    """Return a search request that uploads an image."""
    part = '--x\r\nContent-Disposition: form-data; name="{}"\r\n\r\n'
    body = part.format("query").encode() + query.encode() + b"\r\n"
    body += part.format('image"; filename="image').encode() + image + b"\r\n--x--\r\n"
    return as_request("multipart/form-data; boundary=x", body)


async def _run(address: str, requests: list[bytes], clients: int, count: int) -> tuple[float, list[float]]:
    place = urlsplit(address)
    times: list[float] = []
    waiting = iter(range(count))

    async def client() -> None:
        reader, writer = await asyncio.open_connection(place.hostname, place.port)
        for number in waiting:
            began = time.perf_counter()
            writer.write(requests[number % len(requests)])
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(head.partition(b"\r\n")[0].decode())
            length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
            await reader.readexactly(int(length))
            times.append(time.perf_counter() - began)
        writer.close()

    began = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    return time.perf_counter() - began, times


def _main() -> None:
    job = json.loads(sys.stdin.readline())
    requests = [Path(file).read_bytes() for file in job["files"]]
    print(json.dumps(asyncio.run(_run(job["address"], requests, job["clients"], job["count"]))))


if __name__ == "__main__":
    _main()
