"""The 1,797 handwritten digits that ship inside scikit-learn (Alpaydin & Kaynak, 1998; 8 × 8 pixels, 16 greys)."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import SourceError

QUERIES = 20  # per class
TRAINING = 100  # per class; the rest is the database
SEED = 0


@dataclass(frozen=True)
class Split:
    """Paths relative to the folder of images; no image is in two parts."""

    queries: list[str]
    training: list[str]
    database: list[str]


def write(folder: Path) -> list[tuple[str, int]]:
    """Write the digits as ``<label>/<number>.png`` under `folder`; return (path, label) in the data set's order.

    Raises SourceError if scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise SourceError("the digits need scikit-learn; install it with: pip install 'transhash[demo]'") from None
    digits = load_digits()
    for label in range(10):
        (folder / str(label)).mkdir(parents=True, exist_ok=True)
    grey = np.rint(digits.images * 255 / 16).astype(np.uint8)
    written = [(f"{label}/{number:04d}.png", int(label)) for number, label in enumerate(digits.target)]
    for pixels, (name, _) in zip(grey, written, strict=True):
        Image.fromarray(pixels).save(folder / name)
    return written


def split(images: list[tuple[str, int]]) -> Split:
    """Draw queries, training images and database, class by class, with a fixed seed."""
    rng = np.random.default_rng(SEED)
    parts: tuple[list[str], list[str], list[str]] = ([], [], [])
    for label in sorted({label for _, label in images}):
        paths = [path for path, name in images if name == label]
        shuffled = [paths[place] for place in rng.permutation(len(paths))]
        for part, (start, end) in zip(
            parts, ((0, QUERIES), (QUERIES, QUERIES + TRAINING), (QUERIES + TRAINING, None)), strict=True
        ):
            part += sorted(shuffled[start:end])
    return Split(*parts)
