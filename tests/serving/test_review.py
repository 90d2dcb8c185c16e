"""Reviews never let the last copy of an image go, even if its files change in the meantime."""

import os
import shutil
import threading

import pytest

import transhash

from .servers import picture, running

GROUPS = 3

pytestmark = pytest.mark.slow


@pytest.fixture
def trash(tmp_path, monkeypatch):
    """A trash of its own, as a folder."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setattr("send2trash.plat_other.HOMETRASH", str(tmp_path / "data" / "Trash"), raising=False)
    monkeypatch.setattr("send2trash.plat_other.HOMETRASH_B", str(tmp_path / "data" / "Trash").encode(), raising=False)
    return tmp_path / "data" / "Trash" / "files"


@pytest.fixture
def photos(tmp_path):
    """Three clusters: N.png in the folder a, a smaller copy of each in b and in c; and an image without a copy."""
    for folder, side in (("a", 64), ("b", 48), ("c", 40)):
        (tmp_path / "photos" / folder).mkdir(parents=True)
        for number in range(GROUPS):
            picture(number, side).save(tmp_path / "photos" / folder / f"{number}.png")
    picture(77).save(tmp_path / "photos" / "alone.png")
    return tmp_path / "photos"


@pytest.fixture
def server(photos, trash):
    transhash.build_index(transhash.encode(photos, "phash"), photos.parent / "photos.index")
    with running(photos.parent / "photos.index", allow_trash=True) as served:
        assert len(served.get("/v1/duplicates")["clusters"]) == GROUPS  # what the page shows before anything changes
        yield served


def ids(server, *names):
    every = {item["path"]: item["id"] for item in server.get("/v1/items", limit=1000)["items"]}
    return [every[name] for name in names]


def review(server, names, action, expect=200, last=(), **more):
    remove = ids(server, *names)
    body = {"remove": remove, "action": action, "last_copies": ids(server, *last), **more}
    if action == "trash":
        body["confirm"] = len(remove)
    answer = server.client.post("/v1/review", json=body)
    assert answer.status_code == expect, answer.text
    return answer


def refused(server, names, **more):
    """The images that neither the check, nor a list, nor the trash lets go, with the reasons of the check."""
    checked = review(server, names, "check", **more).json()
    reasons = {image["path"]: image["reason"] for image in checked["refused"]}
    listed = review(server, names, "list", 409 if reasons else 200, **more)
    assert not reasons or "must stay" in listed.json()["detail"]
    moved = review(server, names, "trash", **more).json()
    assert {image["path"] for image in moved["failed"]} == set(reasons)
    assert {image["path"] for image in moved["trashed"]} == set(names) - set(reasons)
    return reasons


def gone(path):
    path.unlink()


def overwritten(path):
    picture(500).save(path)


def truncated(path):
    os.truncate(path, 20)


def linked(path):
    path.unlink()
    path.symlink_to("../b/0.png")


def hard_linked(path):
    path.unlink()
    os.link(path.parent.parent / "b" / "0.png", path)


def twin(path):
    """Another picture of the same size and time, which only decoding tells from the one that was encoded."""
    found, data = path.stat(), bytearray(path.read_bytes())
    data[60:] = bytes(len(data) - 60)
    path.write_bytes(data)
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


LAST = "no other intact copy of it would stay"


@pytest.mark.parametrize("happened", [gone, overwritten, truncated, linked, hard_linked])
def test_a_copy_stays_if_the_kept_file_is_no_copy_any_more(server, photos, trash, happened):
    (photos / "c" / "0.png").unlink()
    happened(photos / "a" / "0.png")
    reasons = refused(server, ["b/0.png", "b/1.png"])
    assert list(reasons) == ["b/0.png"]
    assert reasons["b/0.png"] in (LAST, "has changed since it was encoded")
    assert (photos / "b" / "0.png").exists()
    assert sorted(file.name for file in trash.iterdir()) == ["1.png"]


def test_the_pixels_of_the_copy_that_stays_are_compared(server, photos):
    (photos / "c" / "0.png").unlink()
    twin(photos / "a" / "0.png")
    moved = review(server, ["b/0.png"], "trash").json()
    assert [image["reason"] for image in moved["failed"]] == [LAST]
    assert (photos / "b" / "0.png").exists()


def test_a_cluster_goes_as_a_whole_only_if_that_is_said(server, photos):
    names = [f"{folder}/0.png" for folder in "abc"]
    assert refused(server, names) == dict.fromkeys(names, LAST)
    assert set(refused(server, names, last=names[:1])) == set(names[1:])
    assert [(photos / name).exists() for name in names] == [False, True, True]
    assert refused(server, names[1:], last=names[1:]) == {}
    assert not any((photos / name).exists() for name in names)
    assert "last_copies" in review(server, ["b/1.png"], "check", 400, last=["c/1.png"]).json()["detail"]


def test_an_image_without_a_copy_stays(server, photos):
    assert refused(server, ["alone.png"]) == {"alone.png": "no other image is within 4 bits of it"}
    assert refused(server, ["alone.png"], last=["alone.png"]) == {}
    assert not (photos / "alone.png").exists()


def test_a_last_copy_must_be_as_it_was_encoded(server, photos):
    overwritten(photos / "alone.png")
    assert refused(server, ["alone.png"], last=["alone.png"]) == {"alone.png": "has changed since it was encoded"}


def test_requests_at_the_same_time_leave_a_copy(server, photos):
    for number in range(GROUPS):
        threads = [
            threading.Thread(target=review, args=(server, [f"{folder}/{number}.png"], "trash")) for folder in "abc"
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum((photos / folder / f"{number}.png").exists() for folder in "abc") == 1


def test_nothing_goes_through_a_folder_that_is_a_link_now(server, photos):
    for number in range(GROUPS):  # the same size and time, so that only the link is there to be noticed
        shutil.copy2(photos / "b" / f"{number}.png", photos / "c" / f"{number}.png")
    transhash.build_index(transhash.encode(photos, "phash"), photos.parent / "photos.index")
    server.engine.refresh()
    assert len(server.get("/v1/duplicates")["clusters"]) == GROUPS
    shutil.rmtree(photos / "c")
    (photos / "c").symlink_to("b")
    moved = review(server, ["c/0.png"], "trash").json()
    assert "linked folder" in moved["failed"][0]["reason"]
    assert (photos / "b" / "0.png").exists()
    assert "linked folder" in review(server, ["c/0.png"], "list", 409).json()["detail"]
    assert "linked folder" in review(server, ["b/0.png"], "list", 409).json()["detail"]
    moved = review(server, ["b/0.png", "c/0.png"], "trash").json()  # a stays
    assert ([one["path"] for one in moved["trashed"]], len(moved["failed"])) == (["b/0.png"], 1)


def test_a_protected_file_stays(server, photos):
    names = ["a/0.png", "b/0.png"]
    assert refused(server, names, reference=["b"]) == {"b/0.png": "in a protected folder"}
    answer = server.get("/v1/duplicates", reference="b")
    protected = [image["protected"] for cluster in answer["clusters"] for image in cluster["images"]]
    assert sum(protected) == GROUPS
    assert answer["totals"]["larger"] == GROUPS - 1  # of one cluster the larger file is gone
    assert server.get("/v1/duplicates")["totals"]["larger"] == 0


def test_bytes_are_those_that_are_freed(server, photos):
    kept, copy = photos / "a" / "0.png", photos / "b" / "0.png"
    os.link(copy, photos / "b" / "0 too.png")
    os.link(photos / "b" / "1.png", photos.parent / "elsewhere.png")
    shutil.move(photos / "c" / "2.png", photos.parent / "c2.png")
    (photos / "c" / "2.png").symlink_to(photos.parent / "c2.png")
    transhash.build_index(transhash.encode(photos, "phash"), photos.parent / "photos.index")
    server.engine.refresh()
    answer = server.get("/v1/duplicates")
    size = [(photos / "c" / name).stat().st_size for name in ("0.png", "1.png")]
    expected = copy.stat().st_size + sum(size) + (photos / "b" / "2.png").stat().st_size
    assert answer["totals"]["spare_bytes"] == expected
    assert sum(cluster["spare_bytes"] for cluster in answer["clusters"]) == expected
    body = {"remove": answer["spare_ids"], "action": "check"}
    checked = server.client.post("/v1/review", json=body).json()
    assert (checked["bytes"], checked["images"], checked["refused"]) == (expected, len(answer["spare_ids"]), [])
    assert server.client.post("/v1/review", json={**body, "action": "list", "format": "json"}).json()["bytes"] == (
        expected
    )
    assert review(server, ["b/0.png"], "check").json()["bytes"] == 0  # it has another name
    assert kept.exists()


def test_clusters_of_images(server):
    (one,) = ids(server, "b/1.png")
    answer = server.client.post("/v1/clusters", json={"ids": [one, 999], "keep": "path"}).json()
    (cluster,) = answer["clusters"]
    assert cluster["images"][0]["path"] == "a/1.png"
    assert server.client.post("/v1/clusters", json={"ids": ids(server, "alone.png")}).json()["clusters"] == []
    assert server.client.post("/v1/clusters", json={"ids": [one], "reference": ["../.."]}).status_code == 404


def test_a_line_break_in_a_name_is_announced(server, photos):
    (photos / "d").mkdir()
    picture(0, 44).save(photos / "d" / "two\nlines.png")
    transhash.build_index(transhash.encode(photos, "phash"), photos.parent / "photos.index")
    server.engine.refresh()
    assert review(server, ["b/0.png"], "check").json()["line_breaks"] is False
    assert review(server, ["d/two\nlines.png"], "check").json()["line_breaks"] is True
    assert "choose the format nul" in review(server, ["d/two\nlines.png"], "list", 400).json()["detail"]
    assert review(server, ["d/two\nlines.png"], "list", format="nul").content.endswith(b"two\nlines.png\0")


def test_a_long_list_of_ids_is_taken(server):
    many = ids(server, "b/0.png") * 400_000
    answer = server.client.post("/v1/review", json={"remove": many})
    assert answer.status_code == 200, answer.text
    assert answer.text.endswith("/b/0.png\n")


def test_an_index_of_several_folders_is_cleared_too(photos, trash):
    """Its paths are absolute; the folder that holds them all is reached through a link here."""
    (photos.parent / "alias").symlink_to("photos")
    index = transhash.build_index(transhash.encode(photos.parent / "alias" / "a", "phash"))
    index.add(transhash.encode(photos.parent / "alias" / "b", "phash"))
    index.save(photos.parent / "both.index")
    with running(photos.parent / "both.index", allow_trash=True) as server:
        names = [f"{photos.parent}/alias/{folder}/0.png" for folder in "ab"]
        assert refused(server, names) == dict.fromkeys(names, LAST)
        assert refused(server, names[1:]) == {}
    assert [(photos / folder / "0.png").exists() for folder in "ab"] == [True, False]
