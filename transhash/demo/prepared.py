"""The folder of the demo: photographs, handwritten digits, and the commands to run on them."""

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..report.records import TableRow
from ..system import files
from . import photographs

_MARK = ".th-demo"
_REPORT = "report.html"
_TRAINING = (  # timm's smallest transformer; no mirroring, which would change a digit
    "--backbone test_vit --image-size 32 --patch-size 16 --stride 4 --groups 4 --epochs 25 --batch-size 50 --lr 2e-3 "
    "--schedule cosine --ema 0 --precision fp32 --validation 0 --crop 0.9 --flip 0 --jitter 0"
)
_SHOWN = 4  # queries whose answers are printed


@dataclass(frozen=True)
class Demo:
    """The demo's folder and the files in it.

    Attributes:
        folder: holds everything else.
        queries: images to query with, relative to `images`.
        resumed: whether the folder holds the results of an interrupted demo.
        table: the rows of the comparison in the report, the codes first; empty before the demo ends.
    """

    folder: Path
    queries: list[str] = field(repr=False)
    resumed: bool
    table: list[TableRow] = field(default_factory=list, repr=False)

    @property
    def images(self) -> Path:
        """The folder of images."""
        return self.folder / "images"

    @property
    def photos(self) -> Path:
        """The folder of photographs."""
        return self.folder / "photos"

    @property
    def copies(self) -> Path:
        """The folder of edited copies of the photographs."""
        return self.folder / "copies"

    @property
    def picture(self) -> Path:
        """The picture of some copies and what they find."""
        return self.folder / "copies.jpg"

    @property
    def report(self) -> Path:
        """The report, which is written last."""
        return self.folder / _REPORT

    def codes(self, part: str) -> Path:
        """The codes file of a part: ``photos``, ``copies``, ``queries`` or ``database``."""
        return self.folder / f"{part}.h5"

    def index(self, part: str) -> Path:
        """The index of a part: ``photos`` or ``digits``."""
        return self.folder / f"{part}.index"

    @property
    def hasher(self) -> Path:
        """The trained hasher."""
        return self.folder / "hasher.safetensors"

    def photo_commands(self) -> list[list[str]]:
        """Return the arguments of the `th` commands that the demo runs on the photographs."""
        index, photos, copies = self.index("photos"), self.codes("photos"), self.codes("copies")
        asked = [self.copies / copy.path for copy in photographs.examples()[1::3]]
        commands: list[list[Any]] = [
            ["encode", self.photos, "-o", photos, "--force"],
            ["index", "build", photos, "-o", index],
            ["query", index, *asked],
            ["encode", self.copies, "-o", copies, "--force"],
        ]
        return [list(map(str, command)) for command in commands]

    def digit_commands(self) -> list[list[str]]:
        """Return the same for the digits, except the commands already completed."""
        index, database, queries = self.index("digits"), self.codes("database"), self.codes("queries")
        step = len(self.queries) // _SHOWN
        asked = [self.images / path for path in self.queries[step // 2 :: step]][:_SHOWN]
        train: list[Any] = ["train", self.images, "-o", self.hasher, "--list", self.names("training"), "--bits", 64]
        encode = ["encode", self.images, "--model", self.hasher, "--embeddings", "--force"]
        commands: list[list[Any]] = [
            *([] if self.hasher.exists() else [[*train, *_TRAINING.split()]]),
            *([*encode, "-o", codes, "--list", self.names(codes.stem)] for codes in (database, queries)),
            ["index", "build", database, "-o", index],
            ["index", "info", index],
            ["query", index, *asked, "-k", 5, "--sheet", self.folder / "matches.png"],
            ["eval", database, "--queries", queries],
        ]
        return [list(map(str, command)) for command in commands]

    def names(self, part: str) -> Path:
        """The list of the images of a part: ``queries``, ``training`` or ``database``."""
        return self.folder / f"{part}.txt"


def prepare(folder: Path) -> Demo:
    """Write the digits and the lists of their parts into a folder; `Demo.commands` returns the commands to run.

    A folder in which the demo was interrupted is kept, to resume; one in which it was completed is emptied first.

    Raises OutputError if the folder holds anything else, ResultsError or SourceError if a library is missing.
    """
    from ..datasets import digits
    from ..report.page import check_replaceable

    mark = folder / _MARK
    files.check_replaceable(folder, _is_ours, "a folder made by th demo")
    if folder.exists():
        check_replaceable(folder / _REPORT)
    resumed = mark.is_file() and mark.read_text() == _TRAINING and not Demo(folder, [], False).report.exists()
    if not resumed:
        if mark.exists():
            shutil.rmtree(folder)
        folder.mkdir(exist_ok=True)
        mark.touch()
    parts = digits.split(digits.write(folder / "images"))
    for name, paths in vars(parts).items():
        (folder / f"{name}.txt").write_text("\n".join(paths) + "\n")
    mark.write_text(_TRAINING)
    return Demo(folder, parts.queries, resumed)


def _is_ours(folder: Path) -> bool:
    return folder.is_dir() and ((folder / _MARK).is_file() or not any(folder.iterdir()))
