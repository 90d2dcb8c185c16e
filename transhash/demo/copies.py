"""The demo's first chapter: which of the edited copies find their originals, as a picture and as records."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from ..codes import read_codes
from ..index.collection import open as open_index
from ..index.matches import Match
from ..report.records import Example, Measurement, Picture, Record, Run, TableRow
from ..report.sheet import Strip, Thumbnail, draw
from ..report.thumbnails import thumbnail
from ..system import files
from .photographs import MADE, SEED, Copy, examples
from .prepared import Demo

_RUN = "copies"
_SHOWN = 3  # matches of an example
_COLUMNS = 2  # columns of the picture
_SIDE = 160  # pixels of a thumbnail in the report
_FOUND, _MISSED = "#1a8250", "#c93a30"
_QUERY, _OTHER = "#2a6fdb", "#d5d5d2"


@dataclass(frozen=True)
class Answer:
    """The photographs ordered by their distance to a copy.

    Attributes:
        copy: the copy that was searched for.
        matches: every photograph, nearest first.
    """

    copy: Copy
    matches: Sequence[Match]

    @property
    def original(self) -> Match:
        """The original of the copy."""
        return next(match for match in self.matches if self.shows(match))

    @property
    def found(self) -> bool:
        """Whether a search without options returns the original."""
        return self.original.verdict != "unrelated"

    @property
    def others(self) -> int:
        """The number of other photographs that such a search returns."""
        return sum(match.verdict != "unrelated" for match in self.matches) - self.found

    @property
    def outcome(self) -> str:
        """The answer in words."""
        outcome = "found" if self.found else f"missed, its original is {self.original.distance} bits away"
        return f"{self.copy.edit}: {outcome}{f', with {self.others} other' if self.others else ''}"

    def shows(self, match: Match) -> bool:
        """Whether a match is the original."""
        return Path(match.path).name == self.copy.photo


@dataclass(frozen=True)
class EditResult:
    """How many copies made by one edit, or by all, were found.

    Attributes:
        edit: the edit.
        copies: the number of copies.
        copy: how many found their original as ``copy``.
        likely: how many found it as ``likely``.
        others: the number of other photographs that their searches returned.
    """

    edit: str
    copies: int
    copy: int
    likely: int
    others: int

    @property
    def missed(self) -> int:
        """How many did not find their original."""
        return self.copies - self.copy - self.likely

    @classmethod
    def of(cls, edit: str, answers: Sequence[Answer]) -> "EditResult":
        """Count answers."""
        verdicts = [answer.original.verdict for answer in answers]
        others = sum(answer.others for answer in answers)
        return cls(edit, len(answers), verdicts.count("copy"), verdicts.count("likely"), others)


def search(demo: Demo) -> list[Answer]:
    """Search for every copy, by the codes that the demo's commands wrote."""
    index = open_index(demo.index("photos"))
    matches = index.search(read_codes(demo.codes("copies")), k=len(index))
    return [Answer(Copy.of(query), found) for query, found in zip(matches.queries, matches, strict=True)]


def results(answers: Sequence[Answer]) -> list[EditResult]:
    """Return the result of every edit, and of all together as the last one."""
    by_edit = [EditResult.of(edit, [answer for answer in answers if answer.copy.edit == edit]) for edit in MADE]
    return [*by_edit, EditResult.of("all", answers)]


def draw_examples(demo: Demo, answers: Sequence[Answer]) -> None:
    """Draw one copy per edit with its nearest photographs, to `Demo.picture`."""
    strips = []
    for answer in _examples(answers):
        matches = [
            Thumbnail(match.path, _caption(match), _FOUND if answer.shows(match) else _OTHER)
            for match in answer.matches[:_SHOWN]
        ]
        query = Thumbnail(demo.copies / answer.copy.path, answer.copy.photo, _QUERY)
        strips.append(Strip([query, *matches], answer.outcome, _FOUND if answer.found else _MISSED))
    with files.replacing(demo.picture) as temporary:
        draw(strips, _COLUMNS).save(temporary, format="JPEG", quality=90, subsampling=0)


def records(demo: Demo, answers: Sequence[Answer]) -> Iterator[Record]:
    """Yield the records of the chapter for the report."""
    *by_edit, every = results(answers)
    found, photos = every.copies - every.missed, len(answers[0].matches)
    dataset = f"{every.copies} copies of {photos} photographs"
    title = f"{found} of {every.copies} edited copies found among {photos} photographs"
    settings = {"model": "copy", "seed": SEED, "photographs": "by the authors in ATTRIBUTION.md"}
    versions = {"transhash": version("transhash"), "pillow": version("pillow")}
    date = datetime.now(UTC).isoformat(timespec="seconds")
    yield Run(_RUN, "copies", title, "th demo", date, versions=versions, settings=settings)
    shares = {f"recall, {each.edit}": Measurement(1 - each.missed / each.copies) for each in by_edit}
    values = {
        "recall": Measurement(found / every.copies),
        **shares,
        "others found": Measurement(every.others),
    }
    bits = read_codes(demo.codes("photos")).model.bits
    table = "Originals found as copy or likely, by edit"
    yield TableRow(_RUN, table, dataset, "copy", "codes", {"bits": bits}, values)
    for answer in _examples(answers):
        path = demo.copies / answer.copy.path
        query = Picture(str(answer.copy.path), answer.copy.photo, True, thumbnail(path, _SIDE))
        matches = [
            Picture(Path(match.path).name, _caption(match), answer.shows(match), thumbnail(match.path, _SIDE))
            for match in answer.matches[:_SHOWN]
        ]
        yield Example(_RUN, dataset, "copy", answer.outcome, query, matches)


def _examples(answers: Sequence[Answer]) -> list[Answer]:
    of = {answer.copy: answer for answer in answers}
    return [of[copy] for copy in examples()]


def _caption(match: Match) -> str:
    return f"{match.distance} bits: {match.verdict}"
