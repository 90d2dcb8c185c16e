"""The evaluation protocols of the hashing literature: the splits into queries, training and database images.

CIFAR-10 is drawn here, from a folder of its images. The others are distributed as lists, which `check` compares with
what papers say of them. Formats and sources: ``docs/protocols.md``.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..errors import SourceError
from ..sources import Item
from ..sources.folder import FolderSource
from ..sources.lists import CLASSES, ListSource
from ..sources.names import SUFFIXES
from ..system import files
from ..system.arguments import checked
from ..system.files import display

SPLIT = "split.json"
FORMAT = "transhash-split"
VERSION = 0
_ENDS_IN_BIT = re.compile(rb"\s[01]\Z").search
_LISTS = {"query": ("query.txt", "test.txt"), "training": ("train.txt",), "database": ("database.txt",)}


@dataclass(frozen=True)
class Protocol:
    """Sizes of a benchmark; None where the literature does not agree.

    Attributes:
        name: its name for `find`.
        queries: number of query images.
        training: number of training images.
        database: number of database images.
        classes: number of classes.
        at: R of the mAP@R that is reported.
        note: one line on the database.
        drawn: the database images if the split is drawn here: ``rest`` is all but the queries and training images,
            ``others`` is all but the queries, ``training`` the training images; None for published lists.
    """

    name: str
    queries: int | None
    training: int | None
    database: int | None
    classes: int | None
    at: int | None
    note: str
    drawn: Literal["rest", "others", "training"] | None = None


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol("cifar10", 1000, 5000, 54_000, 10, 54_000, "training images are not in the database", "rest"),
        Protocol("cifar10-1", 1000, 5000, 59_000, 10, 59_000, "the database is all but the queries", "others"),
        Protocol("cifar10-2", 10_000, 50_000, 50_000, 10, 50_000, "the database is the training images", "training"),
        Protocol(
            "cifar10-transductive", 1000, 5000, 54_000, 10, 54_000, "cifar10, learning from the database too", "rest"
        ),
        Protocol("nuswide21", 2100, 10_500, 193_734, 21, 5000, "the 21 largest classes; all but the queries"),
        Protocol("nuswide81", 5000, 10_000, 168_692, 81, 5000, "all 81 classes; several labels per image"),
        Protocol("imagenet100", 5000, 13_000, 128_503, 100, 1000, "100 classes; queries from the validation images"),
        Protocol(
            "imagenet100-10k", 5000, 10_000, 128_503, 100, 1000, "imagenet100, with 100 training images per class"
        ),
        Protocol("coco", 5000, 10_000, 117_218, 80, 5000, "COCO 2014; several labels per image"),
        Protocol("mirflickr", 1000, 4000, None, None, None, "MIRFLICKR-25K; its database differs between papers"),
    )
}


@dataclass(frozen=True)
class Split:
    """The images of the three parts, with paths relative to one folder.

    Attributes:
        query: the images to search with.
        training: the images to learn from.
        database: the images to search in.
    """

    query: Sequence[Item]
    training: Sequence[Item]
    database: Sequence[Item]

    @property
    def parts(self) -> dict[str, Sequence[Item]]:
        """The three parts by their names."""
        return {"query": self.query, "training": self.training, "database": self.database}

    @property
    def counts(self) -> dict[str, int]:
        """The numbers of images by the names of the parts."""
        return {name: len(part) for name, part in self.parts.items()}

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of all classes, sorted."""
        return tuple(sorted({name for part in self.parts.values() for image in part for name in image.labels}))

    @property
    def identity(self) -> str:
        """A fingerprint of the parts' paths and labels, independent of their order: 12 hexadecimal digits."""
        digest = hashlib.sha256()
        for name, part in self.parts.items():
            digest.update(name.encode() + b"\n")
            for line in sorted(image.path + b"\t" + b"\x1f".join(_sorted_names(image)) + b"\n" for image in part):
                digest.update(line)
        return digest.hexdigest()[:12]


@dataclass(frozen=True)
class Check:
    """The result of `check` for a folder of lists.

    Attributes:
        counts: the numbers of images by the names of the parts.
        classes: number of classes.
        identity: identity of the split.
        unlabelled_queries: how many queries have no label.
        queries_in_database: number of queries that are also in the database.
        training_in_database: number of training images that are also in the database.
    """

    counts: dict[str, int]
    classes: int
    identity: str
    unlabelled_queries: int
    queries_in_database: int
    training_in_database: int


def list_protocols() -> tuple[Protocol, ...]:
    """Return the known protocols, with their numbers of images."""
    return tuple(PROTOCOLS.values())


@checked
def make_protocol(name: str, images: str | Path, output: str | Path, seed: int = 0) -> Split:
    """Draw the split of a protocol from a folder of images, and write it as lists into a folder.

    Args:
        name: name of the protocol, one of `PROTOCOLS`.
        images: a folder with all images of the data set, each in a folder named after its class.
        output: the folder to write: ``query.txt``, ``train.txt``, ``database.txt``, ``classes.txt``, ``split.json``.
        seed: a different seed draws different images.

    Returns:
        The split.

    Raises SourceError if there is no such protocol, it comes as published lists, or the images are not those that it
    needs; OutputError if `output` holds anything but an earlier split.
    """
    protocol, output = find(name), Path(output)
    check_replaceable(output)
    split = draw(protocol, images, seed)
    write(split, output, protocol, seed)
    return split


@checked
def check_protocol(name: str, lists: str | Path) -> Check:
    """Compare the lists in a folder with a protocol: ``query.txt`` or ``test.txt``, ``train.txt``, ``database.txt``.

    Raises SourceError if there is no such protocol, a list is missing, its number of images or that of the classes is
    not the protocol's, or the ``split.json`` beside the lists belongs to another split.
    """
    return check(find(name), lists)


def find(name: str) -> Protocol:
    """Return a protocol by its name. Raises SourceError if there is none."""
    if name not in PROTOCOLS:
        raise SourceError(f"{name}: unknown protocol; available: {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]


def draw(protocol: Protocol, root: str | Path, seed: int = 0) -> Split:
    """Draw the split of a protocol from a folder of images, each in a folder named after its class.

    All images are pooled, whatever folders are above (``train/cat/1.png``, ``test/cat/1.png``). The images of a class
    are ordered by the SHA-256 of ``<seed>/<path relative to root>``; the first are queries, the next training images.

    Raises SourceError if the protocol is not drawn but published, or the images are not those it needs.
    """
    if not (protocol.drawn and protocol.queries and protocol.training and protocol.database and protocol.classes):
        raise SourceError(f"{protocol.name}: comes as published lists; download them, then run: th protocol check")
    pooled = _by_class(root)
    others = protocol.training + protocol.database if protocol.drawn == "rest" else protocol.database
    size = (protocol.queries + others) // protocol.classes
    counts = {name: len(members) for name, members in pooled.items()}
    if len(pooled) != protocol.classes or set(counts.values()) != {size}:
        odd = next((f" ({name!r} has {count})" for name, count in counts.items() if count != size), "")
        raise SourceError(
            f"{root}: {protocol.name} is drawn from {protocol.classes} classes of {size} images, not from "
            f"{len(pooled)} classes of {_range(counts.values())}{odd}; name the folder of all its images"
        )
    queries, training = protocol.queries // protocol.classes, protocol.training // protocol.classes
    query: list[Item] = []
    train: list[Item] = []
    rest: list[Item] = []
    for members in pooled.values():
        ordered = sorted(members, key=lambda image: hashlib.sha256(f"{seed}/".encode() + image.path).digest())
        query += ordered[:queries]
        train += ordered[queries : queries + training]
        rest += ordered[queries + training :]
    database = {"rest": rest, "others": train + rest, "training": train}[protocol.drawn]
    split = Split(*(sorted(part, key=lambda image: image.path) for part in (query, train, database)))
    assert tuple(split.counts.values()) == (protocol.queries, protocol.training, protocol.database)
    return split


def write(split: Split, folder: Path, protocol: Protocol, seed: int) -> None:
    """Write ``query.txt``, ``train.txt``, ``database.txt``, ``classes.txt`` and ``split.json`` into a folder.

    A list has a line for each image: its path, then a 0 or 1 for each class, as `ListSource` reads them. Each file is
    written atomically, ``split.json`` first, so that `check` detects missing files and those of another split.

    Raises SourceError if the folder holds anything but an earlier split, or a name does not fit into a line; OSError
    if it cannot be written.
    """
    check_replaceable(folder)
    classes = split.classes
    texts = {_LISTS[name][0]: b"".join(_lines(part, classes)) for name, part in split.parts.items()}
    about = {
        "format": FORMAT,
        "version": VERSION,
        "protocol": protocol.name,
        "seed": seed,
        "identity": split.identity,
        "counts": split.counts,
        "classes": len(classes),
        "at": protocol.at,
    }
    contents = {
        SPLIT: json.dumps(about, indent=1).encode() + b"\n",
        CLASSES: b"".join(_class_line(name) for name in classes),
        **texts,
    }
    folder.mkdir(exist_ok=True)
    for name, text in contents.items():
        with files.replacing(folder / name) as temporary:
            temporary.write_bytes(text)


def check_replaceable(folder: Path) -> None:
    """Raise OutputError if `folder` exists and is neither empty nor a split that `write` wrote."""
    files.check_replaceable(folder, _is_split, "the folder of a split")


def _is_split(folder: Path) -> bool:
    return folder.is_dir() and (not any(folder.iterdir()) or _described(folder) is not None)


def check(protocol: Protocol, folder: str | Path) -> Check:
    """Compare the lists in a folder with a protocol: ``query.txt`` or ``test.txt``, ``train.txt``, ``database.txt``.

    Raises SourceError if a list is missing, its number of images or that of the classes is not the protocol's, or a
    ``split.json`` beside the lists is that of another split.
    """
    folder = Path(folder)
    split = Split(**{part: list(ListSource(folder, path).entries()) for part, path in lists(folder).items()})
    wanted = {
        "query": protocol.queries,
        "training": protocol.training,
        "database": protocol.database,
        "classes": protocol.classes,
    }
    found = {**split.counts, "classes": len(split.classes)}
    wrong = [name for name, count in wanted.items() if count not in (None, found[name])]
    if wrong:
        expected = ", ".join(f"{name} {wanted[name]}" for name in wrong)
        raise SourceError(
            f"{folder}: {protocol.name} has {expected}, but the lists have "
            f"{', '.join(f'{name} {found[name]}' for name in wrong)}; a line is a path, then a 0 or 1 for each class"
        )
    described = _described(folder)
    if described is not None and described != split.identity:
        raise SourceError(
            f"{folder}: the lists are split {split.identity}, but {SPLIT} is of {described}; write all of them again"
        )
    database = {image.path for image in split.database}
    return Check(
        counts=split.counts,
        classes=len(split.classes),
        identity=split.identity,
        unlabelled_queries=sum(not image.labels for image in split.query),
        queries_in_database=sum(image.path in database for image in split.query),
        training_in_database=sum(image.path in database for image in split.training),
    )


def lists(folder: Path) -> dict[str, Path]:
    """Return where the lists of query, training and database are in a folder, or should be."""
    return {
        part: next((folder / name for name in names if (folder / name).exists()), folder / names[0])
        for part, names in _LISTS.items()
    }


def _by_class(root: str | Path) -> dict[str, list[Item]]:
    """Return the images under a folder by the name of the folder that each lies in."""
    pooled: dict[str, list[Item]] = {}
    for image in FolderSource(root).entries():
        parent = os.path.basename(os.path.dirname(image.path)).decode("utf-8", "backslashreplace")
        if not parent:
            name = display(image.path)
            raise SourceError(f"{root}: {name!r} is not in the folder of a class; move it into one")
        pooled.setdefault(parent, []).append(Item(image.path, (parent,)))
    if not pooled:
        raise SourceError(f"{root}: no images in it; looked for {' '.join(SUFFIXES)}")
    return pooled


def _lines(part: Iterable[Item], classes: Sequence[str]) -> Iterator[bytes]:
    for image in part:
        if image.path.rstrip() != image.path or image.path.splitlines() != [image.path] or _ENDS_IN_BIT(image.path):
            name = display(image.path)
            raise SourceError(f"{name!r} does not fit into a line of a list; rename it")
        bits = b"".join(b" 1" if name in image.labels else b" 0" for name in classes)
        yield image.path + bits + b"\n"


def _class_line(name: str) -> bytes:
    line = name.encode("utf-8")
    if line.strip() != line or len(line.splitlines()) != 1:
        raise SourceError(f"{name!r} does not fit into a line of {CLASSES}; rename the folder")
    return line + b"\n"


def _described(folder: Path) -> str | None:
    """Return the identity in the ``split.json`` of a folder, or None if it is missing or not ours."""
    try:
        about = json.loads((folder / SPLIT).read_bytes())
        return str(about["identity"]) if about["format"] == FORMAT else None
    except (OSError, ValueError, RecursionError, KeyError, TypeError):
        return None


def _sorted_names(image: Item) -> list[bytes]:
    return sorted(name.encode("utf-8") for name in image.labels)


def _range(counts: Iterable[int]) -> str:
    low, high = min(counts), max(counts)
    return f"{low} images" if low == high else f"{low} to {high} images"
