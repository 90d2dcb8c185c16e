"""Every route of `docs/http.md` on a real server."""

import io
import json
import re
import socket
from pathlib import Path

import httpx
import msgspec
import numpy as np
import pytest
from PIL import Image

import transhash
from transhash.serving.http import clearing, schemas
from transhash.serving.http import server as serving
from transhash.serving.http.app import create_app
from transhash.serving.http.routes import ROUTES

from ..conftest import REPOSITORY
from .servers import build, encoded, picture, running


def paths(answer):
    return [match["path"] for match in answer["matches"]]


def id_of(server, path):
    return server.search(path=path, k=1)["query"]["id"]


# What is described


def test_the_document_has_every_route_and_no_other(server):
    document = server.get("/openapi.json")
    described = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    served = {
        (method, route.path) for route in create_app(server.service).routes for method in route.methods - {"HEAD"}
    }
    assert described == served == {(route.method, route.path) for route in ROUTES}
    references = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document)))
    assert references <= set(document["components"]["schemas"])
    names = [operation["operationId"] for methods in document["paths"].values() for operation in methods.values()]
    assert len(names) == len(set(names))


def test_the_documentation_names_every_route_and_parameter():
    text = (REPOSITORY / "docs" / "http.md").read_text(encoding="utf-8")
    for route in ROUTES:
        assert f"`{route.method} {route.path}" in text, route.path
        line = text[text.index(f"`{route.method} {route.path}") :].partition("\n")[0]
        for parameter in route.parameters:
            if not route.path.startswith(("/v1/images", "/v1/thumbnails")):
                assert f"{parameter.name}=" in line, (route.path, parameter.name)


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/v1/indexes", schemas.Indexes),
        ("/v1/labels", schemas.Labels),
        ("/v1/folders", schemas.Folders),
        ("/v1/items", schemas.Items),
        ("/v1/items/0", schemas.Item),
        ("/healthz", schemas.Health),
        ("/readyz", schemas.Readiness),
        ("/v1/items/999", schemas.ProblemDocument),
    ],
)
def test_answers_are_as_described(server, path, kind):
    answer = server.client.get(path)
    msgspec.json.decode(answer.content, type=kind, strict=True)
    assert answer.headers["cache-control"] == "no-store"


# Indexes, labels, folders, items


def test_indexes(server):
    (index,) = server.get("/v1/indexes")["indexes"]
    assert (index["name"], index["count"], index["bits"], index["model"]) == ("photos", 33, 64, "phash")
    assert (index["type"], index["labels"], index["images"], index["codes"], index["fault"]) == (
        "flat", 2, True, True, None,
    )  # fmt: skip
    assert index["words"][-1] == {"within": 64, "word": "unrelated"}


def test_labels_and_folders_complete(server):
    assert server.get("/v1/labels") == {
        "labels": [{"name": "cats", "count": 17}, {"name": "dogs", "count": 16}],
        "total": 2,
    }
    assert server.get("/v1/labels", prefix="DO")["labels"] == [{"name": "dogs", "count": 16}]
    assert server.get("/v1/labels", limit=1)["total"] == 2
    assert server.get("/v1/folders", prefix="d")["folders"] == [{"path": "dogs/", "count": 16}]
    assert server.get("/v1/folders", prefix="dogs/")["folders"] == []


def test_items_are_browsed_page_by_page(server):
    found, cursor = [], None
    while True:
        answer = server.get("/v1/items", limit=10, **({"cursor": cursor} if cursor else {}))
        assert answer["total"] == 33
        found += [item["id"] for item in answer["items"]]
        cursor = answer["cursor"]
        if cursor is None:
            break
    assert found == list(range(33))


def test_a_random_order_is_repeatable(server):
    first = server.get("/v1/items", order="random", seed=7, limit=33)
    second = server.get("/v1/items", order="random", seed=7, limit=33)
    other = server.get("/v1/items", order="random", seed=8, limit=33)
    assert first == second != other
    assert sorted(item["id"] for item in first["items"]) == list(range(33))


def test_items_are_filtered(server):
    cats = server.get("/v1/items", label="cats", limit=100)
    assert {item["labels"][0] for item in cats["items"]} == {"cats"}
    assert cats["total"] == 17
    assert server.get("/v1/items", label="cats", glob=["*.jpg", "*.tiff"])["total"] == 2
    assert server.get("/v1/items", 404, glob="*.gif")["detail"].startswith("no path in the index matches '*.gif'")


def test_an_item(server):
    item = server.get(f"/v1/items/{id_of(server, 'cats/turned.jpg')}")
    file = item["file"]
    assert (item["path"], item["labels"], len(item["code"])) == ("cats/turned.jpg", ["cats"], 16)
    assert (file["width"], file["height"], file["state"]) == (40, 80, "present")
    assert file["bytes"] > 0


# Search


def test_search_by_id_path_and_code_agree(server):
    by_path = server.search(path="dogs/1.png", k=5)
    by_id = server.search(id=by_path["query"]["id"], k=5)
    by_code = server.search(code=by_path["query"]["code"], k=6)
    assert by_path == by_id
    assert paths(by_code) == ["dogs/1.png", *paths(by_id)]
    assert by_id["matches"][0] == {
        "id": id_of(server, "dogs/copy.png"),
        "path": "dogs/copy.png",
        "labels": ["dogs"],
        "distance": 0,
        "score": None,
    }


def test_search_by_an_uploaded_image(server):
    files = {"image": ("x.png", encoded(picture(3)), "image/png")}
    answer = server.client.post("/v1/search", files=files).json()
    assert paths(answer)[0] == "dogs/3.png"
    assert answer["query"]["id"] is None
    narrowed = server.client.post("/v1/search", files=files, data={"query": '{"k": 2, "labels": ["cats"]}'}).json()
    assert len(narrowed["matches"]) == 2
    assert {match["labels"][0] for match in narrowed["matches"]} == {"cats"}
    again = server.search(code=answer["query"]["code"])
    assert again["matches"] == answer["matches"]


def test_search_goes_on_with_a_cursor(server):
    everything = paths(server.search(id=3, k=100))
    answer = server.search(id=3, k=7)
    found = paths(answer)
    while answer["cursor"]:
        answer = server.search(cursor=answer["cursor"], k=9)
        found += paths(answer)
    assert found == everything
    assert len(found) == 32


def test_search_with_a_radius_and_filters(server):
    assert paths(server.search(path="dogs/1.png", radius=0)) == ["dogs/copy.png"]
    assert paths(server.search(path="dogs/1.png", radius=0, labels=["cats"])) == []
    assert set(paths(server.search(id=0, globs=["*.jpg", "*.tiff"]))) == {"cats/turned.jpg", "cats/old.tiff"}


@pytest.mark.slow
def test_search_reranks_uploads_by_outputs(hasher_file, tmp_path):
    build(tmp_path)
    codes = transhash.encode(tmp_path / "photos", hasher_file)
    index = transhash.build_index(codes, tmp_path / "learned.index")
    image = tmp_path / "photos" / "dogs" / "3.png"
    with running(tmp_path / "learned.index") as server:
        body = {"k": 5, "rerank": "asymmetric"}
        upload = {"image": ("x.png", image.read_bytes())}
        answer = server.client.post("/v1/search", files=upload, data={"query": json.dumps(body)})
        assert answer.status_code == 200, answer.text
        (truth,) = index.search(str(image), 5, rerank="asymmetric")
        assert [(match["id"], round(match["score"], 5)) for match in answer.json()["matches"]] == [
            (match.id, round(match.score, 5)) for match in truth
        ]
        following = server.search(cursor=answer.json()["cursor"])
        assert [match["id"] for match in following["matches"]] == [
            match.id for match in index.search(str(image), 10, rerank="asymmetric")[0]
        ][5:]
        assert server.get("/v1/indexes")["indexes"][0]["reranks"] == ["asymmetric"]


@pytest.mark.parametrize(
    ("body", "status", "sentence"),
    [
        ({}, 400, "name one query"),
        ({"id": 1, "path": "x"}, 400, "name one query"),
        ({"id": 999}, 404, "id 999: not in the index"),
        ({"id": -1}, 400, "id=-1"),
        ({"id": 10**30}, 400, "must be from 0 to 9223372036854775807"),
        ({"id": "1"}, 400, "Expected `int | null`, got `str`"),
        ({"path": "cats/none.png"}, 404, "not in the index: 'cats/none.png'"),
        ({"path": "../../etc/passwd"}, 404, "not in the index"),
        ({"code": "ff"}, 400, "8 bits; the codes of the index have 64, 16 digits"),
        ({"code": "zz"}, 400, "not hexadecimal"),
        ({"cursor": "nonsense"}, 400, "cursor: not one of this server"),
        ({"cursor": "x", "radius": 3}, 400, "a cursor holds the whole search"),
        ({"id": 1, "k": 0}, 400, "k=0: must be from 1 to 1000"),
        ({"id": 1, "k": 1001}, 400, "k=1001"),
        ({"id": 1, "radius": -1}, 400, "radius=-1"),
        ({"id": 1, "rerank": "asymmetric"}, 400, "rerank needs an uploaded image"),
        ({"id": 1, "rerank": "magic"}, 400, "Invalid enum value 'magic'"),
        ({"id": 1, "labels": ["cows"]}, 404, "no label 'cows' in the index; available: 'cats', 'dogs'"),
        ({"id": 1, "globs": ["*"] * 65}, 400, "length <= 64"),
        ({"id": 1, "index": "cows"}, 404, "no index 'cows'; available: 'photos'"),
        ({"id": 1, "depth": 2}, 400, "unknown field `depth`"),
    ],
)
def test_a_bad_search_is_a_problem_document(server, body, status, sentence):
    answer = server.client.post("/v1/search", json=body)
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert (answer.status_code, problem["status"], problem["type"]) == (status, status, "about:blank")
    assert sentence in problem["detail"]


# Pictures


def test_an_image_is_served_as_it_is(server):
    id = id_of(server, "dogs/3.png")
    answer = server.client.get(f"/v1/images/{id}")
    assert answer.content == encoded(picture(3))
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["content-length"] == str(len(answer.content))
    assert answer.headers["content-disposition"] == "inline; filename*=UTF-8''3.png"
    again = server.client.get(f"/v1/images/{id}", headers={"If-None-Match": f'"x", W/{answer.headers["etag"]}'})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", answer.headers["etag"])
    assert server.client.head(f"/v1/images/{id}").content == b""


def test_a_format_that_browsers_do_not_show_is_converted(server):
    answer = server.client.get(f"/v1/images/{id_of(server, 'cats/old.tiff')}")
    assert answer.headers["content-type"] == "image/jpeg"
    shown = np.asarray(Image.open(io.BytesIO(answer.content)), dtype=int)
    assert abs(shown - np.asarray(picture(101), dtype=int)).mean() < 10


@pytest.mark.parametrize(("size", "longest"), [(1, 64), (64, 64), (65, 80), (4096, 80)])
def test_a_thumbnail_is_upright_and_fits(server, size, longest):
    """The image, of 40 x 80 pixels, is not enlarged."""
    id = id_of(server, "cats/turned.jpg")
    answer = server.client.get(f"/v1/thumbnails/{id}", params={"size": size})
    image = Image.open(io.BytesIO(answer.content))
    assert (image.format, image.size) == ("JPEG", (longest // 2, longest))
    tag = answer.headers["etag"]
    assert server.client.get(answer.url, headers={"If-None-Match": tag}).status_code == 304
    assert server.client.get(answer.url).content == answer.content
    assert server.client.get(f"/v1/thumbnails/{id}?size=512").headers["etag"] != tag or size > 256


@pytest.mark.slow
def test_a_picture_that_is_gone_or_damaged(tmp_path):
    build(tmp_path)
    photos = tmp_path / "photos" / "dogs"
    with running(tmp_path / "photos.index") as server:
        gone, damaged = id_of(server, "dogs/3.png"), id_of(server, "dogs/5.png")
        before = server.client.get(f"/v1/thumbnails/{damaged}").headers["etag"]
        (photos / "3.png").unlink()
        (photos / "5.png").write_bytes(b"no picture")
        for kind in ("images", "thumbnails"):
            assert server.get(f"/v1/{kind}/{gone}", 404)["detail"] == "dogs/3.png: not in the image folder"
            assert "not an image" in server.get(f"/v1/{kind}/{damaged}", 422)["detail"]
        assert server.get(f"/v1/items/{gone}")["file"]["state"] == "missing"
        assert server.get(f"/v1/items/{damaged}")["file"]["width"] is None
        picture(7).save(photos / "5.png")
        assert server.client.get(f"/v1/thumbnails/{damaged}", headers={"If-None-Match": before}).status_code == 200


@pytest.mark.slow
def test_images_that_have_moved(tmp_path):
    build(tmp_path)
    (tmp_path / "photos").rename(tmp_path / "moved")
    with running(tmp_path / "photos.index") as server:
        assert server.client.get("/v1/images/0").status_code == 404
    with running(tmp_path / "photos.index", images=tmp_path / "moved") as server:
        assert server.client.get("/v1/images/0").status_code == 200
        assert server.get("/v1/duplicates")["totals"]["missing"] == 0


@pytest.mark.slow
def test_an_index_of_several_folders_serves_images_from_the_folder_that_they_are_all_in(tmp_path):
    build(tmp_path)
    whole = transhash.encode([tmp_path / "photos" / "dogs" / f"{n}.png" for n in (1, 3)], "phash")
    index = transhash.build_index(whole)
    index.add(transhash.encode(tmp_path / "photos" / "cats", "phash"))
    index.save(tmp_path / "both.index")
    with running(tmp_path / "both.index") as server:
        described = server.get("/v1/indexes")["indexes"][0]
        assert (described["root"], described["images"]) == (str(tmp_path / "photos"), True)
        assert server.client.get("/v1/images/0").status_code == 200
        assert server.get("/v1/items/0")["file"]["state"] == "present"


# Duplicates and review


def test_duplicates(server):
    answer = server.get("/v1/duplicates")
    (cluster,) = answer["clusters"]
    assert (answer["radius"], answer["keep"], answer["cursor"]) == (4, "largest", None)
    kept, spare = cluster["images"]
    assert (kept["path"], kept["role"], kept["width"]) == ("dogs/1.png", "kept", 64)
    assert (spare["path"], spare["role"], spare["width"]) == ("dogs/copy.png", "spare", 32)
    assert answer["spare_ids"] == [spare["id"]]
    assert answer["totals"]["spare_bytes"] == cluster["spare_bytes"] == spare["bytes"]


def test_duplicates_page_by_page_and_as_the_command_finds_them(server):
    truth = transhash.dedup(str(server.engine.index().location), 26, keep="path")
    found, cursor = [], "0"
    while cursor is not None:
        answer = server.get("/v1/duplicates", radius=26, keep="path", limit=2, cursor=cursor)
        assert ("spare_ids" in answer) == (cursor == "0")
        found += [[image["path"] for image in cluster["images"]] for cluster in answer["clusters"]]
        cursor = answer["cursor"]
    root = Path(str(server.engine.index().location)).parent / "photos"
    assert found == [[str(Path(path).relative_to(root)) for path in cluster.paths] for cluster in truth]
    assert len(found) > 2


def test_duplicates_prefer_folders(server):
    radius = 30
    preferred = server.get("/v1/duplicates", radius=radius, prefer="cats", limit=200)
    for cluster in preferred["clusters"]:
        labels = {image["labels"][0] for image in cluster["images"]}
        assert cluster["images"][0]["labels"] == ["cats"] or labels == {"dogs"}
    assert "not a folder of the images" in server.get("/v1/duplicates", 404, prefer="../..")["detail"]
    assert "not a folder of the images" in server.get("/v1/duplicates", 404, reference="/")["detail"]
    assert server.get("/v1/duplicates", 400, radius=2000)["detail"] == "radius: must be a whole number from 0 to 1024"


@pytest.mark.slow
def test_a_choice_is_a_list_to_download(server):
    root = Path(str(server.engine.index().location)).parent / "photos"
    ids = [id_of(server, path) for path in ("dogs/1.png", "cats/2.png")]
    body = {"remove": [*ids, ids[0]], "last_copies": ids}
    answer = server.client.post("/v1/review", json=body)
    assert answer.text == f"{root}/dogs/1.png\n{root}/cats/2.png\n"
    assert "attachment" in answer.headers["content-disposition"]
    answer = server.client.post("/v1/review", json={**body, "format": "nul"})
    assert answer.content.split(b"\0")[:-1] == [f"{root}/{name}".encode() for name in ("dogs/1.png", "cats/2.png")]
    answer = server.client.post("/v1/review", json={**body, "format": "json"}).json()
    assert answer["bytes"] == sum((root / name).stat().st_size for name in ("dogs/1.png", "cats/2.png"))
    for bad, status in (([], 400), ([999], 404), (["1"], 400), ([10**30], 400), ([-1], 400)):
        assert server.client.post("/v1/review", json={"remove": bad}).status_code == status


@pytest.mark.slow
def test_the_list_is_what_the_command_removes(th, tmp_path):
    index = build(tmp_path)
    with running(index) as server:
        ids = server.get("/v1/duplicates")["spare_ids"]
        (tmp_path / "list").write_bytes(server.client.post("/v1/review", json={"remove": ids}).content)
    th("index", "remove", index, "--list", tmp_path / "list")
    assert len(transhash.open(index)) == 32


def test_nothing_is_deleted_unless_allowed(server):
    answer = server.client.post("/v1/review", json={"remove": [1], "action": "trash", "confirm": 1})
    assert answer.status_code == 403
    assert answer.json()["detail"] == "nothing is deleted here; start the server with --allow-trash"
    assert server.client.get("/v1/images/1").status_code == 200


@pytest.mark.slow
def test_the_trash_takes_only_files_that_are_as_they_were(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setattr("send2trash.plat_other.HOMETRASH", str(tmp_path / "data" / "Trash"), raising=False)
    monkeypatch.setattr("send2trash.plat_other.HOMETRASH_B", str(tmp_path / "data" / "Trash").encode(), raising=False)
    build(tmp_path)
    photos = tmp_path / "photos" / "dogs"
    with running(tmp_path / "photos.index", allow_trash=True) as server:
        names = ("dogs/3.png", "dogs/5.png", "dogs/7.png", "dogs/9.png")
        ids = [id_of(server, name) for name in names]
        picture(500).save(photos / "5.png")
        (photos / "7.png").unlink()
        (photos / "9.png").rename(photos / "real.png")
        (photos / "9.png").symlink_to("real.png")
        body = {"remove": ids, "last_copies": ids, "action": "trash"}
        assert "confirm" in server.client.post("/v1/review", json=body).json()["detail"]
        assert (photos / "3.png").exists()
        answer = server.client.post("/v1/review", json={**body, "confirm": 4}).json()
        assert [image["path"] for image in answer["trashed"]] == ["dogs/3.png"]
        assert {image["path"]: image["reason"] for image in answer["failed"]} == {
            "dogs/5.png": "has changed since it was encoded",
            "dogs/7.png": "the file is gone",
            "dogs/9.png": "a link, not a file",
        }
        assert answer["bytes"] == len(encoded(picture(3)))
    assert not (photos / "3.png").exists()
    assert (photos / "9.png").is_symlink()
    assert [file.name for file in (tmp_path / "data" / "Trash" / "files").iterdir()] == ["3.png"]


@pytest.mark.slow
def test_the_trash_takes_nothing_that_it_cannot_compare(hasher_file, tmp_path):
    place = build(tmp_path)
    with running(place, model=str(hasher_file), allow_trash=True) as server:
        body = {"remove": [0], "last_copies": [0], "action": "trash", "confirm": 1}
        answer = server.client.post("/v1/review", json=body).json()
        assert answer["trashed"] == []
        assert "cannot be compared" in answer["failed"][0]["reason"]
        many = {"remove": list(range(101)), "action": "trash", "confirm": 101}
        assert server.client.post("/v1/review", json=many).status_code == 400


def test_a_large_cluster_is_described_in_part(server, monkeypatch):
    monkeypatch.setattr(clearing, "_DESCRIBED", 1)
    (cluster,) = server.get("/v1/duplicates")["clusters"]
    assert [image["width"] is None for image in cluster["images"]] == [False, True]
    assert all(image["bytes"] for image in cluster["images"])


# Operation


def test_answers_are_sent_at_once(server, monkeypatch):
    """No connection waits until the client has acknowledged the head before it sends the body."""
    made, found = serving._Protocol.connection_made, []

    def look(protocol, transport):
        made(protocol, transport)
        found.append(transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    monkeypatch.setattr(serving._Protocol, "connection_made", look)
    assert httpx.get(f"{server.address}/healthz", timeout=60).status_code == 200
    assert found == [1]


def test_health_readiness_and_metrics(server):
    assert server.get("/healthz") == {"status": "ok"}
    ready = server.get("/readyz")
    assert (ready["status"], ready["indexes"][0]["fault"]) == ("ready", None)
    server.search(id=1)
    text = server.client.get("/metrics").text
    assert 'transhash_stage_seconds_count{stage="scan"}' in text
    assert 'transhash_batch_size_bucket{le="64.0",stage="scan"}' in text
    assert 'transhash_responses_total{route="/v1/search",status="200"}' in text
    assert 'transhash_index_images{index="photos"} 33.0' in text


@pytest.mark.slow
def test_the_page_is_served_with_its_policy(server):
    page = server.client.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert "unsafe" not in page.headers["content-security-policy"]
    links = re.findall(r'(?:src|href)="(/page/[^"]+)"', page.text)
    assert links
    for link in links:
        assert server.client.get(link).status_code == 200, link
    for bad in ("/page/none.js", "/page/..%2f__init__.py", "/page/"):
        assert server.client.get(bad).status_code == 404
    assert not re.search(r"<script(?![^>]*\bsrc=)[^>]*>|\son\w+=|<style|\sstyle=", page.text)


def test_other_routes_and_methods_are_problems(server):
    answer = server.client.get("/v1/nothing")
    assert (answer.status_code, answer.json()["detail"]) == (404, "/v1/nothing: no such route; see /openapi.json")
    answer = server.client.get("/v1/search")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.slow
def test_paths_that_are_not_text(tmp_path):
    """Undecodable bytes become surrogates, as in the JSON output of commands."""
    (tmp_path / "photos").mkdir()
    with open(bytes(tmp_path / "photos") + b"/\xff.png", "wb") as file:
        file.write(encoded(picture(1)))
    transhash.build_index(transhash.encode(tmp_path / "photos", "phash"), tmp_path / "photos.index")
    with running(tmp_path / "photos.index") as server:
        answer = server.client.get("/v1/items")
        assert json.loads(answer.content)["items"][0]["path"] == "\udcff.png"
        assert server.client.get("/v1/images/0").headers["content-disposition"].endswith("''%FF.png")
        assert server.client.post("/v1/review", json={"remove": [0], "last_copies": [0]}).content.endswith(
            b"/\xff.png\n"
        )


def test_a_missing_hasher_leaves_the_other_searches(tmp_path):
    packed = np.random.default_rng(0).integers(0, 256, (9, 8), dtype=np.uint8)
    records = transhash.codes.Records([b"%d.png" % row for row in range(9)])
    model = transhash.codes.ModelRef("/gone/h.safetensors", "d", 64)
    transhash.build_index(transhash.Codes(packed, records, model), tmp_path / "i.index")
    with running(tmp_path / "i.index") as server:
        assert len(server.search(id=1)["matches"]) == 8
        answer = server.client.post("/v1/search", files={"image": ("x.png", encoded(picture(3)))})
        assert answer.status_code == 503
        assert "start the server with its file: --model FILE" in answer.json()["detail"]


def test_a_client_of_another_kind(server):
    """Answers do not depend on the client: HTTP/1.0, no keep-alive, a body in chunks."""

    def chunks():
        yield b'{"id": 3, '
        yield b'"k": 2}'

    headers = {"Content-Type": "application/json"}
    answer = httpx.post(f"{server.address}/v1/search", content=chunks(), headers=headers)
    assert paths(answer.json()) == paths(server.search(id=3, k=2))
