"""A soup is the mean of its hashers' weights, and of nothing that has no mean."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

from transhash import load_hasher
from transhash.encoding.run import encode
from transhash.errors import ModelError
from transhash.evaluation import measure
from transhash.hashers.architecture import Architecture
from transhash.hashers.header import read
from transhash.hashers.transhash import Preprocessing, start
from transhash.sources import list_images
from transhash.training.config import LABELLED, TARGETED, FitConfig, TrainConfig
from transhash.training.loop import train
from transhash.training.run import soup
from transhash.training.unsupervised import fit

pytestmark = pytest.mark.slow

TINY = Architecture(bits=24, backbone="test_vit", image_size=32, patch_size=16, stride=16, groups=2, depth=2)


def made(path, seed=0, architecture=TINY, loss="orthohash", names=("a", "b"), preprocessing=None):
    """Write a hasher of random weights that says that it was trained."""
    torch.manual_seed(seed)
    hasher = start(architecture, class_names=names)
    hasher.training = {"config": {"loss": loss, "seed": seed}}
    hasher.preprocessing = preprocessing or hasher.preprocessing
    hasher.save(path)
    return path


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pool")
    return [made(folder / f"{seed}.safetensors", seed) for seed in range(4)]


@settings(max_examples=5, deadline=None)
@given(chosen=st.lists(st.integers(0, 3), min_size=2, max_size=5))
def test_weights_are_averaged(pool, chosen):
    members = [load_file(pool[number]) for number in chosen]
    found = soup([pool[number] for number in chosen])
    for name, weight in found.net.state_dict().items():
        mean = np.mean([member[name].astype(np.float64) for member in members], axis=0)
        np.testing.assert_allclose(weight.numpy(), mean, rtol=1e-5, atol=1e-7, err_msg=name)
    assert [member["training"]["config"]["seed"] for member in found.training["soup"]] == chosen
    assert [member["sha256"] for member in found.training["soup"]] == [
        read(pool[number]).ref(pool[number]).digest for number in chosen
    ]


def test_a_soup_is_a_hasher_like_any_other(pool, tmp_path):
    """It is saved, loaded, and an ingredient of the next one."""
    soup(pool[:2]).save(tmp_path / "one.safetensors")
    soup([tmp_path / "one.safetensors", *pool[2:3]]).save(tmp_path / "two.safetensors")
    loaded, (a, b, c) = load_file(tmp_path / "two.safetensors"), map(load_file, pool[:3])
    for name, weight in loaded.items():
        np.testing.assert_allclose(weight, (a[name] / 2 + b[name] / 2 + c[name]) / 2, rtol=1e-5, atol=1e-7)
    assert load_hasher(tmp_path / "two.safetensors").class_names == ("a", "b")


def test_a_soup_mirrors_if_one_member_does(pool, tmp_path):
    mirrored = made(tmp_path / "m.safetensors", architecture=replace(TINY, mirror=True))
    for paths in ([pool[1], mirrored], [mirrored, pool[1]]):
        found = soup(paths)
        assert found.architecture.mirror
        batch = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
        turned = np.ascontiguousarray(batch[:, :, ::-1])
        np.testing.assert_allclose(found.outputs(batch), found.outputs(turned), rtol=1e-4, atol=1e-5)
    assert not soup(pool[:2]).architecture.mirror


@pytest.mark.parametrize("bits", [16, 24])
def test_runs_of_other_seeds_make_a_soup(pictures, bits, tmp_path):
    """They learn the same codes for the same classes."""
    source, architecture = list_images(pictures), replace(TINY, bits=bits, depth=3)
    config = TrainConfig(
        epochs=12, batch_size=12, lr=2e-3, crop=0.9, jitter=0.0, flip=0.0, validation=0, layer_decay=1
    )
    torch.manual_seed(0)
    start(architecture).save(tmp_path / "start.safetensors")
    for seed in range(2):
        hasher = train(source, architecture, replace(config, seed=seed), weights=tmp_path / "start.safetensors")
        hasher.save(tmp_path / f"{seed}.safetensors")
    codes = encode(source, soup([tmp_path / "0.safetensors", tmp_path / "1.safetensors"]))
    assert measure(codes, codes)["mAP@all"] > 0.95


def refusal(paths):
    with pytest.raises(ModelError) as caught:
        soup(paths)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"architecture": replace(TINY, bits=16)}, "bits is 16, that of {} 24"),
        ({"architecture": replace(TINY, groups=0)}, "groups is 0, that of {} 2"),
        ({"names": ("a", "c")}, "class_names is ('a', 'c'), that of {} ('a', 'b')"),
        ({"loss": "csq"}, "loss is csq, that of {} orthohash"),
        ({"preprocessing": Preprocessing((0.4,) * 3, (0.5,) * 3)}, "preprocessing is "),
    ],
)
def test_hashers_that_differ_are_refused(pool, change, words, tmp_path):
    other = made(tmp_path / "other.safetensors", **change)
    line = refusal([pool[0], other])
    assert line.startswith(f"{other}: ")
    assert words.format(pool[0]) in line


@pytest.mark.parametrize("loss", sorted(set(LABELLED) - set(TARGETED)))
def test_hashers_without_common_targets_are_rejected(pool, loss, tmp_path):
    other = made(tmp_path / "other.safetensors", loss=loss)
    for paths in ([other, other], [pool[0], other]):
        line = refusal(paths)
        assert line.startswith(f"{other}: not trained with --loss csq, orthohash, orthocauchy, dpn;")


def test_untrained_hashers_are_rejected(pictures, pool, tmp_path):
    fitted = tmp_path / "fitted.safetensors"
    fit(list_images(pictures), replace(TINY, groups=0), FitConfig(method="lsh"), weights=pool[0]).save(fitted)
    assert "not trained with --loss" in refusal([fitted, fitted])
    (tmp_path / "text.safetensors").write_text("hello")
    assert "not a hasher, or a damaged one" in refusal([pool[0], tmp_path / "text.safetensors"])
    assert "at least two files" in refusal(pool[:1])
