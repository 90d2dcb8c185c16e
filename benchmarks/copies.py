"""Copy detection: find the originals of heavily edited photos among other photos, without false matches."""

import base64
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import click
import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from transhash import Architecture, Codes, encode, fit, hamming, load_hasher
from transhash.codes.truncation import nested_lengths
from transhash.hashers.base import Hasher
from transhash.report.records import Curve, Example, Measurement, Picture, Record, Skipped, TableRow

from . import suites
from .copy_scores import Scores
from .copy_sets import NO_ORIGINAL, Copies, CopySet, as_inputs, find, opened
from .runs import Results

_SIDE = 96  # thumbnail size in pixels
_SHOWN = 3  # matches shown per example
_PDQ = "PDQ"
_BITS = (64, 128, 256)  # lengths that are fitted to embedders

Packed = NDArray[np.uint8]
HashImages = Callable[[Sequence[Image.Image | Path]], Packed]


@click.command("copies")
@click.argument("photos", metavar="FOLDER", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "-o", "output", type=click.Path(dir_okay=False, path_type=Path), default="results/copies.jsonl",
    show_default=True, help="Results file. Measurements already in it are not repeated.",
)  # fmt: skip
@click.option("--model", "models", multiple=True, default=("phash",), show_default=True, help="Hasher; repeatable.")
@click.option(
    "--embedder", "embedders", multiple=True, type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="ONNX model, to whose embeddings codes of 64, 128 and 256 bits are fitted with the images of --fit; "
    "repeatable.",
)  # fmt: skip
@click.option(
    "--fit", "sample", type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Photos other than those of FOLDER, to fit --embedder to.",
)  # fmt: skip
@click.option("--fast", is_flag=True, help="Measure the hashers of --model with --fast, too.")
@click.option("--queries", type=suites.COUNT, default=100, show_default=True, help="Number of photos to copy.")
@click.option(
    "--distractors", type=click.Path(exists=True, file_okay=False, path_type=Path), help="More images to search."
)
@click.option("--seed", type=suites.SEED, default=0, show_default=True, help="Seed of the edits.")
def command(
    photos: Path,
    output: Path,
    models: tuple[str, ...],
    embedders: tuple[Path, ...],
    sample: Path | None,
    fast: bool,
    queries: int,
    distractors: Path | None,
    seed: int,
) -> None:
    """Edit photos of FOLDER as people do before sharing them, and search for the originals.

    Hashers with nested codes are measured at each of their lengths. FOLDER may be DISC21 or Copydays, whose copies
    are then the queries.
    """
    if embedders and sample is None:
        raise click.UsageError("--embedder needs --fit FOLDER: photos to fit the codes to")
    known = find(photos, queries, distractors, seed)
    fitted = {f"{path.name}, {bits} bits": (path, bits) for path in embedders for bits in _BITS}
    quick = {f"{name} --fast": name for name in models} if fast else {}
    settings = {"seed": seed, "models": [*models, *quick, *fitted], "distractors": distractors is not None}
    results = Results.open(output, "copies", "Copy detection", settings)
    if results.has(known.name, [*models, *quick, *fitted, "dhash", _PDQ]):
        suites.show_progress(f"{known.name}: measured before")
        return
    hashers = {name: load_hasher(name) for name in models}
    hashers |= {name: load_hasher(model, fast=True) for name, model in quick.items()}
    for name, (path, bits) in fitted.items():
        assert sample is not None
        hashers[name] = fit(sample, None, Architecture(bits=bits, groups=0), embedder=path)
        suites.show_progress(f"{name}: fitted to {sample}")
    results.write(list(records(results.run.id, known, hashers)))


def records(run: str, known: CopySet, hashers: Mapping[str, Hasher]) -> Iterator[Record]:
    """Yield the rows and curves of every method and code length, and examples of the first hasher."""
    methods = {name: _encoder(hasher) for name, hasher in hashers.items()} | _peers()
    found, queries = _hash_all(known, methods)
    measured = 0
    for name, packed in found.items():
        for bits in _lengths(hashers[name]) if name in hashers else [packed.originals.shape[1] * 8]:
            scores = packed.scores(bits, queries.truth)
            family = "codes" if name in hashers else "peer"
            params = {"bits": bits}
            yield _row(run, known.name, name, family, params, scores)
            yield _by_edit(run, known.name, name, family, params, scores, queries.edits)
            points = list(zip(scores.recall.tolist(), scores.precision.tolist(), strict=True))
            plot = "Precision and recall, by distance"
            yield Curve(run, plot, known.name, name, family, params, "recall", "precision", points)
            if not measured:
                yield from _examples(run, known, name, packed.cut(bits), scores, queries)
            measured += 1
            suites.show_progress(f"  {name}, {bits} bits: µAP {scores.micro_ap:.3f}")
    if _PDQ not in found:
        yield Skipped(run, known.name, _PDQ, "needs the package pdqhash")


@dataclass
class _Queries:
    """The copies of a set: the edit, original and thumbnail (base64 JPEG) of each."""

    edits: list[str] = field(default_factory=list)
    originals: list[NDArray[np.int64]] = field(default_factory=list)
    pictures: list[str] = field(default_factory=list)

    def add(self, copies: Copies) -> None:
        self.edits += [copies.edit] * len(copies.images)
        self.originals.append(copies.originals)
        self.pictures += [_thumbnail(opened(image)) for image in copies.images]

    @property
    def truth(self) -> NDArray[np.int64]:
        return np.concatenate(self.originals)


@dataclass(frozen=True, eq=False)
class _HashedSet:
    """The packed codes of originals and copies by one method."""

    originals: Packed
    copies: Packed

    def cut(self, bits: int) -> "_HashedSet":
        originals, copies = (np.ascontiguousarray(codes[:, : bits // 8]) for codes in (self.originals, self.copies))
        return _HashedSet(originals, copies)

    def scores(self, bits: int, truth: NDArray[np.int64]) -> Scores:
        cut = self.cut(bits)
        return Scores.of(cut.copies, cut.originals, truth)


def _hash_all(known: CopySet, methods: dict[str, HashImages]) -> tuple[dict[str, _HashedSet], _Queries]:
    originals = {}
    for name, hash_images in methods.items():
        originals[name] = hash_images(known.originals)
        suites.show_progress(f"{known.name}: {name}")
    queries = _Queries()
    copies: dict[str, list[Packed]] = {name: [] for name in methods}
    for batch in known.copies():
        queries.add(batch)
        for name, hash_images in methods.items():
            copies[name].append(hash_images(batch.images))
    return {name: _HashedSet(originals[name], np.concatenate(copies[name])) for name in methods}, queries


def _encoder(hasher: Hasher) -> HashImages:
    def hash_images(images: Sequence[Image.Image | Path]) -> Packed:
        codes: Codes = encode(as_inputs(images), hasher)
        assert not codes.skipped, codes.skipped
        return codes.packed

    return hash_images


def _lengths(hasher: Hasher) -> Sequence[int]:
    return nested_lengths(hasher.ref) or [hasher.ref.bits]


def _peers() -> dict[str, HashImages]:
    """Return other image hashes: dhash and, if pdqhash is installed, PDQ."""

    def dhash(image: Image.Image) -> Packed:
        return np.packbits(imagehash.dhash(image).hash.ravel())

    peers: dict[str, HashImages] = {"dhash": lambda images: np.stack([dhash(opened(image)) for image in images])}
    if find_spec("pdqhash"):
        import pdqhash

        def pdq(image: Image.Image) -> Packed:
            return np.packbits(pdqhash.compute(np.asarray(image.convert("RGB")))[0])

        peers[_PDQ] = lambda images: np.stack([pdq(opened(image)) for image in images])
    return peers


def _row(run: str, dataset: str, name: str, family: str, params: dict[str, int], scores: Scores) -> TableRow:
    values = {
        "bytes per image": Measurement(params["bits"] / 8),
        "µAP": Measurement(scores.micro_ap),
        "recall without a false pair": Measurement(scores.recall_without_false),
        "recall at 99 % precision": Measurement(scores.recall_at_99),
    }
    return TableRow(run, "Copies", dataset, name, family, dict(params), values)


def _by_edit(
    run: str, dataset: str, name: str, family: str, params: dict[str, int], scores: Scores, edits: Sequence[str]
) -> TableRow:
    found, names = scores.distances, np.array(edits)
    values = {}
    for edit in dict.fromkeys(edits):
        distances = found[(names == edit) & (found >= 0)]
        if len(distances):
            values[f"recall, {edit}"] = Measurement(float((distances <= scores.radius).mean()))
    return TableRow(run, "Recall at 99 % precision, by edit", dataset, name, family, dict(params), values)


def _examples(
    run: str, known: CopySet, name: str, packed: _HashedSet, scores: Scores, queries: _Queries
) -> Iterator[Example]:
    """Yield for every edit the first copy that is found at 99 % precision and the first that is missed."""
    truth, names = queries.truth, np.array(queries.edits)
    within = scores.distances <= scores.radius
    for edit in dict.fromkeys(queries.edits):
        for title, which in (("found", within), ("missed", ~within)):
            places = np.flatnonzero((names == edit) & (truth != NO_ORIGINAL) & which)
            if len(places):
                yield _example(run, known, name, f"{edit}: {title}", packed, int(places[0]), queries)


def _example(
    run: str, known: CopySet, name: str, title: str, packed: _HashedSet, query: int, queries: _Queries
) -> Example:
    nearest = hamming.top_k(packed.copies[query : query + 1], packed.originals, min(_SHOWN, len(packed.originals)))
    original = int(queries.truth[query])
    bits = int(hamming.distances(packed.copies[query : query + 1], packed.originals[original : original + 1])[0, 0])
    shown = Picture(queries.edits[query], f"{bits} bits from its original", True, queries.pictures[query])
    matches = [
        Picture(
            known.originals[row].name,
            f"distance {distance}",
            row == original,
            _thumbnail(opened(known.originals[row])),
        )
        for row, distance in zip(nearest.ids[0].tolist(), nearest.distances[0].tolist(), strict=True)
    ]
    return Example(run, known.name, name, title, shown, matches)


def _thumbnail(image: Image.Image) -> str:
    small = io.BytesIO()
    ImageOps.contain(image, (_SIDE, _SIDE)).save(small, format="JPEG", quality=85)
    return base64.b64encode(small.getvalue()).decode()
