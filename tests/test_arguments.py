"""Every public callable with wrong arguments works, or raises a TransHashError or TypeError of one line."""

import inspect
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image

import transhash
from transhash import ModelRef, Records, hamming
from transhash.errors import TransHashError

WRONG: dict[str, Any] = {
    "None": None,
    "whole": 7,
    "negative": -1,
    "huge": 1 << 70,
    "float": 1.5,
    "nan": float("nan"),
    "flag": True,
    "object": object(),
    "mapping": {},
    "named": {"nprobe": "many"},
    "bytes": b"bytes",
    "text": "no such thing",
    "empty": "",
    "server": "nosuch://host/name",
    "null": "a\0b",
    "surrogate": "\ud800",
    "long": "x" * 5000,
    "deep": "x/" * 3000,
    "array": np.zeros((2, 3), np.float32),
    "nothing": np.zeros(0, np.uint8),
    "scalar": np.array(3.5),
    "list": [object()],
    "none": [],
    "function": lambda: None,
}
ALLOWED = (TransHashError, TypeError)


class Call(NamedTuple):
    """A callable, arguments with which it works or fails late, and parameters that are slow with valid values."""

    function: Callable[..., Any]
    base: dict[str, Any] = {}
    slow: tuple[str, ...] = ()


MODEL = ModelRef("phash", "phash-dct-64", 64)


def some_codes(count: int = 4) -> transhash.Codes:
    labels = np.arange(count, dtype=np.int32) % 2
    records = Records([b"%d.png" % row for row in range(count)], labels=labels, label_names=("a", "b"))
    packed = np.random.default_rng(0).integers(0, 256, (count, 8), np.uint8)
    return transhash.Codes(packed, records, MODEL)


CODES = some_codes()


def picture() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8))


def index() -> transhash.Index:
    built = transhash.build_index(CODES)
    assert isinstance(built, transhash.Index)
    return built


def matches() -> transhash.Matches:
    return index().search(CODES, k=2)


def refuse(command: list[str]) -> None:
    raise TransHashError(f"th {command[0]} was not to be run")


FUNCTIONS = {
    "Architecture": Call(transhash.Architecture),
    "Codes": Call(transhash.Codes, {"packed": CODES.packed, "records": CODES.records, "model": MODEL}),
    "EmbedderConfig": Call(transhash.EmbedderConfig),
    "Filter": Call(transhash.Filter),
    "FitConfig": Call(transhash.FitConfig),
    "ModelRef": Call(transhash.ModelRef, {"name": "mine", "digest": "1", "bits": 64}),
    "Records": Call(transhash.Records, {"paths": [b"a.png"]}),
    "TrainConfig": Call(transhash.TrainConfig),
    "build_index": Call(transhash.build_index, {"codes": CODES}),
    "check_protocol": Call(transhash.check_protocol, {"name": "cifar10", "lists": "one"}),
    "dedup": Call(transhash.dedup, {"images": CODES}),
    "describe_codes": Call(transhash.describe_codes, {"path": "one"}),
    "encode": Call(transhash.encode, {"images": picture()}),
    "encode_to_file": Call(
        transhash.encode_to_file, {"images": picture(), "output": "out.h5", "hasher": "phash"}, slow=("processes",)
    ),
    "evaluate": Call(transhash.evaluate, {"database": CODES, "queries": CODES}, slow=("report",)),
    "export_codes": Call(transhash.export_codes, {"source": "codes.h5", "target": "out.csv"}),
    "export_index": Call(transhash.export_index, {"location": "photos.index", "output": "back.h5"}),
    "export_hasher": Call(transhash.export_hasher, {"model": "one/a/0.png", "output": "hasher.onnx"}),
    "fit": Call(transhash.fit, {"images": "one/a/0.png", "pretrained": True}),
    "import_codes": Call(transhash.import_codes, {"source": "codes.csv", "output": "in.h5", "model": MODEL}),
    "index_info": Call(transhash.index_info, {"location": "photos.index"}),
    "list_protocols": Call(transhash.list_protocols),
    "load_hasher": Call(transhash.load_hasher, {"model": "phash"}),
    "make_demo": Call(
        transhash.make_demo, {"folder": "demo", "run": refuse}, slow=("folder", "run", "on_prepared", "on_compare")
    ),
    "make_protocol": Call(transhash.make_protocol, {"name": "cifar10", "images": "one", "output": "split"}),
    "merge_codes": Call(transhash.merge_codes, {"inputs": ["one"], "output": "merged.h5"}),
    "merge_indexes": Call(transhash.merge_indexes, {"locations": ["photos.index"], "output": "merged.index"}),
    "open": Call(transhash.open, {"location": "photos.index"}),
    "open_source": Call(transhash.open_source, {"images": "one"}),
    "preset": Call(transhash.preset, {"name": "transhash-icmr22"}),
    "push_hasher": Call(transhash.push_hasher, {"hasher": "one/a/0.png", "repository": "user/name"}),
    "query": Call(transhash.query, {"location": "photos.index", "queries": CODES}),
    "read_codes": Call(transhash.read_codes, {"path": "one"}),
    "shrink_hasher": Call(transhash.shrink_hasher, {"hasher": "one/a/0.png", "output": "small.safetensors"}),
    "soup": Call(transhash.soup, {"hashers": ["one/a/0.png", "one"]}),
    "suggest_radius": Call(transhash.suggest_radius, {"images": CODES}),
    "train": Call(transhash.train, {"images": "one"}),
    "truncate": Call(transhash.truncate, {"codes": CODES, "bits": 64}),
    "truncate_codes": Call(transhash.truncate_codes, {"path": "one", "bits": 32, "output": "short.h5"}),
    "tune": Call(transhash.tune, {"location": "photos.index"}),
    "verify_codes": Call(transhash.verify_codes, {"path": "one"}),
    "write_codes": Call(transhash.write_codes, {"path": "out.h5", "codes": CODES}),
}
RESULTS = {  # types of results, which users do not construct, and `serve`, which does not return
    "EncodingSummary",
    "Evaluation",
    "Index",
    "Match",
    "Matches",
    "Preset",
    "StepResult",
    "TransHashError",
    "Watcher",
    "serve",
}
METHODS: dict[str, Callable[[], Call]] = {
    "Codes.take": lambda: Call(CODES.take, {"which": slice(0, 2)}),
    "EmbedderConfig.beside": lambda: Call(transhash.EmbedderConfig.beside, {"embedder": "model.onnx"}),
    "Index.add": lambda: Call(index().add, {"codes": CODES}),
    "Index.build": lambda: Call(transhash.Index.build, {"codes": CODES}),
    "Index.kneighbors": lambda: Call(index().kneighbors, {"X": CODES}),
    "Index.labels": lambda: Call(index().labels, {"id": 0}),
    "Index.like": lambda: Call(index().like, {"images": 0}),
    "Index.matching": lambda: Call(index().matching, {"where": transhash.Filter(ids=0)}),
    "Index.merge": lambda: Call(index().merge, {"others": [index()]}),
    "Index.open": lambda: Call(transhash.Index.open, {"folder": "photos.index"}),
    "Index.path": lambda: Call(index().path, {"id": 0}),
    "Index.remove": lambda: Call(index().remove, {"where": transhash.Filter(ids=0)}),
    "Index.rows": lambda: Call(index().rows, {"ids": [0]}),
    "Index.save": lambda: Call(index().save, {"folder": "saved.index"}),
    "Index.search": lambda: Call(index().search, {"queries": CODES}),
    "Index.sync": lambda: Call(index().sync, {"codes": CODES}),
    "Index.to": lambda: Call(index().to, {"device": "cpu"}),
    "Index.tune": lambda: Call(index().tune),
    "Index.verify": lambda: Call(lambda *args, **named: list(index().verify(*args, **named))),
    "Matches.__getitem__": lambda: Call(matches().__getitem__, {"query": 0}),
    "Matches.write_html": lambda: Call(matches().write_html, {"path": "page.html"}),
    "Matches.row": lambda: Call(matches().row, {"query": 0}),
    "Records.join": lambda: Call(CODES.records.join, {"other": CODES.records}),
    "Records.names": lambda: Call(CODES.records.names, {"row": 0}),
    "Records.path": lambda: Call(CODES.records.path, {"row": 0}),
    "Records.take": lambda: Call(CODES.records.take, {"which": slice(0, 2)}),
    "TrainConfig.settled": lambda: Call(transhash.TrainConfig().settled, {"pretrained": True}),
}
INTERNAL = {
    "EncodingSummary.add",
    "Matches.of",
    "Records.labels_of",
    "Records.paths_of",
}  # internal


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A codes file, its export, an index, and a folder with one image."""
    root = tmp_path_factory.mktemp("arguments")
    (root / "one" / "a").mkdir(parents=True)
    picture().save(root / "one" / "a" / "0.png")
    transhash.write_codes(root / "codes.h5", CODES)
    transhash.export_codes(root / "codes.h5", root / "codes.csv")
    transhash.build_index(CODES, root / "photos.index")
    return root


def public_methods() -> set[str]:
    """The public methods of public classes that have parameters."""
    found = set()
    for name in transhash.__all__:
        value = getattr(transhash, name)
        if inspect.isclass(value) and not issubclass(value, Exception):
            for attribute, method in inspect.getmembers(value, inspect.isroutine):
                wanted = not attribute.startswith("_") or attribute == "__getitem__"
                if wanted and set(inspect.signature(method).parameters) - {"self"}:
                    found.add(f"{name}.{attribute}")
    return {name for name in found if not name.startswith("Watcher.")}  # subclasses override these


def test_every_public_callable_is_walked() -> None:
    assert set(transhash.__all__) == FUNCTIONS.keys() | RESULTS
    assert public_methods() == METHODS.keys() | INTERNAL


def walk(call: Call) -> None:
    for name, parameter in inspect.signature(call.function).parameters.items():
        if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            continue
        for kind, value in WRONG.items():
            if name in call.slow and (isinstance(value, str | int | None) or callable(value)):
                continue
            where = f"{name}={kind}"
            try:
                call.function(**{**call.base, name: value})
            except ALLOWED as error:
                assert str(error), where
                assert "\n" not in str(error), where
                assert len(str(error)) < 1000, where
                assert kind != "object" or "object" in str(error), f"{where}: {error}"
            except Exception as error:
                raise AssertionError(f"{where}: {type(error).__name__}: {error}") from error
            else:
                assert kind != "object", f"{where} is accepted"


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_wrong_arguments_of_functions(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    walk(FUNCTIONS[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(METHODS))
def test_wrong_arguments_of_methods(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    walk(METHODS[name]())


def removed_folder() -> Any:
    built = transhash.build_index(CODES, "gone.index")
    shutil.rmtree("gone.index")
    return transhash.Index.search(built, CODES) and transhash.open("gone.index")


def read_iterator() -> Any:
    source = transhash.open_source(iter([picture()]))
    transhash.encode(source)
    return transhash.encode(source)


STATES: dict[str, Callable[[], Any]] = {
    "the folder of an index is gone": removed_folder,
    "an iterator was read": read_iterator,
    "an index of no codes": lambda: transhash.build_index(CODES.take(slice(0, 0))),
    "no codes to synchronize with": lambda: index().sync(CODES.take(slice(0, 0))),
    "no row would be left": lambda: index().remove(transhash.Filter()),
    "codes of another model": lambda: index().search(replace(CODES, model=ModelRef("other", "other", 64))),
    "codes of another width": lambda: index().search(np.zeros((1, 4), np.uint8)),
    "evaluating no queries": lambda: transhash.evaluate(CODES, CODES.take(slice(0, 0))),
    "evaluating without labels": lambda: transhash.evaluate(
        CODES, replace(CODES, records=Records(CODES.records.paths))
    ),
    "a radius of one code": lambda: transhash.suggest_radius(CODES.take(slice(0, 1))),
    "codes that do not match their paths": lambda: replace(CODES, packed=CODES.packed[:2]),
    "codes of another type": lambda: replace(CODES, packed=CODES.packed.astype(np.int64)),
    "embeddings of another type": lambda: replace(CODES, embeddings=np.zeros((4, 3))),
    "paths as text": lambda: Records(["a", "b"]),  # type: ignore[list-item]
    "labels without names": lambda: transhash.write_codes(
        "x.h5", replace(CODES, records=replace(CODES.records, label_names=()))
    ),
    "an array of floats": lambda: transhash.encode(np.zeros((8, 8, 3))),
    "an array of another shape": lambda: transhash.encode(np.zeros((2, 2, 2, 2, 2), np.uint8)),
    "bytes that are not an image": lambda: transhash.encode(b"not an image"),
    "no images": lambda: transhash.encode([]),
    "an index as codes": lambda: transhash.read_codes("photos.index"),
    "codes as an index": lambda: transhash.open("codes.h5"),
    "codes as a hasher": lambda: transhash.load_hasher("codes.h5"),
    "an output in a missing folder": lambda: transhash.write_codes("missing/codes.h5", CODES),
    "an index in a missing folder": lambda: transhash.build_index(CODES, "missing/photos.index"),
    "an output over another file": lambda: transhash.write_codes("one/a/0.png", CODES),
    "an index over another folder": lambda: transhash.build_index(CODES, "one"),
    "an unknown option": lambda: transhash.query("photos.index", CODES, nearest=3),
}


@pytest.mark.slow
@pytest.mark.parametrize("state", STATES)
def test_wrong_states(state: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    with pytest.raises(ALLOWED) as caught:
        STATES[state]()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["a masked array, whose mask", "must be a numpy array, not a tensor"])
def test_masked_arrays_and_tensors_are_refused_wherever_codes_are_compared(kind: str) -> None:
    packed = CODES.packed
    wrong: Any = np.ma.masked_less(packed, 99) if "masked" in kind else torch.from_numpy(packed)
    built = index()
    attempts: list[Callable[[], Any]] = [
        lambda: built.search(wrong),
        lambda: built.search(wrong, radius=1),
        lambda: built.local.search(wrong),
        lambda: built.local.range_search(wrong, 1),
        lambda: replace(CODES, packed=wrong),
        lambda: hamming.top_k(wrong, packed, 1),
        lambda: hamming.top_k(packed, wrong, 1),
        lambda: hamming.within(packed, wrong, 1),
        lambda: hamming.distances(wrong, packed),
    ]
    for attempt in attempts:
        with pytest.raises(TypeError, match=f"^(queries|codes|packed):? {kind}"):
            attempt()


def test_no_matches() -> None:
    far = index().search(~CODES.packed, radius=0)
    assert len(far) == 4
    assert list(far) == [[]] * 4
    assert [array.shape for array in far.padded()] == [(4, 0)] * 2
    assert far.to_image().size[0] > 0
    none = index().search(CODES.packed[:0])
    assert len(none) == 0
    assert none.padded()[0].shape[0] == 0


def test_a_missing_query_is_an_index_error() -> None:
    with pytest.raises(IndexError, match="query 4 does not exist: 4 in all, numbered from 0"):
        matches()[4]
    assert matches()[-1] == matches()[3]
