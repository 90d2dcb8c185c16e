"""Real servers for tests: uvicorn in a thread, each with its own engine."""

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image

import transhash
from transhash.serving.engine import Engine
from transhash.serving.http.metrics import Metrics
from transhash.serving.http.server import create_server, listen
from transhash.serving.http.service import Service


@dataclass
class Running:
    """A server, the engine behind it, and a client."""

    address: str
    port: int
    engine: Engine
    service: Service
    client: httpx.Client

    def search(self, expect: int = 200, **body: Any) -> Any:
        """Return the answer to a search."""
        answer = self.client.post("/v1/search", json=body)
        assert answer.status_code == expect, answer.text
        return answer.json()

    def get(self, path: str, expect: int = 200, **parameters: Any) -> Any:
        """Return the JSON answer to a GET request."""
        answer = self.client.get(path, params=parameters)
        assert answer.status_code == expect, answer.text
        return answer.json()


@contextmanager
def running(
    *locations: Path, images: Path | None = None, model: str | None = None, **options: Any
) -> Iterator[Running]:
    """Serve indexes while the block runs."""
    metrics = Metrics()
    with (
        listen("127.0.0.1", 0) as listening,
        Engine(locations, images=images, model=model, monitor=metrics) as engine,
    ):
        port = listening.getsockname()[1]
        service = Service(engine, metrics, **options)
        ready = threading.Event()
        server = create_server(service, ready.set)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            assert ready.wait(60)
            address = f"http://127.0.0.1:{port}"
            headers = {"Authorization": f"Bearer {service.token}"} if service.token else {}
            with httpx.Client(base_url=address, headers=headers, timeout=60, verify=False) as client:
                yield Running(address, port, engine, service, client)
        finally:
            server.should_exit = True
            thread.join()


def picture(seed: int, side: int = 64) -> Image.Image:
    """Return an image of 8 x 8 coloured fields that depends on the seed."""
    fields = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(fields).resize((side, side), Image.Resampling.NEAREST)


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """Return an image as the bytes of a file."""
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def build(root: Path, count: int = 30) -> Path:
    """Write a folder of pictures and an index of them, and return the index.

    The folders are cats and dogs; dogs/copy.png is a smaller copy of dogs/1.png.
    """
    for folder in ("cats", "dogs"):
        (root / "photos" / folder).mkdir(parents=True)
    for number in range(count):
        picture(number).save(root / "photos" / ("cats", "dogs")[number % 2] / f"{number}.png")
    picture(1, 32).save(root / "photos" / "dogs" / "copy.png")
    turned = Image.Exif()
    turned[0x0112] = 6
    picture(100).resize((80, 40)).save(root / "photos" / "cats" / "turned.jpg", exif=turned)
    picture(101).save(root / "photos" / "cats" / "old.tiff")
    transhash.build_index(transhash.encode(root / "photos", "phash"), root / "photos.index")
    return root / "photos.index"
