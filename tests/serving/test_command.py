"""`th serve` as a process."""

import signal
import socket
import threading

import httpx
import pytest

import transhash
from transhash.errors import ServingError

from .servers import build, encoded, picture


@pytest.fixture
def place(tmp_path):
    """An index of a few pictures."""
    return build(tmp_path, 4)


def started(start, *arguments):
    """Start the server at a free port; return the process and the printed address."""
    process = start("serve", *arguments, "--port", 0)
    line = process.stderr.readline()
    assert line.startswith("serving at http://127.0.0.1:"), line + process.stderr.read()
    return process, line.split()[2]


def test_it_serves_until_it_is_told_to_stop_and_answers_what_was_asked(start, place):
    """After SIGTERM, a request whose body is half sent is answered, and new ones are not."""
    process, address = started(start, place)
    assert httpx.get(f"{address}healthz", timeout=60).json() == {"status": "ok"}
    half, answers = threading.Event(), []

    def body():
        whole = b'--x\r\nContent-Disposition: form-data; name="image"; filename="x"\r\n\r\n'
        whole += encoded(picture(3)) + b"\r\n--x--\r\n"
        yield whole[:100]
        half.set()
        assert stopped.wait(60)
        yield whole[100:]

    def ask():
        headers = {"Content-Type": "multipart/form-data; boundary=x"}
        answers.append(httpx.post(f"{address}v1/search", content=body(), headers=headers, timeout=60))

    stopped = threading.Event()
    thread = threading.Thread(target=ask)
    thread.start()
    assert half.wait(60)
    port = int(address.rstrip("/").rpartition(":")[2])
    wait_for_request(address)
    process.send_signal(signal.SIGTERM)
    wait_until_closed(port)
    stopped.set()
    thread.join()
    assert answers[0].status_code == 200
    assert answers[0].json()["matches"][0]["path"] == "dogs/3.png"
    assert process.wait(60) == 0
    assert process.stderr.read() == ""


def wait_for_request(address):
    """Wait until the server has read the head of the request: later requests are answered after it."""
    for _ in range(3):
        assert httpx.get(f"{address}healthz", timeout=60).status_code == 200


def wait_until_closed(port):
    """Wait until nothing listens at a port."""
    for _ in range(2400):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            return
        threading.Event().wait(0.025)
    raise AssertionError("the server goes on listening")


def test_what_cannot_be_served_is_said_in_one_line(th, place, tmp_path):
    th("serve", place, "--host", "0.0.0.0", code=1)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = th("serve", place, "--port", taken.getsockname()[1], code=1)
    assert done.stderr.endswith("Address already in use; choose another host or port\n")
    assert "not an index folder" in th("serve", tmp_path, "--port", 0, code=1).stderr
    (tmp_path / "token").write_text("short")
    done = th("serve", place, "--token-file", tmp_path / "token", code=1)
    assert "make one: openssl rand -hex 32" in done.stderr


def test_the_packages_are_named_if_they_are_missing(place, monkeypatch):
    import transhash
    from transhash.serving import run

    monkeypatch.setattr(run, "find_spec", lambda name: None if name == "starlette" else object())
    with pytest.raises(
        transhash.TransHashError, match=r"needs starlette; install it with: pip install 'transhash\[serve\]'"
    ):
        transhash.serve(place)


def test_a_temporary_directory_is_required(tmp_path, monkeypatch):
    """Without one, torch cannot be imported, and every search by image would fail."""
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setattr("tempfile._candidate_tempdir_list", lambda: [str(tmp_path / "none")])
    with pytest.raises(ServingError, match="no temporary directory is writable; set TMPDIR"):
        transhash.serve(tmp_path / "photos.index", port=0)
