"""Encoding on a Ray cluster: the file is that of one process, whatever happens to workers, driver or network."""

import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transhash import load_hasher
from transhash.codes import open_codes
from transhash.encoding import ray_cluster
from transhash.encoding.run import encode_to_file
from transhash.errors import ClusterError
from transhash.sources.folder import FolderSource

needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="needs Ray: pip install 'transhash[ray]'")
PATIENT = {
    "RAY_raylet_start_wait_time_s": "300",  # a busy machine starts a node slowly
    "RAY_worker_niceness": "0",  # by default its workers wait for all other processes
}
RAY = ["--engine", "ray", "--processes", 2]


@pytest.fixture(scope="module")
def ray_folder():
    """Where Ray keeps its sockets, whose paths must be short, and looks for clusters on this machine."""
    with tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as folder:
        yield folder


@pytest.fixture(scope="module")
def cluster(tmp_path_factory, ray_folder):
    """A cluster of two cores on this machine: its process, and the environment that leads to it."""
    ports = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    head, client, agent = (port.getsockname()[1] for port in ports)
    for port in ports:
        port.close()
    command = [Path(sys.executable).with_name("ray"), "start", "--head", "--block", "--node-ip-address=127.0.0.1"]
    command += [f"--port={head}", f"--ray-client-server-port={client}", f"--dashboard-agent-listen-port={agent}"]
    command += [
        "--num-cpus=2",
        "--object-store-memory=80000000",
        "--include-dashboard=false",
        f"--temp-dir={ray_folder}/c",
    ]
    access = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_USAGE_STATS_ENABLED": "0"}
    access |= PATIENT
    log = tmp_path_factory.mktemp("cluster") / "log"
    with log.open("w") as file:
        process = subprocess.Popen(command, env={**os.environ, **access}, stdout=file, stderr=file)
    try:
        for _ in range(1200):
            assert process.poll() is None, log.read_text()
            if "will now block" in log.read_text():
                break
            time.sleep(0.1)
        yield process.pid, {**access, "RAY_ADDRESS": f"127.0.0.1:{head}"}
    finally:
        process.terminate()
        process.wait(600)


@pytest.fixture(scope="module")
def many(pictures, tmp_path_factory):
    """Many images, some of them broken."""
    folder = tmp_path_factory.mktemp("many")
    for number in range(1500):
        name = folder / str(number % 7) / f"{number:04}.png"
        name.parent.mkdir(exist_ok=True)
        name.symlink_to(pictures / "cross" / f"{number % 8}.png") if number % 50 else name.write_bytes(b"broken")
    return folder


@pytest.fixture(scope="module")
def whole(many, tmp_path_factory):
    """The codes file of one process."""
    path = tmp_path_factory.mktemp("whole") / "c.h5"
    encode_to_file(FolderSource(many), path, load_hasher("phash"))
    return path


@pytest.fixture
def begin(cluster, start, many, tmp_path):
    """Start to encode them on the cluster, into c.h5; it does not outlive the test."""
    return lambda: start("encode", many, "-o", tmp_path / "c.h5", "--model", "phash", *RAY, env=cluster[1])


def contents(path):
    with open_codes(path) as file:
        return file.header.digest, len(file), list(file.skipped())


def parts(folder):
    return len(list(folder.glob("c.h5.parts/0*.h5")))


def workers(cluster):
    """The processes of the cluster that encode."""
    found = []
    for process in psutil.Process(cluster).children(recursive=True):
        with suppress(psutil.Error):  # it has ended
            found += [process] if "ray::_Worker" in "".join(process.cmdline()) else []
    return found


@needs_ray
def test_a_network_on_a_cluster_writes_what_it_writes_here(th, cluster, pictures, hasher_file, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for number, picture in enumerate(sorted(pictures.rglob("*.png"))):
        (photos / f"{number}.png").symlink_to(picture)
    (photos / "10 broken.png").write_bytes(b"no image")
    run = ["encode", "photos", "--model", hasher_file, "--embeddings"]
    th(*run, "-o", "here.h5", cwd=tmp_path)
    ray = ["--engine", "ray", "--processes", 1]
    done = th(*run, "-o", "there.h5", *ray, "--batch-size", 5, cwd=tmp_path, env=cluster[1])
    assert contents(tmp_path / "here.h5") == contents(tmp_path / "there.h5")
    lines = done.stderr.splitlines()
    assert lines[0] == "images in photos"
    assert "skipped 10 broken.png: not an image of a known format" in lines
    assert lines[-1].startswith("wrote there.h5: 24 rows of 16 bits, ")


@needs_ray
def test_without_an_address_this_machine_is_the_cluster(th, many, whole, tmp_path, ray_folder):
    env = {
        "RAY_ADDRESS": "",
        "RAY_TMPDIR": f"{ray_folder}/h",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        **PATIENT,
    }
    done = th("encode", many, "-o", "c.h5", "--model", "phash", "--engine", "ray", cwd=tmp_path, env=env)
    assert contents(tmp_path / "c.h5") == contents(whole)
    assert "Traceback" not in done.stderr


@needs_ray
def test_a_stopped_or_killed_run_resumes_and_replaces_lost_workers(begin, cluster, whole, tmp_path):
    for how in (signal.SIGKILL, signal.SIGINT):
        process, before = begin(), parts(tmp_path)
        while process.poll() is None and parts(tmp_path) <= before:
            time.sleep(0.01)
        process.send_signal(how)
        _, errors = process.communicate(timeout=600)
        if how != signal.SIGKILL and process.returncode:
            assert process.returncode == 130
            assert errors.splitlines()[-1].startswith("Error: interrupted")
    process = begin()
    for _ in range(2):
        while process.poll() is None and not workers(cluster[0]):
            time.sleep(0.01)
        time.sleep(0.2)
        for worker in workers(cluster[0])[:1]:
            worker.kill()
    assert process.wait(600) == 0
    assert contents(tmp_path / "c.h5") == contents(whole)
    assert os.listdir(tmp_path) == ["c.h5"]


@needs_ray
def test_repeatedly_lost_workers_end_the_run(begin, cluster):
    process = begin()
    while process.poll() is None:
        for worker in workers(cluster[0]):
            worker.kill()
        time.sleep(0.1)
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 1
    errors = [line for line in errors.splitlines() if line.startswith("Error")]
    assert len(errors) == 1
    assert "worker" in errors[0]


@needs_ray
@pytest.mark.slow
def test_a_cluster_that_cannot_be_reached(th, pictures, tmp_path):
    run = ["encode", pictures, "-o", tmp_path / "c.h5", "--model", "phash", *RAY]
    done = th(*run, env={"RAY_ADDRESS": "127.0.0.1:1"}, code=1)
    assert done.stderr.splitlines()[-1].startswith(
        "Error: the cluster at RAY_ADDRESS=127.0.0.1:1 cannot be reached ("
    )
    done = th(*run, env={"RAY_ADDRESS": "nowhere"}, code=1)
    assert "Error: the cluster at RAY_ADDRESS=nowhere cannot be reached (Invalid address" in done.stderr
    assert os.listdir(tmp_path) == []


@pytest.mark.slow
@needs_ray
@pytest.mark.parametrize("error", [Exception("The node timed out\nduring startup."), ValueError("no"), OSError("no")])
def test_errors_of_ray_are_one_line(monkeypatch, error, pictures, tmp_path):
    """On a busy machine Ray raised a bare Exception; that cannot be made to happen here."""
    import ray

    def init(**options):
        raise error

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(ClusterError, match="a cluster on this machine cannot be reached") as caught:
        encode_to_file(FolderSource(pictures), tmp_path / "c.h5", load_hasher("phash"), engine="ray")
    assert "\n" not in str(caught.value)
    assert os.listdir(tmp_path) == []


def test_without_ray(monkeypatch, pictures, tmp_path):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ClusterError, match=r"pip install 'transhash\[ray\]'"):
        encode_to_file(FolderSource(pictures), tmp_path / "c.h5", load_hasher("phash"), engine="ray")
    assert os.listdir(tmp_path) == []


@pytest.mark.slow
def test_a_machine_with_another_hasher(hasher_file, tmp_path):
    ref = load_hasher(hasher_file).ref
    ray_cluster._Worker(ref, False, 1).load()
    with pytest.raises(ClusterError, match="is not the same hasher as"):
        ray_cluster._Worker(replace(ref, digest="0" * 64), False, 1).load()
    with pytest.raises(ClusterError, match=f"on {socket.gethostname()}: .*no such hasher"):
        ray_cluster._Worker(replace(ref, name=str(tmp_path / "h.safetensors")), False, 1).load()


machine = st.fixed_dictionaries(
    {"CPU": st.integers(1, 130).map(float)}, optional={"GPU": st.integers(1, 8).map(float)}
)


@pytest.mark.slow
@given(
    machines=st.lists(machine, min_size=1, max_size=6), number=st.none() | st.integers(1, 40), network=st.booleans()
)
def test_all_workers_fit(machines, number, network):
    count, cores, gpus = ray_cluster.plan_workers(machines, number, network=network)
    assert number in (None, count)
    room = 0
    for machine in machines:
        places = [machine["CPU"] // cores] if cores else []
        places += [machine.get("GPU", 0) * 10_000 // round(gpus * 10_000)] if gpus else []  # as Ray counts
        room += int(min(places))
    total = sum(machine["CPU"] for machine in machines)
    assert room >= count or (not gpus and count > total and cores == 1)
    assert bool(gpus) == (network and any("GPU" in machine for machine in machines))
    if gpus:
        assert count >= sum(machine.get("GPU", 0) for machine in machines) or number
