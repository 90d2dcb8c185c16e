import hashlib
import json
import os
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transhash.datasets import protocols
from transhash.datasets.protocols import Protocol, Split
from transhash.errors import OutputError, SourceError
from transhash.sources import Item, Skipped, list_images
from transhash.sources.lists import ListSource

REST = Protocol("small", 4, 6, 10, 2, 5, "ten images a class", "rest")  # a class: 2 queries, 3 training, 5 others
DRAWN = (
    REST,
    Protocol("small-1", 4, 6, 16, 2, 5, "", "others"),
    Protocol("small-2", 8, 12, 12, 2, 5, "", "training"),
)


def fill(root, classes=("cat", "dog"), count=10):
    for name in classes:
        for number in range(count):
            path = root / ("test" if number < 3 else "train") / name / f"{number} a.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    return root


def paths(part):
    return [image.path for image in part]


@pytest.mark.parametrize("protocol", DRAWN, ids=lambda protocol: protocol.name)
def test_every_class_contributes_equally(protocol, tmp_path):
    split = protocols.draw(protocol, fill(tmp_path))
    for part, count in zip(
        split.parts.values(), (protocol.queries, protocol.training, protocol.database), strict=True
    ):
        assert len(set(paths(part))) == len(part) == count
        assert sorted(image.labels for image in part) == [("cat",)] * (count // 2) + [("dog",)] * (count // 2)
    query, training, database = (set(paths(part)) for part in split.parts.values())
    everything = set(paths(list_images(tmp_path).images))
    assert not query & training
    assert not query & database
    assert {
        "rest": not training & database,
        "others": database == everything - query,
        "training": database == training,
    }[protocol.drawn]
    if protocol.drawn != "training":
        assert query | training | database == everything


def test_order_is_that_of_the_hashes(tmp_path):
    """The algorithm in docs/protocols.md, which allows others to draw the same split."""
    fill(tmp_path)
    names = [f"{'test' if n < 3 else 'train'}/cat/{n} a.png" for n in range(10)]
    for seed in (0, 7):
        names.sort(key=lambda name: hashlib.sha256(f"{seed}/{name}".encode()).hexdigest())
        split = protocols.draw(REST, tmp_path, seed)
        own = [[p.decode() for p in paths(part) if b"/cat/" in p] for part in split.parts.values()]
        assert own == [sorted(names[:2]), sorted(names[2:5]), sorted(names[5:])]


def test_the_transductive_protocol_has_the_split_of_cifar10():
    """Only its name says that a hasher has seen the database images."""
    same = replace(
        protocols.find("cifar10"), name="cifar10-transductive", note=protocols.find("cifar10-transductive").note
    )
    assert protocols.find("cifar10-transductive") == same


def test_other_seeds_draw_other_images(tmp_path):
    fill(tmp_path)
    assert protocols.draw(REST, tmp_path).identity == protocols.draw(REST, str(tmp_path), seed=0).identity
    assert len({protocols.draw(REST, tmp_path, seed).identity for seed in range(20)}) == 20


def test_identity_is_as_documented():
    split = Split([Item(b"q\xff", ("b", "a"))], [Item(b"t2"), Item(b"t1", ("c",))], [])
    text = b"query\nq\xff\ta\x1fb\ntraining\nt1\tc\nt2\t\ndatabase\n"
    assert split.identity == hashlib.sha256(text).hexdigest()[:12]


@pytest.mark.parametrize(
    ("classes", "count", "message"),
    [
        (("cat", "dog"), 9, "2 classes of 9 images"),
        (("cat", "dog", "owl"), 10, "from 3 classes"),
        (("cat",), 10, "from 1 classes"),
        ((), 10, "no images in it"),
    ],
)
def test_other_images_are_refused(classes, count, message, tmp_path):
    with pytest.raises(SourceError, match=message) as caught:
        protocols.draw(REST, fill(tmp_path, classes, count))
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_one_image_too_many_is_named(tmp_path):
    (fill(tmp_path) / "train" / "dog" / "more.png").touch()
    with pytest.raises(SourceError, match=r"2 classes of 10 to 11 images \('dog' has 11\)"):
        protocols.draw(REST, tmp_path)
    (tmp_path / "stray.png").touch()
    with pytest.raises(SourceError, match=r"'stray.png' is not in the folder of a class"):
        protocols.draw(REST, tmp_path)


def test_published_protocols_are_not_drawn(tmp_path):
    with pytest.raises(SourceError, match="th protocol check"):
        protocols.draw(protocols.find("coco"), tmp_path)
    with pytest.raises(SourceError, match="available: cifar10, cifar10-1"):
        protocols.find("cifar")


def test_round_trip_of_lists(tmp_path):
    split = protocols.draw(REST, fill(tmp_path / "images"), seed=3)
    protocols.write(split, tmp_path / "lists", REST, seed=3)
    source = ListSource(tmp_path / "images", tmp_path / "lists" / "train.txt")
    assert list(source.entries()) == list(split.training)
    assert not any(isinstance(item, Skipped) for item in source)
    assert json.loads((tmp_path / "lists" / "split.json").read_text()) == {
        "format": "transhash-split",
        "version": 0,
        "protocol": "small",
        "seed": 3,
        "identity": split.identity,
        "counts": {"query": 4, "training": 6, "database": 10},
        "classes": 2,
        "at": 5,
    }
    found = protocols.check(REST, tmp_path / "lists")
    assert found.identity == split.identity
    assert (found.counts, found.classes) == (split.counts, 2)
    assert (found.unlabelled_queries, found.queries_in_database, found.training_in_database) == (0, 0, 0)


names = st.binary(min_size=1, max_size=12).filter(lambda name: b"\0" not in name and b"/" not in name)


@pytest.mark.slow
@settings(deadline=None, max_examples=60)
@given(st.lists(names, min_size=1, max_size=8))
def test_any_path_survives_or_is_refused(tmp_path_factory, paths):
    """Newlines, spaces, trailing digits, and bytes that are not text."""
    folder = tmp_path_factory.mktemp("lists") / "lists"
    part = [Item(os.path.normpath(b"cat/" + path), ("cat",)) for path in paths]
    part.append(Item(b"x.png", ("dog",)))
    split = Split(part, part, part)
    protocol = Protocol("any", len(part), len(part), len(part), 2, None, "")
    try:
        protocols.write(split, folder, protocol, 0)
    except SourceError as error:
        assert "does not fit into a line" in str(error)
        assert "\n" not in str(error)
        assert not folder.exists()
    else:
        assert protocols.check(protocol, folder).identity == split.identity


def test_class_names_must_fit_into_a_line(tmp_path):
    part = [Item(b"x", ("a\nb",))]
    with pytest.raises(SourceError, match=r"classes\.txt"):
        protocols.write(Split(part, part, part), tmp_path / "lists", REST, 0)


def test_only_a_split_is_replaced(tmp_path):
    split = protocols.draw(REST, fill(tmp_path / "images"))
    lists = tmp_path / "lists"
    lists.mkdir()
    protocols.write(split, lists, REST, 0)
    again = protocols.draw(REST, tmp_path / "images", 1)
    protocols.write(again, lists, REST, 1)
    assert protocols.check(REST, lists).identity == again.identity
    assert sorted(os.listdir(lists)) == ["classes.txt", "database.txt", "query.txt", "split.json", "train.txt"]
    for name, text in (("train.txt", "mine"), ("split.json", '{"format": "other"}')):
        own = tmp_path / name.replace(".", "-")
        own.mkdir()
        (own / name).write_text(text)
        with pytest.raises(OutputError, match="choose another output"):
            protocols.write(split, own, REST, 0)
        assert (own / name).read_text() == text
        assert len(os.listdir(own)) == 1
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="choose another output"):
        protocols.write(split, tmp_path / "file", REST, 0)


@pytest.fixture
def downloaded(tmp_path):
    """Lists as published elsewhere: several labels or none, a query in the database, test.txt, no split.json."""
    (tmp_path / "test.txt").write_text("a.jpg 1 1 0\nb.jpg 0 0 0\nc.jpg 0 0 1\n")
    (tmp_path / "train.txt").write_text("d.jpg 1 0 0\ne.jpg 0 1 0\n")
    (tmp_path / "database.txt").write_text("d.jpg 1 0 0\nc.jpg 0 0 1\nf.jpg 0 0 1\ng.jpg 0 1 1\n")
    return tmp_path


PUBLISHED = Protocol("published", 3, 2, 4, 3, 5000, "")


def test_published_lists_are_described(downloaded):
    found = protocols.check(PUBLISHED, downloaded)
    assert found.counts == {"query": 3, "training": 2, "database": 4}
    assert (found.classes, found.unlabelled_queries) == (3, 1)
    assert (found.queries_in_database, found.training_in_database) == (1, 1)
    assert protocols.check(replace(PUBLISHED, database=None, classes=None), downloaded) == found


def test_lists_in_another_order_are_the_same_split(downloaded):
    before = protocols.check(PUBLISHED, downloaded).identity
    text = (downloaded / "database.txt").read_text()
    (downloaded / "database.txt").write_text("\n".join(reversed(text.splitlines())))
    assert protocols.check(PUBLISHED, downloaded).identity == before
    (downloaded / "database.txt").write_text(text.replace("g.jpg 0 1 1", "g.jpg 0 1 0"))
    assert protocols.check(PUBLISHED, downloaded).identity != before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"queries": 5}, "has query 5, but the lists have query 3"),
        ({"training": 3, "database": 9}, "training 3, database 9, but the lists have training 2, database 4"),
        ({"classes": 21}, "classes 21, but the lists have classes 3"),
    ],
)
def test_other_numbers_are_refused(changes, message, downloaded):
    with pytest.raises(SourceError, match=message):
        protocols.check(replace(PUBLISHED, **changes), downloaded)


def test_lists_that_are_missing_or_mixed_are_refused(downloaded):
    (downloaded / "split.json").write_text(json.dumps({"format": "transhash-split", "identity": "0123456789ab"}))
    with pytest.raises(SourceError, match="is of 0123456789ab"):
        protocols.check(PUBLISHED, downloaded)
    (downloaded / "train.txt").unlink()
    with pytest.raises(SourceError, match=r"train\.txt: No such file"):
        protocols.check(PUBLISHED, downloaded)
