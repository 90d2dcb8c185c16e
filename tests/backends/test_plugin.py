"""A third-party backend, installed as a separate distribution and used from the command line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

TOY = Path(__file__).parent.parent / "toy_backend"


@pytest.fixture(scope="module")
def plugin(tmp_path_factory):
    """Environment variables with which the toy backend is importable."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("installed")
    for path in TOY.iterdir():
        if path.is_file():
            (source / path.name).write_bytes(path.read_bytes())
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--target", target, source], check=True, capture_output=True)
    return {"PYTHONPATH": os.pathsep.join([str(target), os.environ.get("PYTHONPATH", "")])}


def test_conforms(plugin, tmp_path):
    test = tmp_path / "test_toy.py"
    test.write_text(
        "from toy_backend import ToyIndex\nfrom transhash.testing import BackendContract\n"
        "class TestToy(BackendContract):\n    backend = ToyIndex\n    refuses = {'mmap'}\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(test)]
    done = subprocess.run(command, env=os.environ | plugin, capture_output=True, text=True, cwd=tmp_path)
    assert "15 passed" in done.stdout, done.stdout


def test_used_like_any_other(th, plugin, pictures, tmp_path):
    th("encode", pictures, "-o", "c.h5", "--model", "phash", cwd=tmp_path)
    answers = []
    for backend, env in (("exact", None), ("faiss", None), ("toy", plugin)):
        th("index", "build", "c.h5", "-o", f"{backend}.index", "--type", backend, cwd=tmp_path, env=env)
        found = th("query", f"{backend}.index", "c.h5", "-k", 7, "--json", cwd=tmp_path, env=env)
        answers.append(json.loads(found.stdout)["queries"])
    assert answers[0] == answers[1] == answers[2]
    info = json.loads(th("index", "info", "toy.index", "--json", cwd=tmp_path).stdout)
    assert (info["backend"], info["codes"], info["type"]) == ("toy", 24, "toy")


def test_missing_and_broken_plugins_are_named(th, plugin, pictures, tmp_path):
    th("encode", pictures, "-o", "c.h5", "--model", "phash", cwd=tmp_path)
    th("index", "build", "c.h5", "-o", "toy.index", "--type", "toy", cwd=tmp_path, env=plugin)
    gone = th("query", "toy.index", "c.h5", cwd=tmp_path, code=1)
    assert gone.stderr == "Error: backend 'toy' is not installed; available: exact, faiss, triton\n"
    broken = th("index", "build", "c.h5", "-o", "b.index", "--type", "broken", cwd=tmp_path, code=1, env=plugin)
    assert "ModuleNotFoundError" in broken.stderr
    assert "reinstall the package 'transhash-toy-backend'" in broken.stderr
    assert broken.stderr.count("\n") == 1
