import json
from dataclasses import asdict, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transhash.errors import ResultsError
from transhash.report import append, read
from transhash.report.records import Curve, Example, Measurement, Picture, Run, Skipped, TableRow
from transhash.report.sections import gather

from .samples import accuracy, image, search

RUN = Run("r", "search", "Search", "python -m benchmarks search", "2026-11-21T13:00:00+00:00")

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
numbers = st.floats(-1e100, 1e100).map(lambda value: value if abs(value) >= 1e-100 else 0.0)
plain = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | numbers | texts
settings = st.dictionaries(texts, st.recursive(plain, lambda inner: st.lists(inner, max_size=2), max_leaves=4))
params = st.dictionaries(texts, plain, max_size=3)
families = st.sampled_from(["codes", "float", "peer"])
figures = st.builds(Measurement, numbers, st.none() | numbers, st.none() | numbers)
pictures = st.builds(
    Picture, texts, texts, st.booleans(), st.sampled_from(["", image(), image("PNG"), image("WebP")])
)
records = st.one_of(
    st.builds(Run, *[texts] * 6, settings, st.dictionaries(texts, texts), settings),
    st.builds(
        TableRow, st.just("r"), texts, texts, texts, families, params, st.dictionaries(texts, figures, max_size=3)
    ),
    st.builds(
        Curve,
        *(st.just("r"), texts, texts, texts, families, params, texts, texts),
        st.lists(st.tuples(numbers, numbers), max_size=3),
    ),
    st.builds(Skipped, st.just("r"), texts, texts, texts),
    st.builds(Example, st.just("r"), texts, texts, texts, pictures, st.lists(pictures, max_size=2)),
)


@pytest.mark.slow
@given(st.lists(records, max_size=5))
def test_round_trip_of_records(tmp_path_factory, written):
    path = tmp_path_factory.mktemp("results") / "results.jsonl"
    append(path, [RUN])
    append(path, written)
    assert list(read(path)) == [RUN, *written]


def test_a_run_resumes_after_its_last_complete_line(tmp_path):
    path = tmp_path / "results.jsonl"
    everything = [*accuracy(), *search()]
    append(path, everything)
    whole = path.read_bytes()
    for cut in (1, 20, len(whole.splitlines(keepends=True)[-1]) - 1):
        path.write_bytes(whole[:-cut])
        assert list(read(path)) == everything[:-1]
        append(path, everything[-1:])
        assert path.read_bytes() == whole


@pytest.mark.parametrize("content", [b"notes", b"notes\n", b'{"record": "run"}\nnotes', b"\0" * 100, b'{"a": 1}\n'])
def test_nothing_is_appended_to_a_file_of_another_kind(tmp_path, content):
    path = tmp_path / "notes"
    path.write_bytes(content)
    with pytest.raises(ResultsError, match="is not a results file"):
        append(path, [RUN])
    assert path.read_bytes() == content


ROW = asdict(TableRow("r", "t", "d", "m", "codes", {}, {"mAP": Measurement(1)})) | {"record": "row"}
CURVE = asdict(Curve("r", "p", "d", "m", "codes", {}, "x", "y", [(0, 1)])) | {"record": "curve"}
EXAMPLE = asdict(Example("r", "d", "m", "t", Picture("a", "b"), [])) | {"record": "example"}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "Expecting"),
        ("[]", "where dict is expected"),
        ("\xff", "codec can't decode"),
        ("[" * 100_000, "recursion"),
        ("9" * 5000, "4300"),
        ({"record": "rom"}, "expected one of: run, row, curve, skipped, example"),
        ({"record": ["row"]}, "expected one of: run"),
        ({"record": "row"}, "row without run"),
        (ROW | {"colour": 1}, "'colour' is not a field of row"),
        (ROW | {"run": "s"}, "run 's' does not come before it"),
        (ROW | {"method": 3}, "method: 3 where str is expected"),
        (ROW | {"method": "m" * 20_000}, "method: 20,000 characters; 16,384 at most"),
        (ROW | {"family": "ours"}, "family: 'ours'; expected one of: codes, float, peer"),
        (ROW | {"family": []}, "family"),
        (ROW | {"params": {"bits": [64]}}, "params"),
        (ROW | {"values": {"mAP": 0.5}}, "values: 0.5 where dict is expected"),
        (ROW | {"values": {"mAP": {"value": "1"}}}, "values: value: '1' where a number of at most 1e+100"),
        (ROW | {"values": {"mAP": {"value": True}}}, "where a number"),
        (ROW | {"values": {"mAP": {"value": float("nan")}}}, "nan where a number"),
        (ROW | {"values": {"mAP": {"value": 10**400}}}, "where a number"),
        (ROW | {"values": {"mAP": {"value": 1.1e100}}}, "1.1e+100 where a number"),
        (ROW | {"values": {"mAP": {"value": 1, "low": float("-inf")}}}, "low: -inf where a number"),
        (CURVE | {"points": [[1]]}, "pairs"),
        (CURVE | {"points": [[1, None]]}, "where a number"),
        (CURVE | {"points": [[1, 1]] * 70_000}, "70,000 points; 65,536 at most"),
        (asdict(RUN) | {"record": "run", "settings": {"a": [[[[[1]]]]]}}, "too many levels deep"),
        (asdict(RUN) | {"record": "run", "versions": {"numpy": 2}}, "versions"),
        (EXAMPLE | {"query": {"name": "a", "caption": "b", "right": 1}}, "right"),
        (EXAMPLE | {"query": {"name": "a", "caption": "b", "image": "@"}}, "image"),
        (EXAMPLE | {"query": {"name": "a", "caption": "b", "image": "PHN2Zz48L3N2Zz4="}}, "neither JPEG nor PNG"),
    ],
)
def test_an_invalid_line_is_a_one_line_error(tmp_path, line, said):
    path = tmp_path / "results.jsonl"
    append(path, [RUN])
    text = line if isinstance(line, str) else json.dumps(line)
    with path.open("ab") as file:
        file.write(text.encode("latin-1") + b"\n")
    with pytest.raises(ResultsError) as caught:
        list(read(path))
    assert said in str(caught.value)
    assert str(caught.value).startswith(f"{path}, line 2: ")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_an_endless_line_is_not_read_completely(tmp_path):
    path = tmp_path / "results.jsonl"
    append(path, [RUN])
    with path.open("ab") as file:
        file.write(b" " * (1 << 24))
    with pytest.raises(ResultsError, match="over 16 MiB long"):
        list(read(path))
    with path.open("ab") as file:
        file.truncate(1 << 29)  # a sparse file
    with pytest.raises(ResultsError, match="over 32 MiB"):
        list(read(path))


def test_a_lone_surrogate_becomes_an_escape(tmp_path):
    path = tmp_path / "results.jsonl"
    path.write_text(json.dumps(asdict(RUN) | {"record": "run", "title": "\ud800"}) + "\n")
    assert [run.title for run in read(path)] == ["\\ud800"]


def test_records_are_grouped_by_run():
    sections = gather([*accuracy(), *search(), *accuracy()[:1]])
    assert [section.run.id for section in sections] == ["a", "s"]
    assert [section.rows for section in sections] == [section.rows for section in gather([*search(), *accuracy()])][
        ::-1
    ]
    assert (len(sections[1].curves), len(sections[1].skipped), len(sections[1].examples)) == (2, 1, 1)
    later = replace(accuracy()[0], date="2026-11-22")
    sections = gather([*accuracy(), later, *accuracy()[1:3]])
    assert [(section.run.date, len(section.rows)) for section in sections] == [
        (accuracy()[0].date, 5),
        (later.date, 2),
    ]
