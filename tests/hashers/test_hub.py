"""Hashers on the model hub, with a local stand-in: push, encode, query, cache and errors of the hub."""

import importlib
import json
import re
import socket
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from huggingface_hub import constants
from huggingface_hub.errors import LocalEntryNotFoundError
from PIL import Image

import transhash
from transhash.errors import ModelError
from transhash.hashers import hub as transhash_hub
from transhash.hashers import model_card
from transhash.hashers.architecture import Architecture
from transhash.hashers.transhash import start
from transhash.models import COPY

from . import hub_stub

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def hub():
    with hub_stub.running() as running:
        yield running


@pytest.fixture
def online(hub, tmp_path):
    """The environment of a user with a token."""
    return {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "cache"), "HF_TOKEN": hub_stub.TOKEN}


@contextmanager
def variables(environment):
    """Let the hub's client in this process follow environment variables, which it reads once."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        _read_variables()
        yield
    _read_variables()


def _read_variables():
    importlib.reload(constants)
    transhash_hub.find.cache_clear()


@pytest.fixture
def folder(tmp_path):
    """A hasher and a few images."""
    torch.manual_seed(0)
    shape = Architecture(bits=64, backbone="test_vit", image_size=32, patch_size=8, groups=2)
    start(shape, class_names=("cat", "dog")).save(tmp_path / "h.safetensors")
    (tmp_path / "photos").mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (3, 40, 40, 3), dtype=np.uint8)
    for number, pixels in enumerate(noise):
        Image.fromarray(pixels).save(tmp_path / f"photos/{number}.png")
    return tmp_path


def test_a_hasher_is_pushed_and_used_from_its_repository(th, hub, online, folder):
    pushed = th("hub", "push", "h.safetensors", "user/birds", cwd=folder, env=online).stdout.strip()
    commit = hub.commit("user/birds")
    assert pushed == f"hf://user/birds@{commit}"
    files = hub.repositories["user/birds"]
    assert files["hasher.safetensors"] == (folder / "h.safetensors").read_bytes()
    assert files["README.md"].decode().startswith("---\nlibrary_name: transhash\n")

    files["README.md"] = b"by hand"
    th("hub", "push", "h.safetensors", "user/birds", "--private", cwd=folder, env=online)
    assert files["README.md"] == b"by hand"

    commit = hub.commit("user/birds")
    th("encode", "photos", "-o", "c.h5", "--model", "hf://user/birds", cwd=folder, env=online)
    th("encode", "photos", "-o", "local.h5", "--model", "h.safetensors", cwd=folder)
    codes, local = transhash.read_codes(folder / "c.h5"), transhash.read_codes(folder / "local.h5")
    np.testing.assert_array_equal(codes.packed, local.packed)
    assert codes.model.digest == local.model.digest
    assert codes.model.name == f"hf://user/birds@{commit}"

    th("index", "build", "c.h5", "-o", "photos.index", cwd=folder)
    hub.requests.clear()
    offline = {**online, "HF_HUB_OFFLINE": "1"}
    found = json.loads(th("query", "photos.index", "photos/1.png", "-k", 1, "--json", cwd=folder, env=offline).stdout)
    assert found["queries"][0]["matches"][0]["path"].endswith("1.png")
    assert not hub.requests


def test_an_index_does_not_start_a_download(th, hub, online, folder):
    with variables(online):
        th("hub", "push", "h.safetensors", "user/cats", cwd=folder)
        th("encode", "photos", "-o", "c.h5", "--model", "hf://user/cats", cwd=folder)
    th("index", "build", "c.h5", "-o", "photos.index", cwd=folder)
    hub.requests.clear()
    with variables({**online, "HF_HOME": str(folder / "other cache")}):
        failed = th("query", "photos.index", "photos/1.png", cwd=folder, code=1)
        assert "not downloaded yet; to download it, name it with --model" in failed.stderr
        assert not hub.requests
        name = re.search(r"hf://\S+@[0-9a-f]{40}", failed.stderr).group()
        th("query", "photos.index", "photos/1.png", "--model", name, cwd=folder)
    assert hub.requests


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("hf://user/nothing", "there is no such repository"),
        ("hf://user/gated", "access to it must be requested on its page"),
        ("hf://user/empty", "the repository contains no hasher.safetensors"),
        ("hf://user/empty@old", "there is no such revision"),
        ("hf://user", "expected hf://user/name"),
        ("hf://../x", "Repo id must"),
        ("hf://user/../etc", "expected hf://user/name"),
    ],
)
def test_what_cannot_be_downloaded_is_one_line(th, hub, online, folder, location, reason):
    hub.repositories["user/empty"] = {}
    with variables(online):
        failed = th("encode", "photos", "-o", "c.h5", "--model", location, cwd=folder, code=1)
    assert failed.stderr.count("\n") == 1
    assert failed.stderr.startswith(f"Error: {location}: ")
    assert reason in failed.stderr
    assert not (folder / "c.h5").exists()


def test_without_access(th, hub, online, folder):
    with variables({**online, "HF_TOKEN": "hf_wrongtoken"}):
        failed = th("hub", "push", "h.safetensors", "user/birds", cwd=folder, code=1)
    assert "the hub refused the token" in failed.stderr
    assert "hf_wrongtoken" not in failed.stderr
    assert failed.stderr.count("\n") == 1
    with variables({**online, "HF_TOKEN": ""}):
        failed = th("hub", "push", "h.safetensors", "user/birds", cwd=folder, code=1)
    assert "no token; log in with" in failed.stderr
    with variables({**online, "HF_HUB_OFFLINE": "1"}):
        failed = th("encode", "photos", "-o", "c.h5", "--model", "hf://user/new", cwd=folder, code=1)
        pushed = th("hub", "push", "h.safetensors", "user/birds", cwd=folder, code=1)
    assert "not in the cache, and offline mode is set; unset HF_HUB_OFFLINE" in failed.stderr
    assert pushed.stderr == (
        "Error: hf://user/birds: cannot be uploaded: offline mode is set; unset HF_HUB_OFFLINE\n"
    )
    (folder / "h.txt").write_text("notes")
    with variables(online):
        assert "not a hasher" in th("hub", "push", "h.txt", "user/birds", cwd=folder, code=1).stderr
    with pytest.raises(ModelError, match="expected the name of a repository"):
        transhash.push_hasher(folder / "h.safetensors", "birds")


def test_without_a_hub(th, online, folder):
    with socket.create_server(("127.0.0.1", 0)) as free:
        nowhere = f"http://127.0.0.1:{free.getsockname()[1]}"
    with variables({**online, "HF_ENDPOINT": nowhere}):
        pushed = th("hub", "push", "h.safetensors", "user/birds", cwd=folder, code=1)
        reason = transhash_hub._reason(LocalEntryNotFoundError("of a download, after many retries"))
    unreachable = f"{nowhere} cannot be reached; check the network, or HF_ENDPOINT"
    assert pushed.stderr == f"Error: hf://user/birds: cannot be uploaded: {unreachable}\n"
    assert reason == f"not in the cache, and {unreachable}"


@pytest.mark.parametrize(
    ("status", "said", "reason"),
    [
        (404, "not here", "the hub answered with HTTP status 404, 'not here'"),
        (503, "", "the hub answered with HTTP status 503; try again later"),
    ],
)
def test_other_answers_of_the_hub_are_one_line(th, hub, online, folder, monkeypatch, status, said, reason):
    document = {"error": said} if said else {}
    monkeypatch.setattr(hub, "refusal", (status, document))
    with variables(online):
        failed = th("hub", "push", "h.safetensors", "user/birds", cwd=folder, code=1)
    assert failed.stderr == f"Error: hf://user/birds: cannot be uploaded: {reason}\n"


def test_the_card_says_what_the_file_does():
    card = model_card.text(COPY, "user/copy")
    assert "codes of 64, 128, 256 bits" in card
    assert "th encode photos/ -o codes.h5 --model hf://user/copy" in card
    assert "| one pair of unrelated images in 10³ and in 10⁶, 128 bits | within 36 bits, 20 bits |" in card
