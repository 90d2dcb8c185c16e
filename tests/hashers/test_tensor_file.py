"""Equal hashers are saved as equal files, and changed files are detected."""

import json
from dataclasses import asdict

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from safetensors.torch import save as serialize

from transhash.errors import ModelError
from transhash.hashers import load_hasher, tensor_file
from transhash.hashers.architecture import Architecture
from transhash.hashers.header import read
from transhash.hashers.numpy_hasher import NumpyHasher
from transhash.hashers.transhash import TransHasher, start

TINY = Architecture(bits=16, backbone="test_vit", image_size=32, patch_size=8, stride=6, groups=2)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("saved") / "h.safetensors"
    hasher = start(TINY, class_names=("a", "b"))
    hasher.training = {"config": {"loss": "csq"}, "images": 3}
    hasher.save(path)
    return path


def contents(path):
    with safe_open(path, framework="pt") as file:
        return load_file(path), file.metadata()


@pytest.mark.slow
def test_a_hasher_has_one_digest(saved, tmp_path):
    """The digest does not depend on how often a hasher is saved or which file it is loaded from."""
    hasher, content = TransHasher.load(saved), saved.read_bytes()
    for number in range(12):
        hasher.save(tmp_path / f"{number}.safetensors")
        assert (tmp_path / f"{number}.safetensors").read_bytes() == content
        assert hasher.ref.digest == read(saved).ref(saved).digest


@pytest.mark.parametrize("part", [0.1, 0.5, 0.999])
def test_a_bit_that_flips_is_noticed(saved, tmp_path, part):
    content = bytearray(saved.read_bytes())
    start = 8 + int.from_bytes(content[:8], "little")
    content[start + int(part * (len(content) - start))] ^= 1
    path = tmp_path / "h.safetensors"
    path.write_bytes(content)
    for few in (1, None):
        with pytest.raises(ModelError, match="do not match its checksum"):
            load_hasher(path, few)


def old_file(path, tmp_path, **layout):
    """A file in the format of earlier versions: another layout, and no checksum."""
    tensors, metadata = contents(path)
    config = json.loads(metadata["config"])
    config["layout"] |= layout
    del metadata["checksum"]
    save_file(tensors, tmp_path / "old.safetensors", metadata | {"config": json.dumps(config)})
    return tmp_path / "old.safetensors"


def test_files_without_a_checksum_give_the_same_codes(saved, tmp_path):
    """Torch loads them, because it can check their layout."""
    old = load_hasher(old_file(saved, tmp_path), expected_images=1)
    assert isinstance(old, TransHasher)
    batch = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    np.testing.assert_array_equal(old.encode(batch), TransHasher.load(saved).encode(batch))


LAYOUTS = [{"heads": 4}, {"heads": 1}, {"eps": 0.5}, {"late_prefix": True}, {"stride": 7}, {"stride": 8}]


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_of_another_network_is_refused(saved, tmp_path, layout):
    """In files without a checksum or with a wrong one, and by torch in all files."""
    path = old_file(saved, tmp_path, **layout)
    for few in (1, None):
        with pytest.raises(ModelError, match=r"Layout.* is not that of test_vit"):
            load_hasher(path, few)
    tensors, metadata = contents(path)
    save_file(tensors, path, metadata | {"checksum": contents(saved)[1]["checksum"]})
    with pytest.raises(ModelError, match="do not match its checksum"):
        NumpyHasher.load(path)
    tensor_file.write(path, serialize(tensors, metadata))
    with pytest.raises(ModelError, match="is not that of test_vit"):
        TransHasher.load(path)


@pytest.mark.parametrize(
    "mutant", [b"", b"\xff\xd8\xff\xe0 a jpeg", b"\0" * 8, (9).to_bytes(8, "little") + b'{"a":"b"}']
)
def test_other_files_are_rejected(tmp_path, mutant):
    path = tmp_path / "odd.safetensors"
    path.write_bytes(mutant)
    with pytest.raises(ModelError, match="not a hasher, or a damaged one"):
        load_hasher(path)


def test_settings_of_a_later_version_are_named(saved, tmp_path):
    tensors, metadata = contents(saved)
    config = json.loads(metadata["config"])
    config["architecture"] = asdict(TINY) | {"later": 1}
    tensor_file.write(tmp_path / "h.safetensors", serialize(tensors, metadata | {"config": json.dumps(config)}))
    with pytest.raises(ModelError, match="unknown setting later; a later TransHash may read it"):
        load_hasher(tmp_path / "h.safetensors")
