"""Train hashers on the digits of scikit-learn and encode them, with `th`: a data set that needs no download."""

from pathlib import Path

from transhash.datasets import digits

from .commands import th
from .suites import show_progress

_TRAINING = (  # a smaller network than in th demo: one epoch takes two seconds
    "--backbone test_vit --image-size 32 --patch-size 16 --stride 8 --groups 0 --loss orthohash --batch-size 50 "
    "--lr 1e-3 --precision fp32 --validation 0 --crop 0.9 --flip 0 --jitter 0"
)


def encoded(folder: Path, bits: int, epochs: int) -> tuple[Path, Path]:
    """Return the codes files of database and queries, with embeddings; train a hasher first if they do not exist.

    Raises ResultsError if a `th` command fails.
    """
    images, output = folder / "images", folder / f"{bits} bits, {epochs} epochs"
    hasher, database, queries = output / f"digits-{bits}.safetensors", output / "database.h5", output / "queries.h5"
    if database.exists():  # written last
        return database, queries
    output.mkdir(parents=True, exist_ok=True)
    lists = written(folder)
    show_progress(f"digits: training a hasher of {bits} bits")
    options = ["--bits", str(bits), "--epochs", str(epochs), *_TRAINING.split()]
    th("train", images, "-o", hasher, "--list", lists["training"], *options)
    for target, name in ((queries, "queries"), (database, "database")):
        th("encode", images, "-o", target, "--list", lists[name], "--model", hasher, "--embeddings", "--force")
    return database, queries


def written(folder: Path) -> dict[str, Path]:
    """Write the images to ``images/`` in a folder, and return the list files: queries, training and database."""
    parts = vars(digits.split(digits.write(folder / "images")))
    lists = {name: folder / f"{name}.txt" for name in parts}
    for name, path in lists.items():
        path.write_text("\n".join(parts[name]) + "\n")
    return lists
