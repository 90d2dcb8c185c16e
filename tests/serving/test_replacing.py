"""Indexes that are replaced on disk while they are searched."""

import shutil
import threading
from pathlib import Path

import httpx
import numpy as np
import pytest

import transhash
from transhash import Codes, Filter
from transhash.codes import ModelRef, Records
from transhash.serving import engine as engines

from .servers import build, picture, running

COUNT = 3000
REPLACED = 40


@pytest.fixture
def watching(monkeypatch):
    """Check index folders for changes frequently."""
    monkeypatch.setattr(engines, "_WATCH", 0.005)


def toys(count, seed=0):
    """Codes whose first image is always its own nearest match."""
    packed = np.random.default_rng(seed).integers(0, 256, (count, 8), dtype=np.uint8)
    packed[0] = 0
    return Codes(packed, Records([b"%d.png" % row for row in range(count)]), ModelRef("toy", "t", 64))


@pytest.mark.slow
def test_an_index_is_replaced_many_times_and_no_query_fails(tmp_path, watching):
    """Every answer comes from a single state of the index: the number of images and the matches agree."""
    place = tmp_path / "toys.index"
    transhash.build_index(toys(COUNT), place)
    failures, answered, stop = [], [0] * 4, threading.Event()
    with running(place) as server:

        def ask(client, number):
            while not stop.is_set():
                answer = client.post("/v1/search", json={"code": "0" * 16, "k": 3})
                found = answer.json()
                if answer.status_code != 200 or found["matches"][0]["path"] != "0.png":
                    failures.append(found)
                answered[number] += 1

        clients = [httpx.Client(base_url=server.address, timeout=60) for _ in range(4)]
        threads = [threading.Thread(target=ask, args=pair) for pair in zip(clients, range(4), strict=True)]
        for thread in threads:
            thread.start()
        seen = {server.engine.index().snapshot.generation}
        for number in range(REPLACED):
            transhash.build_index(toys(COUNT + number, number), place, force=True)
            seen.add(server.search(id=0, k=1)["generation"])
        server.engine.refresh()
        stop.set()
        for thread in threads:
            thread.join()
        for client in clients:
            client.close()
        assert server.get("/v1/indexes")["indexes"][0]["count"] == COUNT + REPLACED - 1
        assert server.get("/readyz")["status"] == "ready"
    assert not failures
    assert min(answered) > 0
    assert len(seen) > 5


@pytest.mark.slow
def test_an_edited_index_is_served_without_a_restart(tmp_path, watching):
    index = transhash.open(build(tmp_path))
    with running(tmp_path / "photos.index") as server:
        copy = server.search(path="dogs/copy.png")["query"]["id"]
        assert len(server.get("/v1/duplicates")["clusters"]) == 1
        index.remove(Filter(paths="dogs/copy.png"))
        server.engine.refresh()
        assert server.search(id=copy, expect=404)["detail"].startswith(f"id {copy}: not in the index")
        assert server.get("/v1/duplicates")["clusters"] == []
        assert server.get("/v1/items")["total"] == 32


def damage(place: Path) -> None:
    """Change a byte of the codes file."""
    (file,) = (file for file in place.rglob("*") if file.is_file() and "backend" in file.parts)
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)


@pytest.mark.slow
def test_a_damaged_index_leaves_the_old_one_serving(tmp_path):
    """The old index is used until an intact one replaces it."""
    place = build(tmp_path)
    with running(place) as server:
        before = server.search(id=0)
        transhash.build_index(toys(COUNT), tmp_path / "new.index")
        damage(tmp_path / "new.index")
        shutil.rmtree(place)
        (tmp_path / "new.index").rename(place)
        server.engine.refresh()
        ready = server.get("/readyz")
        assert ready["status"] == "stale"
        assert "do not match their checksum" in ready["indexes"][0]["fault"]
        assert server.search(id=0) == before
        assert 'transhash_index_stale{index="photos"} 1.0' in server.client.get("/metrics").text
        shutil.rmtree(place)
        server.engine.refresh()
        assert "no such index folder" in server.get("/readyz")["indexes"][0]["fault"]
        assert server.search(id=0) == before
        transhash.build_index(toys(7), place)
        server.engine.refresh()
        assert server.get("/readyz")["status"] == "ready"
        assert server.search(code="0" * 16)["matches"][0]["path"] == "0.png"


def test_a_page_goes_on_in_a_new_state(tmp_path):
    """The second page follows the first, although images were added and removed in between."""
    place = tmp_path / "toys.index"
    index = transhash.build_index(toys(200), place)
    with running(place) as server:
        first = server.search(code="0" * 16, k=20)
        gone = [match["id"] for match in first["matches"][:5]]
        index.remove(Filter(ids=gone))
        server.engine.refresh()
        second = server.search(cursor=first["cursor"], k=20)
        assert first["generation"] != second["generation"]
        last, following = first["matches"][-1], second["matches"][0]
        assert (last["distance"], last["id"]) < (following["distance"], following["id"])
        truth = server.search(code="0" * 16, k=40)
        assert [match["id"] for match in truth["matches"]][15:35] == [match["id"] for match in second["matches"]]


@pytest.mark.slow
def test_an_index_of_another_model_is_searched_with_its_hasher(hasher_file, tmp_path):
    place = build(tmp_path)
    image = tmp_path / "photos" / "dogs" / "3.png"
    with running(place) as server:
        for model in (None, hasher_file):
            if model:
                transhash.build_index(transhash.encode(tmp_path / "photos", model), place, force=True)
                server.engine.refresh()
            answer = server.client.post("/v1/search", files={"image": ("x.png", image.read_bytes())})
            assert answer.status_code == 200, answer.text
            assert (answer.json()["matches"][0]["distance"], answer.json()["bits"]) == (0, 16 if model else 64)


@pytest.mark.slow
def test_a_search_ends_after_the_10000th_match(tmp_path):
    transhash.build_index(toys(10_500), tmp_path / "toys.index")
    with running(tmp_path / "toys.index") as server:
        answer = server.search(code="0" * 16, k=900)
        found = len(answer["matches"])
        while answer["cursor"]:
            answer = server.search(cursor=answer["cursor"])
            found += len(answer["matches"])
    assert found == 10_000


@pytest.mark.slow
def test_images_of_a_second_folder_are_shown_beside_those_of_the_first(tmp_path, watching):
    """Their folders have one in common; files beside them, and outside it by a link, are not served."""
    for name, seed in (("one/a.png", 1), ("two/b.png", 2)):
        (tmp_path / "photos" / name).parent.mkdir(parents=True)
        picture(seed).save(tmp_path / "photos" / name)
    one, two = (transhash.encode(tmp_path / "photos" / part, hasher="phash") for part in ("one", "two"))
    picture(3).save(tmp_path / "outside.png")
    place = tmp_path / "photos.index"
    transhash.build_index(one, place)
    with running(place) as server:
        transhash.open(place).add(two)
        server.engine.refresh()
        for number in (0, 1):
            assert server.client.get(f"/v1/thumbnails/{number}").status_code == 200
        (tmp_path / "photos" / "two" / "b.png").unlink()
        (tmp_path / "photos" / "two" / "b.png").symlink_to(tmp_path / "outside.png")
        assert server.client.get("/v1/images/1").status_code == 404
