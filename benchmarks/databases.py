"""Compare collections in databases with an index folder: load rate, single queries, a batch, equal results.

    python -m benchmarks.databases --rows 1000000 postgresql://localhost/images/bench lance://data/bench

A collection is created at each location; it must not exist yet.
"""

import argparse
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

import transhash
from transhash.codes import Codes, ModelRef, Records, write_codes

from . import machine

_SINGLE = 30  # queries searched one at a time
_BATCH = 1000  # queries searched in one call
_K = 10


def main() -> None:
    """Write random codes with paths, build a collection at each location, and print one line per location."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("locations", nargs="*")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--bits", type=int, default=64)
    parser.add_argument("--type", default="flat", help="index type of the collections")
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    packed = rng.integers(0, 256, (arguments.rows, arguments.bits // 8), dtype=np.uint8)
    queries = packed[:: max(1, arguments.rows // _BATCH)][:_BATCH] ^ np.uint8(1)
    paths = [f"{row % 1000:03}/image-{row:09}.jpg".encode() for row in range(arguments.rows)]
    print(machine.machine())
    with TemporaryDirectory() as folder:
        file = Path(folder, "codes.h5")
        model = ModelRef("random", "0" * 64, arguments.bits)
        write_codes(file, Codes(packed, Records(paths, b"/photos"), model))
        expected = measure(file, Path(folder, "index"), "flat", queries)
        for location in arguments.locations:
            ids = measure(file, location, arguments.type, queries)
            if arguments.type == "flat" and (ids != expected).any():
                raise SystemExit(f"{location}: results differ from those of the index folder")


def measure(file: Path, location: str | Path, type: str, queries: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Build and search a collection, print the times, and return the ids of the batch, (q, k)."""
    began = time.perf_counter()
    collection = transhash.build_index(file, location, type=type)
    loaded = len(collection) / (time.perf_counter() - began)
    collection.kneighbors(queries[:1], _K)
    single = []
    for query in queries[:_SINGLE]:
        began = time.perf_counter()
        collection.kneighbors(query[None], _K)
        single.append(time.perf_counter() - began)
    began = time.perf_counter()
    ids = collection.kneighbors(queries, _K)[1]
    batch = time.perf_counter() - began
    name = str(location).partition("://")[0] if isinstance(location, str) else "folder"
    median = 1e3 * float(np.median(single))
    speed = f"loaded {loaded:,.0f} rows/s; one query {median:.2f} ms; {len(queries)} at once {batch:.2f} s"
    print(f"{name}, {type}: {speed}", flush=True)
    return ids


if __name__ == "__main__":
    main()
