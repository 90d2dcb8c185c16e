"""Collections in databases beside the index folder: loading, single queries and a batch, with the same answers.

    python -m benchmarks.databases --rows 1000000 postgresql://localhost/images/bench lance://data/bench

A location is used as it is, so its collection must not exist.
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

_SINGLE = 30  # queries, one after the other
_BATCH = 1000  # queries at once
_K = 10


def main() -> None:
    """Write random codes with paths, build a collection of them at each location, and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("locations", nargs="*")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--bits", type=int, default=64)
    parser.add_argument("--type", default="flat", help="index type in the databases")
    given = parser.parse_args()
    rng = np.random.default_rng(0)
    packed = rng.integers(0, 256, (given.rows, given.bits // 8), dtype=np.uint8)
    queries = packed[:: max(1, given.rows // _BATCH)][:_BATCH] ^ np.uint8(1)
    paths = [f"{row % 1000:03}/image-{row:09}.jpg".encode() for row in range(given.rows)]
    print(machine.machine())
    with TemporaryDirectory() as folder:
        file = Path(folder, "codes.h5")
        model = ModelRef("random", "0" * 64, given.bits)
        write_codes(file, Codes(packed, Records(paths, b"/photos"), model))
        expected = measure(file, Path(folder, "index"), "flat", queries)
        for location in given.locations:
            ids = measure(file, location, given.type, queries)
            if given.type == "flat" and (ids != expected).any():
                raise SystemExit(f"{location}: other answers than the folder's")


def measure(file: Path, location: str | Path, type: str, queries: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Build a collection, search it, and print how long that took; return the ids that the batch found."""
    began = time.perf_counter()
    made = transhash.build_index(file, location, type=type)
    loaded = len(made) / (time.perf_counter() - began)
    made.kneighbors(queries[:1], _K)
    single = []
    for query in queries[:_SINGLE]:
        began = time.perf_counter()
        made.kneighbors(query[None], _K)
        single.append(time.perf_counter() - began)
    began = time.perf_counter()
    ids = made.kneighbors(queries, _K)[1]
    batch = time.perf_counter() - began
    name = str(location).partition("://")[0] if isinstance(location, str) else "folder"
    median = 1e3 * float(np.median(single))
    speed = f"loaded {loaded:,.0f} rows/s; one query {median:.2f} ms; {len(queries)} at once {batch:.2f} s"
    print(f"{name}, {type}: {speed}", flush=True)
    return ids


if __name__ == "__main__":
    main()
