"""Copy detection: are heavily edited copies of photos found among other photos, and nothing else?"""

import base64
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import click
import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from transhash import Codes, encode, hamming, load_hasher
from transhash.codes.truncation import nested_lengths
from transhash.hashers.base import Hasher
from transhash.report.records import Curve, Example, Measurement, Picture, Record, Skipped, TableRow

from . import suites
from .copy_scores import Scores
from .copy_sets import NO_ORIGINAL, Copies, CopySet, find, opened, taken
from .runs import Results

_SIDE = 96  # pixels of a thumbnail
_SHOWN = 3  # images found, of an example
_PDQ = "PDQ"

Packed = NDArray[np.uint8]
HashImages = Callable[[Sequence[Image.Image | Path]], Packed]


@click.command("copies")
@click.argument("photos", metavar="FOLDER", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "-o", "output", type=click.Path(dir_okay=False, path_type=Path), default="results/copies.jsonl",
    show_default=True, help="Results file; what stands in it is not measured again.",
)  # fmt: skip
@click.option("--model", "models", multiple=True, default=("phash",), show_default=True, help="Hasher; repeatable.")
@click.option("--queries", default=100, show_default=True, help="Photos to copy.")
@click.option(
    "--distractors", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Images to search, too."
)
@click.option("--seed", default=0, show_default=True, help="Of the edits.")
def command(
    photos: Path, output: Path, models: tuple[str, ...], queries: int, distractors: Path | None, seed: int
) -> None:
    """Edit photos of FOLDER as people do, and look for the originals.

    Hashers with nested codes are measured at each of their lengths. FOLDER can be DISC21 or Copydays: then its own
    copies are asked.
    """
    known = find(photos, queries, distractors, seed)
    settings = {"seed": seed, "models": list(models), "distractors": distractors is not None}
    results = Results.open(output, "copies", "Copy detection", settings)
    if results.has(known.name, [*models, "dhash", _PDQ]):
        suites.say(f"{known.name}: measured before")
        return
    results.write(list(records(results.run.id, known, models)))


def records(run: str, known: CopySet, models: Sequence[str]) -> Iterator[Record]:
    """Yield a row for every method and length, what its edits give, curves, and examples of the first model."""
    hashers = {name: load_hasher(name) for name in models}
    methods = {name: _encoder(hasher) for name, hasher in hashers.items()} | _peers()
    found, asked = _hashed(known, methods)
    measured = 0
    for name, packed in found.items():
        for bits in _lengths(hashers[name]) if name in hashers else [packed.originals.shape[1] * 8]:
            scores = packed.scores(bits, asked.truth)
            family = "codes" if name in hashers else "peer"
            params = {"bits": bits}
            yield _row(run, known.name, name, family, params, scores)
            yield _by_edit(run, known.name, name, family, params, scores, asked.edits)
            points = list(zip(scores.recall.tolist(), scores.precision.tolist(), strict=True))
            plot = "Precision and recall, by distance"
            yield Curve(run, plot, known.name, name, family, params, "recall", "precision", points)
            if not measured:
                yield from _examples(run, known, name, packed.cut(bits), scores, asked)
            measured += 1
            suites.say(f"  {name}, {bits} bits: µAP {scores.micro_ap:.3f}")
    if _PDQ not in found:
        yield Skipped(run, known.name, _PDQ, "needs the package pdqhash")


@dataclass
class _Asked:
    """The copies of a set: edit and original of each, and its picture for the report."""

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
class _Packed:
    """The codes of originals and copies by one method."""

    originals: Packed
    copies: Packed

    def cut(self, bits: int) -> "_Packed":
        width = bits // 8
        return _Packed(np.ascontiguousarray(self.originals[:, :width]), np.ascontiguousarray(self.copies[:, :width]))

    def scores(self, bits: int, truth: NDArray[np.int64]) -> Scores:
        cut = self.cut(bits)
        return Scores.of(cut.copies, cut.originals, truth)


def _hashed(known: CopySet, methods: dict[str, HashImages]) -> tuple[dict[str, _Packed], _Asked]:
    originals = {}
    for name, hashed in methods.items():
        originals[name] = hashed(known.originals)
        suites.say(f"{known.name}: {name}")
    asked = _Asked()
    copies: dict[str, list[Packed]] = {name: [] for name in methods}
    for some in known.copies():
        asked.add(some)
        for name, hashed in methods.items():
            copies[name].append(hashed(some.images))
    return {name: _Packed(originals[name], np.concatenate(copies[name])) for name in methods}, asked


def _encoder(hasher: Hasher) -> HashImages:
    def hashed(images: Sequence[Image.Image | Path]) -> Packed:
        codes: Codes = encode(taken(images), hasher)
        assert not codes.skipped, codes.skipped
        return codes.packed

    return hashed


def _lengths(hasher: Hasher) -> Sequence[int]:
    return nested_lengths(hasher.ref) or [hasher.ref.bits]


def _peers() -> dict[str, HashImages]:
    """Return other hashes of pictures: dhash and, if it is installed, PDQ."""

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
        there = found[(names == edit) & (found >= 0)]
        if len(there):
            values[f"recall, {edit}"] = Measurement(float((there <= scores.radius).mean()))
    return TableRow(run, "Recall at 99 % precision, by edit", dataset, name, family, dict(params), values)


def _examples(
    run: str, known: CopySet, name: str, packed: _Packed, scores: Scores, asked: _Asked
) -> Iterator[Example]:
    """Yield for every edit the first copy that is found at 99 % precision, and the first that is missed."""
    truth, names = asked.truth, np.array(asked.edits)
    within = scores.distances <= scores.radius
    for edit in dict.fromkeys(asked.edits):
        for title, which in (("found", within), ("missed", ~within)):
            places = np.flatnonzero((names == edit) & (truth != NO_ORIGINAL) & which)
            if len(places):
                yield _example(run, known, name, f"{edit}: {title}", packed, int(places[0]), asked)


def _example(run: str, known: CopySet, name: str, title: str, packed: _Packed, query: int, asked: _Asked) -> Example:
    nearest = hamming.top_k(packed.copies[query : query + 1], packed.originals, min(_SHOWN, len(packed.originals)))
    original = int(asked.truth[query])
    apart = int(hamming.distances(packed.copies[query : query + 1], packed.originals[original : original + 1])[0, 0])
    asking = Picture(asked.edits[query], f"{apart} bits from its original", True, asked.pictures[query])
    matches = [
        Picture(
            known.originals[row].name,
            f"distance {distance}",
            row == original,
            _thumbnail(opened(known.originals[row])),
        )
        for row, distance in zip(nearest.ids[0].tolist(), nearest.distances[0].tolist(), strict=True)
    ]
    return Example(run, known.name, name, title, asking, matches)


def _thumbnail(image: Image.Image) -> str:
    small = io.BytesIO()
    ImageOps.contain(image, (_SIDE, _SIDE)).save(small, format="JPEG", quality=85)
    return base64.b64encode(small.getvalue()).decode()
