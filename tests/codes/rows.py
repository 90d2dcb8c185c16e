"""Rows to write in every supported way, and the rows expected when they are read."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from hypothesis import strategies as st

from transhash.codes import CodesWriter, ModelRef, read_codes

MODEL = ModelRef("phash", "phash-dct-64", 64, '{"side": 32}')
WIDTH = 3  # dimensions of an embedding
MOST = 3  # most labels per row


@dataclass(frozen=True)
class Row:
    path: bytes
    code: bytes
    labels: tuple[str, ...]
    size: int
    mtime: int
    embedding: tuple[float, ...]


numbers = st.integers(-1, 2**63 - 1)
rows = st.builds(
    Row,
    st.binary(max_size=40),
    st.binary(min_size=8, max_size=8),
    st.lists(st.sampled_from(["a", "b", "c, d", "é\n", "\N{SNOWMAN}"]), unique=True, max_size=MOST).map(tuple),
    numbers,
    numbers,
    st.tuples(*[st.floats(width=16, allow_nan=False).map(lambda number: number + 0.0)] * WIDTH),  # no -0.0
)


@dataclass(frozen=True)
class Kind:
    """The optional columns of a file."""

    labels: int = MOST
    embeddings: int = WIDTH
    stats: bool = True


kinds = st.builds(Kind, st.sampled_from([0, MOST]), st.sampled_from([0, WIDTH]), st.booleans())
EVERYTHING = Kind()


def append(writer: CodesWriter, some: Sequence[Row], kind: Kind = EVERYTHING) -> None:
    writer.append(
        np.array([list(row.code) for row in some], np.uint8).reshape(len(some), 8),
        [row.path for row in some],
        [row.labels for row in some] if kind.labels else None,
        embeddings=np.array([row.embedding for row in some], np.float16).reshape(len(some), WIDTH)
        if kind.embeddings
        else None,
        sizes=np.array([row.size for row in some], np.int64) if kind.stats else None,
        mtimes=np.array([row.mtime for row in some], np.int64) if kind.stats else None,
    )


def write(
    path: Path,
    some: Sequence[Row],
    kind: Kind = EVERYTHING,
    *,
    batch: int = 1000,
    root: bytes = b"/root \xff",
    model: ModelRef = MODEL,
    skipped: Iterable[tuple[bytes, str]] = (),
) -> Path:
    """Write rows in batches and return the path."""
    with CodesWriter.create(
        path, model, root, labels=kind.labels, embeddings=kind.embeddings, stats=kind.stats
    ) as writer:
        for start in range(0, len(some), batch):
            append(writer, some[start : start + batch], kind)
        for name, reason in skipped:
            writer.skip(name, reason)
    return path


def read(path: Path, kind: Kind = EVERYTHING) -> list[Row]:
    """Return the rows of a file; missing columns are filled in as in `seen`."""
    codes = read_codes(path, embeddings=True, trusted=True)
    records = codes.records
    return [
        Row(
            records.paths[place],
            codes.packed[place].tobytes(),
            records.names(place),
            -1 if records.sizes is None else int(records.sizes[place]),
            -1 if records.mtimes is None else int(records.mtimes[place]),
            () if codes.embeddings is None else tuple(codes.embeddings[place].tolist()),
        )
        for place in range(len(codes))
    ]


def seen(some: Sequence[Row], kind: Kind = EVERYTHING) -> list[Row]:
    """Return rows as they are read from a file of this kind."""
    return [
        Row(
            row.path,
            row.code,
            row.labels if kind.labels else (),
            row.size if kind.stats else -1,
            row.mtime if kind.stats else -1,
            row.embedding if kind.embeddings else (),
        )
        for row in some
    ]


def many(count: int, seed: int = 0) -> list[Row]:
    """Return ordinary rows."""
    rng = np.random.default_rng(seed)
    return [
        Row(
            b"class %d/%d.jpg" % (number % 7, number),
            rng.bytes(8),
            (f"class {number % 7}",),
            int(rng.integers(1 << 20)),
            int(rng.integers(1 << 60)),
            tuple(rng.standard_normal(WIDTH).astype(np.float16).tolist()),
        )
        for number in range(count)
    ]
