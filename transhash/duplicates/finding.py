"""Clusters of near-duplicates, each around the image that is kept."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray

from .. import hamming
from ..codes import UNKNOWN
from ..errors import BackendError, SelectionError
from ..hashers import rarity_of
from ..index.ids import RowIds
from ..index.verdicts import Verdicts
from ..system.arguments import checked
from ..system.files import display
from ..system.progress import Progress, silent
from .linking import bounds, components
from .on_disk import ImageFile, State, files_of, inside, mark_stale
from .opening import Images, opened
from .radius import default_radius

KEEP = ("largest", "oldest", "path")
_HITS = 1 << 22  # pairs of a cluster's centres and other images held at a time
_MAX_RADIUS = 1024


@dataclass(frozen=True, eq=False)
class Cluster:
    """An image and others within the radius of it.

    The first image is the one that is kept, unless no file of the cluster can be: then `kept` is None.

    Attributes:
        ids: (m,) int64, ids of the rows in the index, or their positions in the codes.
        distances: (m,) int32, bits in which each differs from the first; at most the radius.
        sizes: (m,) int64, bytes of the files now; -1 where they are not there.
        paths: the m paths.
        verdicts: what each distance says, as `transhash.Match.verdict`.
        roles: what each is: "kept", "spare", "reference" (in a reference folder, never spare), "changed" (since
            it was encoded) or "missing".
        spare_bytes: bytes of the spare files; a file with several names counts once.
    """

    ids: NDArray[np.int64]
    distances: NDArray[np.int32]
    sizes: NDArray[np.int64]
    paths: list[str]
    verdicts: list[str | None]
    roles: list[str]
    spare_bytes: int

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.ids)

    def __repr__(self) -> str:
        """Describe the cluster in one line."""
        kept = "nothing that could be kept" if self.kept is None else f"{self.kept!r} kept"
        return f"<Cluster of {len(self)} images: {kept}, {len(self.spare)} spare>"

    @property
    def kept(self) -> str | None:
        """Path of the image that is kept; it is there, and as it was encoded."""
        return self.paths[0] if self.roles[0] == "kept" else None

    @property
    def spare(self) -> list[str]:
        """Paths of the images that are not needed beside the one that is kept; none is another name of it."""
        return [path for path, role in zip(self.paths, self.roles, strict=True) if role == "spare"]


@dataclass(frozen=True, eq=False)
class Duplicates(Sequence[Cluster]):
    """The clusters of a collection, the largest first; of equals, by the lowest row.

    Attributes:
        clusters: the clusters, each of two images or more.
        radius: bits within which images are near-duplicates.
        chained: images that are linked to a cluster's first image only by way of others, and so are not in it.
        changed: paths of files that have changed since they were encoded: encode them again.
        missing: paths of files that are not there any more.
    """

    clusters: list[Cluster]
    radius: int
    chained: int
    changed: list[str]
    missing: list[str]

    def __len__(self) -> int:
        """Return the number of clusters."""
        return len(self.clusters)

    @overload
    def __getitem__(self, place: int) -> Cluster: ...
    @overload
    def __getitem__(self, place: slice) -> list[Cluster]: ...
    def __getitem__(self, place: int | slice) -> Cluster | list[Cluster]:
        """Return a cluster, or the clusters of a slice."""
        return self.clusters[place]

    def __iter__(self) -> Iterator[Cluster]:
        """Yield the clusters."""
        return iter(self.clusters)

    def __repr__(self) -> str:
        """Describe the answer in one line."""
        images, spare = sum(map(len, self.clusters)), len(self.spare)
        bits = f"{self.radius} bit{'s' if self.radius != 1 else ''}"
        return f"<Duplicates: {len(self)} clusters of {images} images within {bits}, {spare} spare>"

    def write_html(self, path: str | Path) -> None:
        """Draw the clusters side by side as one page of HTML, on which the choice can be changed and saved as a list.

        As many clusters are drawn as have 1,000 images. Nothing is deleted. Raises OutputError if anything but an
        earlier page stands at `path`.
        """
        from ..report.gallery import Tile, write_clusters  # loads Pillow and Jinja

        tiles = [
            [
                Tile(path, distance, role=role, size=size, verdict=verdict)
                for path, distance, role, size, verdict in zip(
                    cluster.paths,
                    cluster.distances.tolist(),
                    cluster.roles,
                    cluster.sizes.tolist(),
                    cluster.verdicts,
                    strict=True,
                )
            ]
            for cluster in self
        ]
        write_clusters(Path(path), tiles, self.radius)

    @property
    def spare(self) -> list[str]:
        """Paths of all images that are not needed beside those that are kept."""
        return [path for cluster in self.clusters for path in cluster.spare]

    @property
    def spare_bytes(self) -> int:
        """Bytes of the spare files."""
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
    """Find near-duplicates and decide which image of each cluster is kept. Nothing is deleted.

    The files are looked at: rows of one file (links, hard links, a file listed twice) count once, and a file that is
    gone or has changed since it was encoded is neither kept nor spare. Every spare image lies within `radius` of the
    one that is kept, which is another file. A member of an archive counts as there if its archive is; a file is never
    spare because of a member.

    Args:
        images: an index, codes, or the path of an index folder or a codes file. Ids are positions for codes.
        radius: bits, 0 to 1024; `default_radius` of the model if None.
        keep: the image that is kept: "largest" file, "oldest" change, or first "path" in alphabetical order.
        prefer: folders whose images are kept rather than others.
        reference: folders whose images are always kept.
        on_rows: called with the number of distinct codes compared so far, and the total.

    Raises BackendError for a bad radius or rule, or if the index's type does not keep its codes; SelectionError if a
    folder is not there; TypeError for anything else than images; and what reading the index or codes file raises.
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
    if (codes.records.mtimes is None or (codes.records.mtimes == UNKNOWN).any()) and files:
        mark_stale(files, codes.records.take(~together))
    protected = inside(files, reference, "reference")
    order = _order(files, keep, protected, inside(files, prefer, "prefer"))
    firsts = np.array([file.rows[0] for file in files], np.int64)
    groups, chained = _grouped(codes.packed[firsts], linked[firsts], order, int(radius))
    rarity = rarity_of(codes.model)
    verdicts = Verdicts.of(rarity, len(codes)) if rarity else None
    clusters = [_cluster(files, group, distances, protected, verdicts, ids) for group, distances in groups]
    clusters.sort(key=lambda cluster: (-len(cluster), int(cluster.ids.min())))
    return Duplicates(clusters, int(radius), chained, _paths(files, State.CHANGED), _paths(files, State.MISSING))


def spare_lines(found: Duplicates, null: bool) -> list[bytes]:
    """Return the spare paths as bytes, one for each line of a list or, with `null`, each before a NUL byte.

    Raises SelectionError without `null` if a path contains a line break, since a reader would take it for two.
    """
    paths = [os.fsencode(path) for path in found.spare]
    for path in paths:
        if not null and (b"\n" in path or b"\r" in path):
            raise SelectionError(f"{display(path)}: a line break in a name; end paths in NUL bytes with -0")
    return paths


def _order(
    files: Sequence[ImageFile], keep: str, protected: NDArray[np.bool_], preferred: NDArray[np.bool_]
) -> list[int]:
    """Return the positions of files in the order in which they are kept."""
    state = {State.PRESENT: 0, State.ARCHIVED: 1, State.CHANGED: 2, State.MISSING: 3}

    def rank(place: int) -> tuple[object, ...]:
        file = files[place]
        rule = {"largest": -file.size, "oldest": file.mtime, "path": min(file.paths)}[keep]
        return state[file.state], not protected[place], not preferred[place], rule, file.rows[0]

    return sorted(range(len(files)), key=rank)


def _grouped(
    codes: NDArray[np.uint8], linked: NDArray[np.int64], order: Sequence[int], radius: int
) -> tuple[list[tuple[NDArray[np.int64], NDArray[np.int32]]], int]:
    """Put every file around the first in `order` that is within the radius of it.

    Returns the groups of two files or more, as positions and distances, the centre first; and how many files are
    linked to the first centre of their component only by way of others.
    """
    places = np.array(order, np.int64)
    by_component = places[np.argsort(linked[places], kind="stable")]
    groups, chained = [], 0
    for start, stop in pairwise(bounds(linked[by_component])):
        first = True
        for group, distances in _stars(codes, by_component[start:stop], radius):
            chained += 0 if first else len(group)
            first = False
            if len(group) > 1:
                groups.append((group, distances))
    return groups, chained


def _stars(
    codes: NDArray[np.uint8], waiting: NDArray[np.int64], radius: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int32]]]:
    """Yield the first of the waiting positions with all that are within the radius of it, and so on with the rest."""
    while len(waiting):
        pool = codes[waiting]
        free = np.ones(len(waiting), np.bool_)
        batch = max(1, _HITS // len(waiting))
        found = hamming.within(pool[:batch], pool, radius)
        for centre in range(len(found)):
            if free[centre]:
                near, distances = found.row(centre)
                taken = free[near] & (near != centre)
                members = near[taken]
                free[members] = free[centre] = False
                group = np.concatenate([[centre], members])
                yield waiting[group], np.concatenate([[0], distances[taken]]).astype(np.int32)
        waiting = waiting[free]


def _cluster(
    files: Sequence[ImageFile],
    group: NDArray[np.int64],
    distances: NDArray[np.int32],
    protected: NDArray[np.bool_],
    verdicts: Verdicts | None,
    ids: RowIds,
) -> Cluster:
    """Return a group of files as a cluster, with a row for every name of a file."""
    kept = files[group[0]].state in (State.PRESENT, State.ARCHIVED)
    rows, roles, sizes, paths, apart, freed = [], [], [], [], [], 0
    for place, distance in zip(group.tolist(), distances.tolist(), strict=True):
        file = files[place]
        role = "kept" if kept and place == group[0] else _role(file, bool(protected[place]), kept)
        freed += max(0, file.size) if role == "spare" else 0
        for row, path in zip(file.rows, file.paths, strict=True):
            rows.append(row)
            roles.append(role)
            sizes.append(file.size)
            paths.append(os.fsdecode(path))
            apart.append(distance)
    numbers = np.array(rows, np.int64)
    said = [verdicts.verdict(distance) if verdicts else None for distance in apart]
    return Cluster(ids.of(numbers), np.array(apart, np.int32), np.array(sizes, np.int64), paths, said, roles, freed)


def _role(file: ImageFile, protected: bool, kept: bool) -> str:
    if not kept or file.state in (State.CHANGED, State.MISSING):
        return str(file.state)
    return "reference" if protected else "spare"


def _paths(files: Sequence[ImageFile], state: State) -> list[str]:
    return [os.fsdecode(path) for file in files if file.state is state for path in file.paths]
