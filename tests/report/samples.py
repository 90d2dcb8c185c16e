"""Sample records of every kind, and malicious ones."""

import base64
import io

from PIL import Image

from transhash.report.records import Curve, Example, Measurement, Picture, Record, Run, Skipped, TableRow

MACHINE = {"cpu": "some cpu", "cores": 2, "memory_gib": 24.0, "gpu": "", "system": "Linux"}


def image(kind: str = "JPEG") -> str:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), "teal").save(file, format=kind)
    return base64.b64encode(file.getvalue()).decode()


def accuracy(ours: float = 0.74, floats: float = 0.75, rival: float = 0.70) -> list[Record]:
    """A run of the accuracy suite: codes of two lengths, float embeddings, and another method of the same size."""
    rows = [
        ("TransHash", "codes", {"bits": 32}, 4, Measurement(0.61)),
        ("TransHash", "codes", {"bits": 64}, 8, Measurement(ours, ours - 0.01, ours + 0.01)),
        ("float embedding", "float", {}, 1536, Measurement(floats)),
        ("PQ", "float", {}, 8, Measurement(rival)),
        ("LSH", "peer", {"bits": 64}, 8, Measurement(0.14)),
    ]
    return [
        Run(
            "a", "accuracy", "Accuracy", "python -m benchmarks accuracy", "2026-11-21T12:00:00+00:00", "abc", MACHINE
        ),
        *(
            TableRow(
                "a",
                "accuracy",
                "cifar10",
                method,
                family,
                params,
                {"mAP@all": score, "bytes per image": Measurement(size)},
            )
            for method, family, params, size, score in rows
        ),
    ]


def search(ours: float = 0.5, floats: float = 60.0, peer: float = 2.0) -> list[Record]:
    """A run of the search suite with curves, a skipped size and an example."""
    rows = [("TransHash flat", "codes", ours), ("FAISS Flat", "float", floats), ("usearch exact", "peer", peer)]
    run = Run("s", "search", "Search", "python -m benchmarks search", "2026-11-21T13:00:00+00:00", "abc", MACHINE)
    found = [Picture("a.jpg", "0", True, image()), Picture("b.png", "3", False)]
    return [
        run,
        *(
            TableRow("s", "one query", f"clustered, {count}", method, family, {}, _times(ms))
            for count in ("10,000", "1,000,000")
            for method, family, ms in rows
        ),
        Curve(
            "s", "time", "clustered", "TransHash flat", "codes", {}, "codes", "ms per query", [(1e4, 1), (1e6, 100)]
        ),
        Curve(
            *("s", "growth", "clustered", "TransHash flat", "codes", {}, "codes", "build s"),
            [(1e4, 0.1), (1e5, 1), (1e6, 10)],
        ),
        Skipped("s", "clustered, 1,000,000", "Milvus", "no server was given"),
        Example("s", "clustered", "TransHash flat", "Best query", Picture("q.jpg", "cat", True, image("PNG")), found),
    ]


def _times(ms: float) -> dict[str, Measurement]:
    return {
        "ms per query": Measurement(ms, ms / 2, ms * 2),
        "ms per query p95": Measurement(ms * 2),
        "ms per query p99": Measurement(ms * 3),
        "recall@10 by distance": Measurement(1.0),
        "queries/s": Measurement(1000 / ms),
    }


def hostile(text: str) -> list[Record]:
    """A run in which every string is `text`."""
    params, settings = {text: text}, {text: [text, {text: text}]}
    ms = _times(1.0) | {text: Measurement(1.0), f"mAP{text}": Measurement(0.5), "bytes per image": Measurement(8)}
    pictures = [Picture(text, text, right, encoded) for right in (True, False) for encoded in ("", image())]
    return [
        Run(text, text, text, text, text, text, settings, {text: text}, settings),
        TableRow(text, text, text, text, "codes", {"bits": 64} | params, ms),
        TableRow(text, text, text, f"{text}2", "float", params, ms | {"bytes per image": Measurement(99)}),
        Curve(text, text, text, text, "peer", params, text, text, [(0, 1), (1, 2)]),
        Curve(text, text, text, text, "codes", params, "bit", text, [(0, 1), (1, 0.5)]),
        Skipped(text, text, text, text),
        Example(text, text, text, text, pictures[0], pictures),
    ]
