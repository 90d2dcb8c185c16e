"""Handlers for near-duplicates: find them, and list or move away what was chosen."""

import asyncio
import os
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import Response

from ...duplicates import Cluster, Duplicates
from .. import review
from ..duplicates import KEEP, DuplicateSearch, Rules, spare_ids
from ..files import ImageFolder
from ..queries import MAX_RADIUS
from ..served import ServedIndex
from ..snapshot import Snapshot
from . import reading
from .answers import answer
from .items import file_info
from .problems import Problem, bad_request
from .schemas import (
    ClusterImage,
    ClusterInfo,
    DuplicatesAnswer,
    FailedImage,
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
_PATIENCE = 1.0  # seconds, after which a client is told how far the search has come


async def duplicates(service: Service, request: Request) -> Response:
    """Return clusters of near-duplicates, or how far the search for them has come."""
    served = service.index(request)
    start = reading.place(request)
    limit = reading.whole(request, "limit", _LIMIT, 1, _MOST)
    if reading.known(request, "fresh", ("false", "true")) == "true":
        service.engine.duplicates.forget(served.name)
    search = service.engine.duplicates.of(served, await service.work(_rules, served, request))
    await asyncio.wait([asyncio.wrap_future(search.found)], timeout=_PATIENCE)
    if not search.found.done():
        return answer(Progress(search.done, search.total), 202, {"Retry-After": "1"})
    keep = reading.known(request, "keep", KEEP)
    return answer(await service.work(_page, served.name, search, search.found.result(), keep, start, limit))


async def review_choice(service: Service, request: Request) -> Response:
    """Return the chosen images as a list, or move them to the trash."""
    wanted = await reading.document(request, ReviewRequest)
    served = service.engine.index(wanted.index)
    if wanted.action == "trash":
        return await _trash(service, served, wanted)
    snapshot, folder = served.state
    return await service.work(_listed, snapshot, folder, wanted)


def _listed(snapshot: Snapshot, folder: ImageFolder, wanted: ReviewRequest) -> Response:
    images = review.chosen(snapshot, folder, wanted.remove)
    if wanted.format == "json":
        return answer(Removal([os.fsdecode(image.full) for image in images], review.size_of(folder, images)))
    return Response(
        review.listing(images, wanted.format == "nul"),
        headers={
            "Content-Disposition": 'attachment; filename="transhash-remove.txt"',
            "Cache-Control": "no-store",
        },
        media_type="text/plain" if wanted.format == "lines" else "application/octet-stream",
    )


async def _trash(service: Service, served: ServedIndex, wanted: ReviewRequest) -> Response:
    if not service.allow_trash:
        raise Problem(HTTPStatus.FORBIDDEN, "nothing is deleted here; start the server with --allow-trash")
    if len(wanted.remove) > review.MOST_TRASHED:
        raise bad_request(f"remove: at most {review.MOST_TRASHED} ids to move to the trash at a time")
    if wanted.confirm != len(wanted.remove):
        raise bad_request(f"confirm: must be the number of ids in remove, {len(wanted.remove)}")
    snapshot, folder = served.state
    encoder = service.engine.encoder(snapshot.model)
    gone, failed = await service.work(review.trash, snapshot, folder, encoder, wanted.remove)
    service.engine.duplicates.forget(served.name)
    return answer(
        Trashed(
            [TrashedImage(image.id, os.fsdecode(image.path), size) for image, size in gone],
            [FailedImage(image.id, os.fsdecode(image.path), image.reason) for image in failed],
            sum(size for _, size in gone),
        )
    )


def _rules(served: ServedIndex, request: Request) -> Rules:
    """Return the rules that the parameters describe. Raises SelectionError for a folder that holds no images."""
    radius = reading.whole(request, "radius", -1, 0, MAX_RADIUS)
    folder = served.folder
    return Rules(
        None if radius < 0 else radius,
        reading.known(request, "keep", KEEP),
        tuple(folder.inside(name) for name in reading.several(request, "prefer")),
        tuple(folder.inside(name) for name in reading.several(request, "reference")),
    )


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
                size if size >= 0 else None,
                file.width if file else None,
                file.height if file else None,
                file.modified if file else None,
                shown.labels,
            )
        )
    return ClusterInfo(number, cluster.spare_bytes, images)
