"""Compare collections in databases with an index folder: load rate, single queries, a batch, equal results."""

import time
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import numpy as np
from numpy.typing import NDArray

import transhash
from transhash.codes import Codes, ModelRef, Records, write_codes

from . import machine, suites

_SINGLE = 30  # queries searched one at a time
_BATCH = 1000  # queries searched in one call
_K = 10


@click.command("databases")
@click.argument("locations", nargs=-1)
@click.option("--rows", type=suites.COUNT, default=1_000_000, show_default=True, help="Random codes in a collection.")
@click.option("--bits", type=suites.BITS, default=64, show_default=True, help="Of a code.")
@click.option("--type", "types", multiple=True, default=("flat",), show_default=True, help="Index types.")
def command(locations: tuple[str, ...], rows: int, bits: int, types: tuple[str, ...]) -> None:
    """Measure collections at LOCATIONS beside an index folder.

    Each type is built as a collection of its own, with the type at the end of its name: postgresql://localhost/images/bench
    becomes bench_flat. It must not exist before, and is kept.
    """
    rng = np.random.default_rng(0)
    packed = rng.integers(0, 256, (rows, bits // 8), dtype=np.uint8)
    queries = packed[:: max(1, rows // _BATCH)][:_BATCH] ^ np.uint8(1)
    paths = [f"{row % 1000:03}/image-{row:09}.jpg".encode() for row in range(rows)]
    print(machine.machine(), flush=True)
    with TemporaryDirectory() as folder:
        file = Path(folder, "codes.h5")
        model = ModelRef("random", "0" * 64, bits)
        write_codes(file, Codes(packed, Records(paths, b"/photos"), model))
        expected = measure(file, Path(folder, "index"), "flat", queries)
        for location in locations:
            name, question, options = location.partition("?")
            for type in types:
                ids = measure(file, f"{name}_{type}{question}{options}", type, queries)
                if type == "flat" and (ids != expected).any():
                    raise click.ClickException(f"{location}: results differ from those of the index folder")


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
