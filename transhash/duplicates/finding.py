"""Find clusters of near-duplicates, each around the image to keep."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray

from ..errors import BackendError, SelectionError
from ..hashers import rarity_of
from ..index.ids import RowIds
from ..index.verdicts import UNRELATED, Verdicts
from ..system.arguments import checked
from ..system.files import display
from ..system.progress import Progress, silent
from .grouping import grouped
from .linking import components
from .on_disk import ImageFile, State, files_of, inside
from .opening import Images, opened
from .radius import chance_pairs, default_radius

KEEP = ("largest", "oldest", "path")
_MAX_RADIUS = 1024
_KEPT = (State.PRESENT, State.ARCHIVED)
_BEST_FIRST = (*_KEPT, State.UNVERIFIED, State.CHANGED, State.MISSING)


@dataclass(frozen=True, eq=False)
class Cluster:
    """An image and the others within the radius around it.

    The first image is the one to keep. If none of the files can be kept, `kept` is None.

    Attributes:
        ids: (m,) int64, ids of the rows in the index, or their positions in the codes.
        distances: (m,) int32, Hamming distances to the first; at most the radius.
        sizes: (m,) int64, current file sizes in bytes; -1 for missing files.
        paths: the m paths.
        verdicts: what each distance means, as in `transhash.Match.verdict`.
        roles: "kept", "spare", "reference" (in a reference folder, never spare), "changed" (since it was encoded),
            "archived" (a member of an archive, never spare), "unrelated" (by its verdict, never spare), "unverified"
            (it may have changed) or "missing".
        files: (m,) int64, a number for each distinct file, equal for rows of the same file (links, hard links).
        freed: (m,) int64, the bytes that removing all rows of the file frees; 0 while it has another name.
        protected: (m,) bool, whether the file is in a reference folder.
        spare_bytes: the bytes that removing the spare files frees.
    """

    ids: NDArray[np.int64]
    distances: NDArray[np.int32]
    sizes: NDArray[np.int64]
    paths: list[str]
    verdicts: list[str | None]
    roles: list[str]
    files: NDArray[np.int64]
    freed: NDArray[np.int64]
    protected: NDArray[np.bool_]
    spare_bytes: int

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.ids)

    def __repr__(self) -> str:
        """Describe the cluster in one line."""
        kept = "none can be kept" if self.kept is None else f"{self.kept!r} kept"
        return f"<Cluster of {len(self)} images: {kept}, {len(self.spare)} spare>"

    @property
    def kept(self) -> str | None:
        """Path of the image to keep; its file exists and is unchanged since it was encoded."""
        return self.paths[0] if self.roles[0] == "kept" else None

    @property
    def spare(self) -> list[str]:
        """Paths of the images that can be removed; none of them is another name of the kept file."""
        return [path for path, role in zip(self.paths, self.roles, strict=True) if role == "spare"]


@dataclass(frozen=True, eq=False)
class Duplicates(Sequence[Cluster]):
    """The clusters of a collection, the largest first, equal sizes by the lowest row.

    Attributes:
        clusters: the clusters, each of at least two images.
        radius: largest Hamming distance of near-duplicates, in bits.
        chained: number of images that are not spare although others connect them to an image that is kept: no image
            that is kept is within the radius of them.
        changed: paths of files that have changed since they were encoded; encode them again.
        missing: paths of files that no longer exist.
        unverified: paths of files of which it is unknown whether they have changed, because their sizes and times at
            encoding were not stored.
        chance_pairs: pairs of unrelated images that are expected within the radius, by the distances between these
            images; 0 for fewer than 100 images.
    """

    clusters: list[Cluster]
    radius: int
    chained: int
    changed: list[str]
    missing: list[str]
    unverified: list[str]
    chance_pairs: float = 0.0

    def __len__(self) -> int:
        """Return the number of clusters."""
        return len(self.clusters)

    @overload
    def __getitem__(self, index: int) -> Cluster: ...
    @overload
    def __getitem__(self, index: slice) -> list[Cluster]: ...
    def __getitem__(self, index: int | slice) -> Cluster | list[Cluster]:
        """Return a cluster, or the clusters of a slice."""
        return self.clusters[index]

    def __iter__(self) -> Iterator[Cluster]:
        """Yield the clusters."""
        return iter(self.clusters)

    def __repr__(self) -> str:
        """Describe the result in one line."""
        images, spare = sum(map(len, self.clusters)), len(self.spare)
        bits = f"{self.radius} bit{'s' if self.radius != 1 else ''}"
        clusters = f"{len(self)} cluster{'s' * (len(self) != 1)}"
        return f"<Duplicates: {clusters} of {images} images within {bits}, {spare} spare>"

    def write_html(self, path: str | Path) -> None:
        """Draw the clusters on an HTML page, where the selection can be changed and saved as a list.

        Shows clusters until they hold 1,000 images. Deletes nothing. Raises OutputError if `path` exists and is not
        an earlier page.
        """
        from ..report.gallery import Tile, write_clusters  # loads Pillow and Jinja

        tiles = [
            [
                Tile(path, distance, (), role, size, verdict, freed, protected)
                for path, distance, role, size, verdict, freed, protected in zip(
                    cluster.paths,
                    cluster.distances.tolist(),
                    cluster.roles,
                    cluster.sizes.tolist(),
                    cluster.verdicts,
                    cluster.freed.tolist(),
                    cluster.protected.tolist(),
                    strict=True,
                )
            ]
            for cluster in self
        ]
        write_clusters(Path(path), tiles, self.radius)

    @property
    def doubtful(self) -> bool:
        """Whether the codes do not tell the images apart: more than a tenth of the pairs may be there by chance."""
        found = sum(len(cluster) - 1 for cluster in self.clusters)
        return self.chance_pairs > max(1.0, found / 10)

    @property
    def spare(self) -> list[str]:
        """Paths of all images that can be removed."""
        return [path for cluster in self.clusters for path in cluster.spare]

    @property
    def spare_bytes(self) -> int:
        """The bytes that removing the spare files frees."""
        return sum(cluster.spare_bytes for cluster in self.clusters)


@checked
def dedup(
    images: Images,
    radius: int | None = None,
    *,
    keep: str = "largest",
    prefer: Sequence[str | Path] = (),
    reference: Sequence[str | Path] = (),
    on_rows: Progress = silent,
) -> Duplicates:
    """Find near-duplicates and decide which image of each cluster to keep. Deletes nothing.

    The files are checked: rows of the same file (links, hard links, a file listed twice) count once, and a file that
    is missing, has changed since it was encoded, or whose size and time were not stored, is neither kept nor spare.
    Every spare image is within `radius` of the kept one, which is a different file. A member of an archive exists if
    its archive does, which may have been replaced; so a member is never spare, nor is a file because of a member.

    Args:
        images: an index, codes, or the path of an index folder or a codes file. Ids are positions for codes.
        radius: bits, 0 to 1024; the model's default (docs/search.md) if None.
        keep: which image to keep: the "largest" file, the "oldest" change, or the first "path" in alphabetical order.
        prefer: folders whose images are preferred.
        reference: folders whose images are always kept.
        on_rows: called with the number of distinct codes compared so far, and the total.

    Raises BackendError for an invalid radius or rule, or if the index type does not keep its codes; SelectionError if
    a folder does not exist; TypeError for another type of `images`; and what reading the index or codes file raises.
    """
    codes, ids = opened(images)
    radius = default_radius(codes.model, len(codes)) if radius is None else radius
    if not 0 <= radius <= _MAX_RADIUS:
        raise BackendError(f"radius={radius}: must be from 0 to {_MAX_RADIUS}")
    if keep not in KEEP:
        raise BackendError(f"keep={keep!r}: choose one of {', '.join(KEEP)}")
    linked = components(codes.packed, int(radius), on_rows)
    together = np.bincount(linked)[linked] > 1
    rows = np.flatnonzero(together)
    files = files_of(rows, codes.packed[rows], codes.records.take(together))
    protected = inside(files, reference, "reference")
    order = _order(files, keep, protected, inside(files, prefer, "prefer"))
    firsts = np.array([file.rows[0] for file in files], np.int64)
    groups, chained = grouped(codes.packed[firsts], linked[firsts], order, int(radius))
    rarity = rarity_of(codes.model)
    verdicts = Verdicts.of(rarity, len(codes)) if rarity else None
    clusters = [_cluster(files, group, distances, protected, verdicts, ids) for group, distances in groups]
    clusters.sort(key=lambda cluster: (-len(cluster), int(cluster.ids.min())))
    changed, missing, unverified = (
        _paths(files, state) for state in (State.CHANGED, State.MISSING, State.UNVERIFIED)
    )
    by_chance = chance_pairs(codes.packed, int(radius))
    return Duplicates(clusters, int(radius), chained, changed, missing, unverified, by_chance)


def spare_lines(found: Duplicates, null: bool) -> list[bytes]:
    """Return the spare paths as bytes, for a list with one per line or, with `null`, each terminated by a NUL byte.

    Raises SelectionError without `null` if a path contains a line break, which would split it in two.
    """
    paths = [os.fsencode(path) for path in found.spare]
    for path in paths:
        if not null and (b"\n" in path or b"\r" in path):
            raise SelectionError(
                f"{display(path)}: the name contains a line break; separate paths by NUL bytes with -0"
            )
    return paths


def _order(
    files: Sequence[ImageFile], keep: str, protected: NDArray[np.bool_], preferred: NDArray[np.bool_]
) -> list[int]:
    """Return the positions of files in order of preference."""

    def rank(index: int) -> tuple[object, ...]:
        file = files[index]
        rule = {"largest": -file.size, "oldest": file.mtime, "path": min(file.paths)}[keep]
        return _BEST_FIRST.index(file.state), not protected[index], not preferred[index], rule, file.rows[0]

    return sorted(range(len(files)), key=rank)


def _cluster(
    files: Sequence[ImageFile],
    group: NDArray[np.int64],
    distances: NDArray[np.int32],
    protected: NDArray[np.bool_],
    verdicts: Verdicts | None,
    ids: RowIds,
) -> Cluster:
    """Return a group of files as a cluster, with a row for every name of each file."""
    kept = files[group[0]].state in _KEPT
    rows, roles, sizes, paths, apart, places, freed = [], [], [], [], [], [], 0
    frees = [files[index].frees(files[index].paths) for index in group]
    for place, (index, distance) in enumerate(zip(group.tolist(), distances.tolist(), strict=True)):
        file = files[index]
        verdict = verdicts.verdict(distance) if verdicts else None
        role = "kept" if kept and index == group[0] else _role(file, bool(protected[index]), kept, verdict)
        freed += frees[place] if role == "spare" else 0
        for row, path in zip(file.rows, file.paths, strict=True):
            places.append(place)
            rows.append(row)
            roles.append(role)
            sizes.append(file.size)
            paths.append(os.fsdecode(path))
            apart.append(distance)
    numbers = np.array(rows, np.int64)
    return Cluster(
        ids.of(numbers),
        np.array(apart, np.int32),
        np.array(sizes, np.int64),
        paths,
        [verdicts.verdict(distance) if verdicts else None for distance in apart],
        roles,
        np.array(places, np.int64),
        np.array(frees, np.int64)[places],
        protected[group][places],
        freed,
    )


def _role(file: ImageFile, protected: bool, kept: bool, verdict: str | None) -> str:
    if not kept or file.state is not State.PRESENT:
        return str(file.state)
    if protected:
        return "reference"
    return "unrelated" if verdict == UNRELATED else "spare"


def _paths(files: Sequence[ImageFile], state: State) -> list[str]:
    return [os.fsdecode(path) for file in files if file.state is state for path in file.paths]
