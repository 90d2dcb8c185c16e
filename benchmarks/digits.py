"""Hashers and codes of scikit-learn's digits, made with `th`: data that every installation has."""

import subprocess
import sys
from pathlib import Path

from transhash.datasets import digits
from transhash.errors import ResultsError

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
    parts = digits.split(digits.write(images))
    for name, paths in vars(parts).items():
        (folder / f"{name}.txt").write_text("\n".join(paths) + "\n")
    say(f"digits: training a hasher of {bits} bits")
    trained = ["--bits", str(bits), "--epochs", str(epochs), *_TRAINING.split()]
    _th("train", images, "-o", hasher, "--list", folder / "training.txt", *trained)
    for target, name in ((queries, "queries"), (database, "database")):
        lists = ["--list", folder / f"{name}.txt"]
        _th("encode", images, "-o", target, *lists, "--model", hasher, "--embeddings")
    return database, queries


def _th(*words: object) -> None:
    command = [sys.executable, "-c", "from transhash_cli.main import main; main()", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        raise ResultsError(f"th {words[0]}: {lines[-1] if lines else f'exit code {done.returncode}'}")
