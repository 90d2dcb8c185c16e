"""Hashers and codes of scikit-learn's digits, made with `th`: data that every installation has."""

from pathlib import Path

from transhash.datasets import digits

from .commands import th
from .suites import say

_TRAINING = (  # a lighter network than that of th demo: a pass over the images takes two seconds
    "--backbone test_vit --image-size 32 --patch-size 16 --stride 8 --groups 0 --loss orthohash --batch-size 50 "
    "--lr 1e-3 --precision fp32 --validation 0 --crop 0.9 --flip 0 --jitter 0"
)


def encoded(folder: Path, bits: int, epochs: int) -> tuple[Path, Path]:
    """Return codes files with embeddings of the database and of the queries; train a hasher if they are not there.

    Raises ResultsError if a command fails.
    """
    images, made = folder / "images", folder / f"{bits} bits, {epochs} epochs"
    hasher, database, queries = made / f"digits-{bits}.safetensors", made / "database.h5", made / "queries.h5"
    if database.exists():  # the last to be written
        return database, queries
    made.mkdir(parents=True, exist_ok=True)
    lists = written(folder)
    say(f"digits: training a hasher of {bits} bits")
    trained = ["--bits", str(bits), "--epochs", str(epochs), *_TRAINING.split()]
    th("train", images, "-o", hasher, "--list", lists["training"], *trained)
    for target, name in ((queries, "queries"), (database, "database")):
        th("encode", images, "-o", target, "--list", lists[name], "--model", hasher, "--embeddings", "--force")
    return database, queries


def written(folder: Path) -> dict[str, Path]:
    """Write the images to ``images/`` in a folder, and return the lists of queries, training images and database."""
    parts = vars(digits.split(digits.write(folder / "images")))
    lists = {name: folder / f"{name}.txt" for name in parts}
    for name, path in lists.items():
        path.write_text("\n".join(parts[name]) + "\n")
    return lists
