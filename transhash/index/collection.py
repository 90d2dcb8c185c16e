"""Open, build and merge indexes: folders on this machine, or collections on a server.

    import transhash

    photos = transhash.open("photos.index")  # or "milvus://localhost:19530/photos"
    matches = photos.search("cat.jpg", k=10, where=transhash.Filter(globs=["cats/*"]))

A server is a class named by an entry point of the group ``transhash.servers``, under the name that its locations
begin with::

    [project.entry-points."transhash.servers"]
    milvus = "milvus_backend:MilvusCollection"

A `transhash.backends.Backend` searches codes in this process and knows rows by position; the core keeps everything
else in the index folder. A server keeps codes, ids, paths, labels and the model's digest itself, so a client needs no
memory for rows that it does not request. Ids are the same in both.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from ..codes import Codes, check_replaceable, open_codes, read_codes, write_codes
from ..errors import BackendError, redacted
from ..system import plugins
from ..system.arguments import checked
from ..system.progress import Progress, silent
from . import kinds, local
from .contract import CodesInput, Collection, K, Params, Server, checked_params
from .index import Index
from .locations import is_server
from .matches import Matches
from .tuning import Tuning, checked_recall

GROUP = "transhash.servers"


@checked
def open(location: str | Path, mmap: bool = False) -> Collection:
    """Open an index folder, or a collection on a server.

    Args:
        location: a folder, or ``milvus://HOST:PORT/NAME``; ``milvus+https://…`` encrypts the connection.
        mmap: map a folder's codes instead of reading them, so that they may be larger than memory.

    Raises TypeError if `location` is not a path or text; IndexFolderError if it is not an index folder; BackendError
    if the server's package is not installed, or the server does not answer or has no such collection.
    """
    if not is_server(location):
        return Index.open(location, mmap)
    if mmap:
        raise BackendError(f"{redacted(str(location))}: is on a server; only an index folder can be mapped")
    return server(location).open(str(location))


def server(location: str | Path) -> type[Server]:
    """Return the class for a location on a server. Raises BackendError if it is not installed or not importable."""
    name = str(location).partition("://")[0].partition("+")[0]
    return cast("type[Server]", plugins.load(GROUP, name, "server", f"pip install '{{package}}[{name}]'"))


@checked
def build_index(
    codes: CodesInput,
    location: str | Path | None = None,
    *,
    type: str | None = None,
    params: Params | None = None,
    recall: float | None = None,
    force: bool = False,
    progress: Progress = silent,
) -> Collection:
    """Build an index of codes, in a folder, on a server or in memory.

    Args:
        codes: `Codes`, or the path of a codes file, which need not fit into memory.
        location: the folder to write, or ``milvus://HOST:PORT/NAME``; None for an index in memory.
        type: for a folder a type of FAISS: ``flat`` (default, exact), ``mih`` (exact), ``ivf``, ``hnsw``, ``hash``,
            ``multihash``, ``auto``, or a name of FAISS's index factory; ``NAME`` or ``NAME:TYPE`` for another
            installed backend. For Milvus ``flat`` or ``ivf``.
        params: parameters of the type, such as ``{"nlist": 1024}``.
        recall: for ``auto``, the share of the true neighbors to find.
        force: replace an index of another model or of another image folder.
        progress: called with the number of codes done and the total.

    Raises TypeError for arguments of another type; CodesError for a damaged codes file; MismatchError if there are
    no codes; BackendError if there is no such type or server, or it refuses the parameters; IndexFolderError if
    something else exists at `location`.
    """
    codes, chosen = kinds.codes_input(codes), checked_params(params)
    if recall is not None:
        chosen["recall"] = max(1, round(100 * checked_recall(recall)))  # a percentage
    if location is None:
        return Index.build(read_codes(codes) if isinstance(codes, Path) else codes, type, chosen)
    if is_server(location):
        with kinds.as_file(codes) as file:
            return server(location).build(file, str(location), type=type, params=chosen, progress=progress)
    folder = Path(location)
    if isinstance(codes, Codes):
        index = Index.build(codes, type, chosen)
        index.save(folder, force=force)
        return index
    backend, kind = kinds.resolve(type)
    if not force:
        with open_codes(codes, embeddings=False) as opened:
            kinds.check_same_contents(folder, opened.header.model, opened.header.root)
    built = local.build(codes, folder, backend, kind, chosen, progress)
    return Index(None, folder, reason=built.reason)


@checked
def merge_indexes(
    locations: Sequence[str | Path], output: str | Path, *, replace: bool = False, force: bool = False
) -> Index:
    """Join index folders of one model into a new one, of the first one's type, and return it.

    The rows of the first keep their ids; those of the others get new ones.

    Args:
        locations: index folders.
        output: the folder to write.
        replace: replace rows with the same paths; otherwise such a path raises SelectionError.
        force: replace an index of another model or image folder at `output`.

    Raises IndexFolderError for a folder that is not an index or not replaceable; MismatchError if they are of
    different models; BackendError if one is on a server, or its type does not keep its codes.
    """
    places = list(locations)
    for place in places:
        if is_server(place):
            raise BackendError(f"{redacted(str(place))}: is on a server; only index folders are merged")
    if not places:
        raise BackendError("no indexes to merge; name one or more folders")
    first, *others = (Index.open(place) for place in places)
    joined = Index(first.local, None)
    joined.merge(others, replace=replace)
    joined.save(output, force=force)
    return joined


@checked
def export_index(location: str | Path | Collection, output: str | Path) -> int:
    """Write the codes of an index to a codes file, in the order of their ids; return the number of rows.

    Args:
        location: an index folder, a collection on a server, or an open one.
        output: codes file to write, replacing an existing one.

    Raises BackendError if the index cannot return its codes; OutputError if `output` is another kind of file;
    OSError if it cannot be written.
    """
    opened = location if isinstance(location, Collection) else open(location)
    check_replaceable(Path(output))
    _, codes = opened.snapshot()
    write_codes(output, codes)
    return len(codes)


@checked
def query(location: str | Path | Collection, queries: Any, k: int | None = None, **options: Any) -> Matches:
    """Open an index and search it once; `Index.search` describes the arguments and errors."""
    opened = location if isinstance(location, Collection) else open(location)
    return opened.search(queries, k, **options)


@checked
def tune(
    location: str | Path | Collection,
    recall: float = 0.95,
    k: int = K,
    *,
    queries: CodesInput | None = None,
    sample: int = 256,
) -> Tuning:
    """Find the lowest value of an index's search parameter that reaches a recall, and store it; see `Index.tune`."""
    opened = location if isinstance(location, Collection) else open(location)
    return opened.tune(recall, k, queries=queries, sample=sample)
