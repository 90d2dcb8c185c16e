"""Convert rows of a database to codes in memory."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..codes import Codes, ModelRef, Records, texts
from ..codes.records import UNKNOWN, label_ids


def codes(
    packed: NDArray[np.uint8],
    paths: Sequence[str],
    labels: Sequence[Sequence[str]],
    model: ModelRef,
    root: bytes,
    stats: tuple[Sequence[int | None], Sequence[int | None]] | None = None,
) -> Codes:
    """Return rows as codes.

    Args:
        packed: (n, bits/8) uint8.
        paths: n whole paths, as `texts.text` writes them.
        labels: the labels of each row, as `texts.label` writes them.
        model: the model that made the codes.
        root: the folder that paths are shown relative to.
        stats: sizes and times of the files, None if they are unknown.
    """
    names: dict[str, int] = {}
    own = [tuple(map(texts.label_name, some)) for some in labels]
    most = max(map(len, own), default=0)
    known = [np.array([UNKNOWN if one is None else one for one in values], np.int64) for values in stats or ()]
    records = Records(
        [texts.place(root, texts.path(path)) for path in paths],
        root,
        label_ids(own, most, names) if most else None,
        tuple(names),
        *(None if (values == UNKNOWN).all() else values for values in known),
    )
    return Codes(packed, records, model)
