"""Requests that mean harm, or that never end."""

import os
import socket
import struct
import threading
import time
import zlib
from contextlib import closing

import httpx
import pytest

from transhash.errors import ServingError
from transhash.serving import run
from transhash.serving.http import app, reading
from transhash.serving.http import server as serving

from .servers import build, encoded, picture, running

TOKEN = "0123456789abcdef0123456789abcdef"


def post_image(server, data, name="image"):
    return server.client.post("/v1/search", files={name: ("x.png", data)})


def connected(server):
    """A connection to a server, without any library that would mend what is sent."""
    return closing(socket.create_connection(("127.0.0.1", server.port), timeout=60))


def received(connection):
    """What the server sends until it closes the connection."""
    data = b""
    while chunk := connection.recv(1 << 16):
        data += chunk
    return data


def wait_until(holds):
    """Wait for a condition, which a server reaches in its own time."""
    for _ in range(600):
        if holds():
            return
        time.sleep(0.05)
    raise AssertionError("the condition does not come to hold")


# Files


@pytest.mark.parametrize(
    "path",
    [
        "/v1/images/..%2f..%2fetc%2fpasswd",
        "/v1/images/../../etc/passwd",
        "/v1/images/%00",
        "/v1/images/-1",
        "/v1/images/0x1",
        "/v1/images/99999999999999999999999",
        "/v1/thumbnails/%2e%2e",
        "/page/..%2f..%2f__init__.py",
        "/page/%2e%2e/run.py",
        "//etc/passwd",
    ],
)
def test_no_path_leads_out(server, path):
    with connected(server) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        answer = received(connection)
    assert answer.startswith((b"HTTP/1.1 404", b"HTTP/1.1 400")), answer
    assert b"root:" not in answer


@pytest.mark.slow
def test_no_link_leads_out_of_the_folder(tmp_path):
    """A link in the place of an image, a link to a folder, and a pipe; one that stays inside is followed."""
    build(tmp_path)
    secret = tmp_path / "secret"
    secret.mkdir()
    picture(900).save(secret / "9.png")
    dogs = tmp_path / "photos" / "dogs"
    with running(tmp_path / "photos.index") as server:
        ids = {name: server.search(path=f"dogs/{name}.png")["query"]["id"] for name in ("3", "5", "7", "9")}
        for name in ("3", "5", "7"):
            (dogs / f"{name}.png").unlink()
        (dogs / "3.png").symlink_to(secret / "9.png")
        os.mkfifo(dogs / "5.png")
        (dogs / "7.png").symlink_to("1.png")
        for kind in ("images", "thumbnails"):
            assert server.client.get(f"/v1/{kind}/{ids['3']}").status_code == 404
            assert server.client.get(f"/v1/{kind}/{ids['5']}").status_code == 404
            assert server.client.get(f"/v1/{kind}/{ids['7']}").status_code == 200
        dogs.rename(tmp_path / "photos" / "real")
        dogs.symlink_to(secret, target_is_directory=True)
        assert server.client.get(f"/v1/images/{ids['9']}").status_code == 404


# Bodies


def test_an_oversized_body_is_refused_before_it_is_read(server):
    with connected(server) as connection:
        head = "POST /v1/search HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\nConnection: close\r\n"
        connection.sendall((head + "Content-Type: multipart/form-data; boundary=x\r\n\r\n").encode())
        assert received(connection).startswith(b"HTTP/1.1 413")


def test_an_oversized_body_in_chunks_is_cut_off(server):
    def chunks():
        for _ in range(40):
            yield b" " * (1 << 16)

    headers = {"Content-Type": "application/json"}
    answer = httpx.post(f"{server.address}/v1/search", content=chunks(), headers=headers)
    assert answer.status_code == 413


@pytest.mark.slow
def test_an_image_may_not_be_too_large(server):
    answer = post_image(server, bytes(1 << 25) + b"1")
    assert (answer.status_code, answer.json()["detail"]) == (413, "the image is larger than 33,554,432 bytes")
    wait_until(lambda: server.service.uploads.held == 0)  # the answer may arrive before the release


def bomb(side):
    """A PNG of `side` x `side` pixels in few bytes."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(1 << 20))) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "empty file"),
        (b"no picture", "not an image of a known format"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image of a known format"),
        (encoded(picture(1))[:90], "damaged image"),
        (bomb(100_000), "more than 178956970 pixels"),
    ],
    ids=["empty", "text", "SVG", "cut off", "bomb"],
)
def test_an_image_that_cannot_be_read_is_named(server, data, sentence):
    answer = post_image(server, data)
    assert answer.status_code == 422
    assert sentence in answer.json()["detail"]


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({"Content-Type": "multipart/form-data"}, b"x", 400),
        ({"Content-Type": "multipart/form-data; boundary=x"}, b"no parts", 400),
        ({"Content-Type": "multipart/form-data; boundary=x"}, b"--x\r\n\r\nno name\r\n--x--\r\n", 400),
        ({"Content-Type": "multipart/form-data; boundary=x"}, b"--x--\r\n", 400),
        ({"Content-Type": "application/json"}, b"{", 400),
        ({"Content-Type": "application/json"}, b"\xff\xfe", 400),
        ({"Content-Type": "application/json"}, b"[" * 100_000, 400),
        ({"Content-Type": "application/json"}, b"[1]", 400),
        ({"Content-Type": "text/plain"}, b"{}", 415),
        ({}, b"{}", 415),
    ],
)
def test_a_malformed_body_is_a_problem(server, headers, body, status):
    answer = server.client.post("/v1/search", content=body, headers=headers)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"


def test_parts_that_do_not_belong_there_are_refused(server):
    image = ("x.png", encoded(picture(1)))
    for files in ({"picture": image}, {"image": image, "more": image}, [("image", image)] * 3):
        assert server.client.post("/v1/search", files=files).status_code == 400
    both = server.client.post("/v1/search", files={"image": image}, data={"query": '{"id": 3}'})
    assert "an uploaded image is the query" in both.json()["detail"]


def test_uploads_are_not_written_to_disk(server, tmp_path, monkeypatch):
    """No temporary file comes into being, whatever the size."""
    opened = []
    monkeypatch.setattr("tempfile._TemporaryFileWrapper", lambda *args, **named: opened.append(args))
    monkeypatch.setattr("tempfile.TemporaryFile", lambda *args, **named: opened.append(args))
    large = encoded(picture(3, 2048), "BMP")
    assert len(large) > 1 << 23
    assert post_image(server, large).status_code == 200
    assert not opened


def test_uploads_share_a_bounded_memory(server, monkeypatch):
    monkeypatch.setattr(server.service.uploads, "_most", 1000)
    answer = post_image(server, encoded(picture(3, 512), "BMP"))
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
    wait_until(lambda: server.service.uploads.held == 0)  # the answer may arrive before the release


# Clients that are slow, or gone


def test_a_head_that_does_not_end_is_given_up(server, monkeypatch):
    """The first of a connection, and a later one."""
    monkeypatch.setattr(serving, "_HEAD_SECONDS", 0.2)
    with connected(server) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: loc")
        assert received(connection) == b""
    with connected(server) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer = connection.recv(1 << 16)
        connection.sendall(b"GET /he")
        assert (answer + received(connection)).count(b"HTTP/1.1 200") == 1


@pytest.mark.slow
def test_a_head_that_comes_with_a_whole_request_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(serving, "_IDLE_SECONDS", 0.2)
    build(tmp_path, 2)
    with running(tmp_path / "photos.index") as server, connected(server) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET /he")
        assert received(connection).count(b"HTTP/1.1 200") == 1


def test_a_body_that_does_not_end_is_given_up(server, monkeypatch):
    monkeypatch.setattr(reading, "BODY_SECONDS", 0.2)
    with connected(server) as connection:
        head = "POST /v1/search HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\nConnection: close\r\n"
        connection.sendall((head + "Content-Type: application/json\r\n\r\n{").encode())
        assert received(connection).startswith(b"HTTP/1.1 408")


@pytest.mark.slow
def test_a_client_that_does_not_listen_is_given_up(tmp_path, monkeypatch):
    """A file that does not fit into the buffers of the system is closed when nobody reads it."""
    monkeypatch.setattr(serving, "_SEND_SECONDS", 0.3)
    build(tmp_path, 2)
    with running(tmp_path / "photos.index") as server:
        image = tmp_path / "photos" / "dogs" / "1.png"
        with image.open("ab") as file:
            file.truncate(1 << 26)
        id = server.search(path="dogs/1.png")["query"]["id"]
        with connected(server) as connection:
            connection.sendall(f"GET /v1/images/{id} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            wait_until(lambda: str(image) in opened_files())
            wait_until(lambda: str(image) not in opened_files())
        assert server.get("/healthz") == {"status": "ok"}


def opened_files():
    """The paths of the files that this process has open."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            found.add(os.readlink(f"/proc/self/fd/{name}"))
        except OSError:
            continue
    return found


@pytest.mark.slow
def test_killed_clients_cost_neither_threads_nor_memory(server):
    """Half a head, half a body, and whole requests whose answers nobody waits for."""
    image = encoded(picture(3, 256))
    body = b'--x\r\nContent-Disposition: form-data; name="image"; filename="x"\r\n\r\n' + image + b"\r\n--x--\r\n"
    head = b"POST /v1/search HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=x\r\n"
    head += b"Content-Length: %d\r\n\r\n" % len(body)
    whole = head + body

    def kill_some(count):
        for number in range(count):
            with connected(server) as connection:
                connection.sendall(whole[: (10, len(head) + 50, len(whole) - 1, len(whole))[number % 4]])
                if number % 3 == 0:  # a reset instead of an end
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    kill_some(8)
    threads = threading.active_count()
    kill_some(120)
    wait_until(lambda: server.service.uploads.held == 0 and not len(server.engine.index().queue))
    assert post_image(server, image).status_code == 200
    # A connection that was killed before the server accepted it may still come and go here.
    wait_until(lambda: server.service.uploads.held == 0 and threading.active_count() <= threads + 20)


def test_a_full_queue_answers_429(server, monkeypatch):
    monkeypatch.setattr(server.engine.index().queue, "_room", 0)
    answer = server.client.post("/v1/search", json={"id": 1})
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
    assert "requests are waiting already" in answer.json()["detail"]


def test_an_answer_that_takes_too_long_is_given_up(server, monkeypatch):
    monkeypatch.setattr(app, "ANSWER_SECONDS", 0.05)
    done = threading.Event()
    for _ in range(4):
        server.engine.work(done.wait)
    try:
        problem = server.get("/v1/items", expect=504)
    finally:
        done.set()
    assert problem["detail"] == "the answer took too long"


# Other sites, and clients without the token


def test_other_sites_change_and_read_nothing(server):
    there = {"Origin": "https://evil.example"}
    for method, path in (("POST", "/v1/search"), ("POST", "/v1/review"), ("POST", "/v1/session")):
        assert server.client.request(method, path, json={"id": 1}, headers=there).status_code == 403
    answer = server.client.get("/v1/indexes", headers=there)
    assert "access-control-allow-origin" not in answer.headers
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    here = {"Origin": server.address}
    assert server.client.post("/v1/search", json={"id": 1}, headers=here).status_code == 200
    assert server.client.post("/v1/search", json={"id": 1}, headers={"Origin": "null"}).status_code == 403


@pytest.mark.slow
def test_a_name_that_leads_here_by_accident_is_refused(tmp_path):
    """DNS rebinding: a page of another site under a name that resolves to this machine."""
    build(tmp_path, 2)
    with running(tmp_path / "photos.index", hosts=frozenset({"127.0.0.1", "localhost"})) as server:
        assert server.client.get("/v1/indexes").status_code == 200
        for host in ("evil.example", "evil.example:7700", "[::1", ""):
            assert server.client.get("/v1/indexes", headers={"Host": host}).status_code in (400, 403), host


@pytest.mark.slow
def test_trusted_sites_are_named(tmp_path):
    build(tmp_path, 2)
    with running(tmp_path / "photos.index", origins=("https://photos.example",)) as server:
        there = {"Origin": "https://photos.example"}
        answer = server.client.post("/v1/search", json={"id": 1}, headers=there)
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, "https://photos.example")
        preflight = {
            **there,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "content-type",
        }
        assert server.client.options("/v1/search", headers=preflight).status_code == 200
        other = {"Origin": "https://evil.example"}
        assert "access-control-allow-origin" not in server.client.get("/v1/indexes", headers=other).headers


@pytest.mark.slow
def test_a_token_is_demanded(tmp_path):
    build(tmp_path, 2)
    with running(tmp_path / "photos.index", token=TOKEN) as server:
        assert server.get("/v1/indexes")["indexes"]
        assert server.get("/readyz")["indexes"]
        with httpx.Client(base_url=server.address) as client:
            for path in ("/v1/indexes", "/v1/images/0", "/v1/thumbnails/0", "/metrics", "/v1/nothing"):
                answer = client.get(path)
                assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer"), path
            for shown in (TOKEN[:-1], TOKEN + "0", TOKEN.upper(), "é"):
                headers = {"Authorization": f"Bearer {shown}".encode()}
                assert client.get("/v1/indexes", headers=headers).status_code == 401
            assert client.get("/v1/indexes", headers={"Authorization": f"Basic {TOKEN}"}).status_code == 401
            assert client.get("/").status_code == client.get("/healthz").status_code == 200
            assert client.get("/readyz").json() == {"status": "ready"}


@pytest.mark.slow
def test_a_browser_signs_in_and_out(tmp_path):
    build(tmp_path, 2)
    with running(tmp_path / "photos.index", token=TOKEN) as server, httpx.Client(base_url=server.address) as client:
        assert client.post("/v1/session", json={"token": "wrong"}).status_code == 401
        answer = client.post("/v1/session", json={"token": TOKEN})
        cookie = answer.headers["set-cookie"]
        assert (answer.status_code, "HttpOnly" in cookie, "SameSite=strict" in cookie) == (204, True, True)
        assert TOKEN not in cookie
        assert client.get("/v1/images/0").status_code == 200
        client.delete("/v1/session")
        assert client.get("/v1/images/0").status_code == 401
        client.cookies.set("transhash", TOKEN)
        assert client.get("/v1/images/0").status_code == 401


def test_an_open_address_needs_a_token(tmp_path):
    for host in ("0.0.0.0", "::", "192.0.2.1", "photos.example"):
        with pytest.raises(ServingError, match="protect them: --token-file FILE"):
            run.serve(tmp_path, host=host)
    assert all(map(run.is_loopback, ("127.0.0.1", "127.1.2.3", "::1", "localhost", "LocalHost")))
    for text in (b"", b"short\n", b"spaces in the token here\n", b"\xff" * 40, "ü".encode() * 20):
        (tmp_path / "token").write_bytes(text)
        with pytest.raises(ServingError, match="token"):
            run.read_token(tmp_path / "token")
    (tmp_path / "token").write_text(f"{TOKEN}\nsecond line\n")
    assert run.read_token(tmp_path / "token") == TOKEN


def test_every_answer_has_the_security_headers(server):
    for path in ("/", "/page/app.js", "/v1/indexes", "/v1/images/0", "/v1/nothing", "/metrics"):
        headers = server.client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "server" not in headers


def test_a_request_has_one_length(server):
    """Two would let a proxy and the server disagree on where the next request begins."""
    with connected(server) as connection:
        head = (
            b"POST /v1/search HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        connection.sendall(head + b"0\r\n\r\nGET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer = received(connection)
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"not both" in answer
    assert answer.count(b"HTTP/1.1") == 1
