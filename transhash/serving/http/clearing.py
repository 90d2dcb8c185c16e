"""Handlers for near-duplicates: find them; check, list or move the images chosen for removal."""

import asyncio
import os
from collections.abc import Iterable, Sequence
from http import HTTPStatus

import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from ...duplicates import Cluster, Duplicates
from .. import review
from ..duplicates import KEEP, DuplicateSearch, Rules, spare_ids
from ..encoder import QueryEncoder
from ..queries import MAX_RADIUS
from ..served import ServedIndex
from . import reading
from .answers import answer
from .items import file_info
from .problems import Problem, bad_request
from .schemas import (
    Checked,
    ClusterImage,
    ClusterInfo,
    ClustersAnswer,
    ClustersRequest,
    DuplicatesAnswer,
    FailedImage,
    GoingImage,
    Progress,
    Removal,
    ReviewRequest,
    Totals,
    Trashed,
    TrashedImage,
)
from .service import Service

_LIMIT = 20
_MOST = 200
_DESCRIBED = 200  # images of a cluster whose files are opened
_SHOWN = 1000  # images that a check describes
_PATIENCE = 1.0  # seconds to wait for a search before its progress is returned instead


async def duplicates(service: Service, request: Request) -> Response:
    """Return clusters of near-duplicates, or the progress of the search for them."""
    served = service.index(request)
    start = reading.place(request)
    limit = reading.whole(request, "limit", _LIMIT, 1, _MOST)
    if reading.known(request, "fresh", ("false", "true")) == "true":
        service.engine.duplicates.forget(served.name)
    radius = reading.whole(request, "radius", -1, 0, MAX_RADIUS)
    keep = reading.known(request, "keep", KEEP)
    folders = reading.several(request, "prefer"), reading.several(request, "reference")
    rules = await service.work(_rules, served, None if radius < 0 else radius, keep, *folders)
    search = service.engine.duplicates.of(served, rules)
    if waiting := await _waiting(search):
        return waiting
    return answer(await service.work(_page, served.name, search, search.found.result(), keep, start, limit))


async def clusters_of(service: Service, request: Request) -> Response:
    """Return the clusters that contain given images."""
    wanted = await reading.document(request, ClustersRequest)
    served = service.engine.index(wanted.index)
    rules = await service.work(_rules, served, wanted.radius, wanted.keep, wanted.prefer, wanted.reference)
    search = service.engine.duplicates.of(served, rules)
    if waiting := await _waiting(search):
        return waiting
    return answer(await service.work(_clusters_of, served.name, search, wanted.ids))


async def review_choice(service: Service, request: Request) -> Response:
    """Check the chosen images, return them as a list, or move them to the trash."""
    wanted = await reading.document(request, ReviewRequest, reading.MAX_REVIEW)
    served = service.engine.index(wanted.index)
    if wanted.action == "trash":
        _check_trash(service, wanted)
    rules = await service.work(_rules, served, wanted.radius, wanted.keep, wanted.prefer, wanted.reference)
    search = service.engine.duplicates.of(served, rules, stale=True)
    if waiting := await _waiting(search):
        return waiting
    if wanted.action != "trash":
        return await service.result(service.engine.review(_checked, search, rules, wanted))
    encoder = service.engine.encoder(search.snapshot.model)
    try:
        moved = await service.result(service.engine.review(_moved, search, rules, wanted, encoder))
    finally:
        service.engine.duplicates.forget(served.name)
    return answer(
        Trashed(
            [TrashedImage(image.id, os.fsdecode(image.path), image.bytes) for image in moved.going],
            _failed(moved.refused),
            moved.bytes,
        )
    )


async def _waiting(search: DuplicateSearch) -> Response | None:
    """Wait for a search; if it takes long, return its progress."""
    await asyncio.wait([asyncio.wrap_future(search.found)], timeout=_PATIENCE)
    if search.found.done():
        return None
    return answer(Progress(search.done, search.total), 202, {"Retry-After": "1"})


def _reviewed(search: DuplicateSearch, rules: Rules, wanted: ReviewRequest) -> review.Review:
    return review.Review(search, search.found.result(), rules.reference, wanted.remove, wanted.last_copies)


def _checked(search: DuplicateSearch, rules: Rules, wanted: ReviewRequest) -> Response:
    """Check the files, and return the images that may be removed, or a list of them."""
    reviewed = _reviewed(search, rules, wanted)
    judged = reviewed.judge()
    if wanted.action == "check":
        return answer(_described(reviewed, judged))
    data = review.listing(judged, wanted.format != "lines")
    if wanted.format == "json":
        paths = [os.fsdecode(image.full) for image in judged.going]
        headers = {"Content-Disposition": 'attachment; filename="transhash-remove.json"'}
        return answer(Removal(paths, judged.freed), headers=headers)
    return Response(
        data,
        headers={
            "Content-Disposition": 'attachment; filename="transhash-remove.txt"',
            "Cache-Control": "no-store",
        },
        media_type="text/plain" if wanted.format == "lines" else "application/octet-stream",
    )


def _described(reviewed: review.Review, judged: review.Judged) -> Checked:
    going = []
    for image in sorted(judged.going, key=lambda image: bool(image.stays))[:_SHOWN]:  # last copies first
        stays = image.stays[0] if image.stays else None
        id = None if stays is None else reviewed.id(stays)
        path = None if stays is None else os.fsdecode(reviewed.path(stays))
        going.append(GoingImage(image.id, os.fsdecode(image.path), image.bytes, id, path))
    broken = any(b"\n" in image.full or b"\r" in image.full for image in judged.going)
    return Checked(len(judged.going), judged.freed, broken, going, _failed(judged.refused))


def _check_trash(service: Service, wanted: ReviewRequest) -> None:
    if not service.allow_trash:
        raise Problem(HTTPStatus.FORBIDDEN, "nothing is deleted here; start the server with --allow-trash")
    if len(wanted.remove) > review.MOST_TRASHED:
        raise bad_request(f"remove: at most {review.MOST_TRASHED} ids to move to the trash at a time")
    if wanted.confirm != len(wanted.remove):
        raise bad_request(f"confirm: must be the number of ids in remove, {len(wanted.remove)}")


def _moved(search: DuplicateSearch, rules: Rules, wanted: ReviewRequest, encoder: QueryEncoder) -> review.Moved:
    return review.Mover(_reviewed(search, rules, wanted), search, encoder).run()


def _failed(images: Iterable[review.Failed]) -> list[FailedImage]:
    return [FailedImage(image.id, os.fsdecode(image.path), image.reason) for image in images]


def _rules(
    served: ServedIndex, radius: int | None, keep: str, prefer: Sequence[str], reference: Sequence[str]
) -> Rules:
    """Return the rules of a request. Raises SelectionError for a folder that holds no images."""
    folder = served.folder
    return Rules(radius, keep, tuple(map(folder.inside, prefer)), tuple(map(folder.inside, reference)))


def _page(
    name: str, search: DuplicateSearch, found: Duplicates, keep: str, start: int, limit: int
) -> DuplicatesAnswer:
    stop = min(start + limit, len(found))
    clusters = [_cluster(search, number + 1, found[number]) for number in range(start, stop)]
    totals = Totals(
        len(found),
        sum(map(len, found)),
        len(found.spare),
        found.spare_bytes,
        sum(map(_larger, found)),
        found.chained,
        len(found.changed),
        len(found.missing),
        len(found.unverified),
    )
    return DuplicatesAnswer(
        name,
        search.snapshot.generation,
        found.radius,
        keep,
        clusters,
        totals,
        str(stop) if stop < len(found) else None,
        spare_ids(search, found) if not start else None,
    )


def _larger(cluster: Cluster) -> int:
    """Return how many spare images have larger files than every one that stays."""
    spare = np.array([role == "spare" for role in cluster.roles])
    stays = np.array([role in ("kept", "unrelated", "reference") for role in cluster.roles])
    return int((cluster.sizes[spare] > cluster.sizes[stays].max()).sum()) if stays.any() else 0


def _clusters_of(name: str, search: DuplicateSearch, ids: Sequence[int]) -> ClustersAnswer:
    """Return the clusters that contain any of the ids, each once; ids that are not in the index are ignored."""
    found = search.found.result()
    known = search.ids.of(np.arange(len(search.ids)))
    rows = np.flatnonzero(np.isin(known, np.array(ids, np.int64)))
    numbers = np.unique(search.clusters_of(rows))
    clusters = [_cluster(search, number + 1, found[number]) for number in numbers.tolist() if number >= 0]
    return ClustersAnswer(name, search.snapshot.generation, clusters)


def _cluster(search: DuplicateSearch, number: int, cluster: Cluster) -> ClusterInfo:
    ids = search.ids.of(cluster.ids)
    images = []
    for place, (id, shown) in enumerate(zip(ids.tolist(), search.snapshot.shown(ids), strict=True)):
        size = int(cluster.sizes[place])
        file = file_info(search.folder, shown.path) if place < _DESCRIBED else None
        images.append(
            ClusterImage(
                id,
                os.fsdecode(shown.path),
                int(cluster.distances[place]),
                cluster.roles[place],
                bool(cluster.protected[place]),
                int(cluster.files[place]),
                int(cluster.freed[place]),
                size if size >= 0 else None,
                file.width if file else None,
                file.height if file else None,
                file.modified if file else None,
                shown.labels,
            )
        )
    return ClusterInfo(number, cluster.spare_bytes, images)
