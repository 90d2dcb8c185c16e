"""--fast: 8-bit integers on OpenVINO."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from safetensors import safe_open
from safetensors.torch import load_file
from safetensors.torch import save as serialize

import transhash
from transhash.errors import CodesError, MismatchError, ModelError
from transhash.hashers import load_hasher, model_ref, range_cache, rarity_of, tensor_file
from transhash.hashers.fast_hasher import FastHasher
from transhash.hashers.header import HasherConfig
from transhash.hashers.numpy_net import NumpyViT
from transhash.hashers.preprocessing import Preprocessing
from transhash.hashers.quantized import Levels, patch_matrix
from transhash.hashers.smvit import layout
from transhash.hashers.transhash import TransHasher, start

from .test_numpy_hasher import TINY, nets

PLAIN = Preprocessing((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def saved(tmp_path):
    torch.manual_seed(0)
    start(TINY).save(tmp_path / "h.safetensors")
    return tmp_path / "h.safetensors"


def pixels(count, side=32):
    """Smooth images: like photographs, unlike noise, they do not cancel out."""
    coarse = np.random.default_rng(0).integers(0, 256, (count, 4, 4, 3)).astype(np.float32)
    fine = torch.nn.functional.interpolate(torch.from_numpy(coarse).permute(0, 3, 1, 2), side, mode="bilinear")
    return fine.permute(0, 2, 3, 1).round().to(torch.uint8).numpy().copy()


@pytest.mark.slow
@pytest.mark.parametrize("place", range(7))
def test_outputs_are_close_to_those_of_torch(place):
    torch.manual_seed(place)
    net = next(islice(nets(), place, None)).eval()
    side = 28 if 3 <= place < 6 else 32
    with torch.no_grad():
        for name, parameter in net.named_parameters():  # no scale, bias or register is 0 or 1
            parameter.add_(torch.randn_like(parameter) * (0.1 if "norm" in name or "gamma" in name else 0.02))
    images = pixels(16, side)
    with torch.inference_mode():
        expected = net((torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.25).numpy()
    weights = {name: value.numpy() for name, value in net.state_dict().items()}
    plain = NumpyViT(weights, layout(net), net.groups, net.pool, net.mirror)
    architecture = replace(TINY, image_size=side, bits=expected.shape[1], groups=net.groups)
    config = HasherConfig(architecture, PLAIN, layout=layout(net))
    hasher = FastHasher(plain, config, transhash.ModelRef("h", str(place), architecture.bits, "{}"))
    found = hasher.outputs(images)
    centred = [values - values.mean(axis=0) for values in (found, expected)]
    assert np.linalg.norm(centred[0] - centred[1]) < 0.15 * np.linalg.norm(centred[1])
    codes, embeddings = hasher.encode_both(images)
    np.testing.assert_array_equal(codes, hasher.encode(images))
    with torch.inference_mode():
        features = net.features((torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.25).numpy()
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    assert (embeddings.astype(np.float32) * features).sum(axis=1).min() > 0.99


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fast")
    torch.manual_seed(0)
    start(TINY).save(folder / "h.safetensors")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        return load_hasher(folder / "h.safetensors", fast=True)


@pytest.fixture(scope="module")
def alone(loaded):
    """The outputs of images that are computed one by one."""
    return np.concatenate([loaded.outputs(image[None]) for image in pixels(20)])


@given(st.lists(st.integers(0, 19), min_size=1, max_size=20))
def test_an_image_has_the_same_code_in_every_batch(loaded, alone, rows):
    np.testing.assert_array_equal(loaded.outputs(pixels(20)[rows]), alone[rows])


@given(st.floats(-1e3, 1e3, width=32), st.floats(-1e3, 1e3, width=32))
def test_levels_span_the_range_and_contain_zero(one, other):
    low, high = sorted((one, other))
    levels = Levels.of(low, high)
    assert 0 <= levels.zero <= 255
    ends = levels.ends
    assert ends[0] <= low + levels.scale
    assert ends[1] >= high - levels.scale
    assert ends[0] <= 0 <= ends[1]


@given(arrays(np.float32, (2, 3, 3, 3), elements=st.floats(-2, 2, width=16)), st.sampled_from((64, 127)))
def test_rounding_errors_of_a_patch_embedding_cancel_out(weight, largest):
    matrix = patch_matrix(weight, largest)
    assert np.abs(matrix.values).max() <= largest
    errors = weight.reshape(2, 9, 3) / matrix.scale[:, None, None] - matrix.values.reshape(2, 9, 3)
    assert np.abs(errors.cumsum(axis=1)).max() <= 0.5001  # in every channel, from the first pixel to any other


def test_the_model_is_marked(saved):
    fast, plain = load_hasher(saved, fast=True), load_hasher(saved, 1)
    assert fast.ref == model_ref(saved, fast=True)
    assert fast.ref.digest == plain.ref.digest + "+fast"
    assert json.loads(fast.ref.preprocessing)["precision"] == "int8"
    ref = model_ref("copy", 64, fast=True)
    assert ref.digest == model_ref("copy").digest + "+fast/64"
    assert rarity_of(ref) == rarity_of(model_ref("copy", 64))


@pytest.mark.slow
def test_a_shorter_length_is_a_prefix():
    images = pixels(3, 112)
    whole, cut = load_hasher("copy", fast=True), load_hasher("copy", fast=True, bits=64)
    np.testing.assert_array_equal(cut.encode(images), whole.encode(images)[:, :8])


@pytest.mark.slow
def test_codes_of_both_kinds_do_not_mix(pictures, tmp_path):
    plain, fast = (transhash.encode(pictures, fast=fast) for fast in (False, True))
    assert np.unpackbits(plain.packed ^ fast.packed).mean() < 0.1
    index = transhash.build_index(fast)
    both = "fast=True"
    with pytest.raises(MismatchError, match=both):
        index.search(plain)
    with pytest.raises(MismatchError, match=both):
        index.add(plain)
    transhash.write_codes(tmp_path / "plain.h5", plain)
    transhash.write_codes(tmp_path / "fast.h5", fast)
    with pytest.raises(CodesError, match=both):
        transhash.merge_codes([tmp_path / "plain.h5", tmp_path / "fast.h5"], tmp_path / "both.h5")
    with pytest.raises(CodesError, match="copy --fast"):
        transhash.encode_to_file(pictures, tmp_path / "fast.h5", "copy", append=True)
    assert transhash.encode_to_file(pictures, tmp_path / "fast.h5", append=True).encoded == 0


@pytest.mark.slow
def test_queries_compute_as_the_index_does(th, saved, pictures, tmp_path):
    query = pictures / "cross" / "0.png"
    th("encode", pictures, "-o", tmp_path / "c.h5", "--model", saved, "--fast", "--processes", "2")
    th("index", "build", tmp_path / "c.h5", "-o", tmp_path / "i")
    answer = json.loads(th("query", tmp_path / "i", query, "-k", "1", "--json").stdout)
    assert answer["queries"][0]["matches"][0]["distance"] == 0
    ranked = th("query", tmp_path / "i", query, "-k", "1", "--rerank", "asymmetric").stdout
    assert "score" in ranked
    other = th("query", tmp_path / "i", query, "--model", saved, "-k", "1", "--json").stdout
    assert json.loads(other)["queries"][0]["matches"] == answer["queries"][0]["matches"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["copy", "file"])
def test_without_openvino_one_line_says_what_to_install(saved, pictures, tmp_path, name):
    transhash.build_index(transhash.encode(pictures, "copy" if name == "copy" else saved, fast=True), tmp_path / "i")
    code = (
        "import sys; sys.modules['openvino'] = None\n"
        f"sys.argv = ['th', 'query', {str(tmp_path / 'i')!r}, {str(pictures / 'cross' / '0.png')!r}]\n"
        "from transhash_cli.main import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    message = "Error: --fast (fast=True) needs OpenVINO; install it with: pip install 'transhash[fast]'\n"
    assert done.stderr == message


def test_what_cannot_be_fast(saved):
    with pytest.raises(ModelError, match=r"phash: not a network; leave out --fast"):
        load_hasher("phash", fast=True)
    with pytest.raises(ModelError, match="choose one"):
        load_hasher(saved, fast=True, bf16=True)
    with pytest.raises(ModelError, match=r"load_hasher\(…, fast=True\)"):
        transhash.encode(pixels(1), TransHasher.load(saved), fast=True)
    with pytest.raises(TypeError, match="fast must be True or False"):
        transhash.encode(pixels(1), fast="yes")


@pytest.mark.parametrize("contents", [b"", b"{", b"[]", b"{}", b'{"a": [0, NaN]}', b'{"a": [0]}', b"\xff"])
def test_a_damaged_cache_is_not_used(cache, contents):
    range_cache.write("digest", {"a": (0.0, 1.0)})
    assert range_cache.read("digest") == {"a": (0.0, 1.0)}
    (path,) = cache.rglob("*.json")
    path.write_bytes(contents)
    assert range_cache.read("digest") is None


@pytest.mark.parametrize("contents", [b"{", b'{"a": [0, 1]}'])
def test_a_cache_that_is_not_used_is_written_again(saved, cache, loaded, contents):
    digest = model_ref(saved).digest
    range_cache.write(digest, {"a": (0.0, 1.0)})
    (path,) = cache.rglob("*.json")
    path.write_bytes(contents)
    np.testing.assert_array_equal(load_hasher(saved, fast=True).outputs(pixels(2)), loaded.outputs(pixels(2)))
    assert range_cache.read(digest).keys() > {"backbone.blocks.0.attn.qkv"}


def test_a_cache_is_not_needed(saved, cache):
    cache.write_text("a file")
    assert load_hasher(saved, fast=True).encode(pixels(2)).shape == (2, 2)


@pytest.mark.parametrize(
    "change",
    [
        lambda w: w.pop("global_head.weight"),
        lambda w: w.pop("backbone.blocks.0.mlp.fc1.weight"),
        lambda w: w.update({"backbone.pos_embed": torch.zeros(1, 1, 64)}),
        lambda w: w.update({"backbone.cls_token": torch.zeros(1, 300, 1)}),
        lambda w: w.update({"global_head.weight": torch.zeros(3, 64)}),
        lambda w: w.update({"backbone.blocks.0.norm1.weight": torch.zeros(64, 1)}),
        lambda w: w.update({"backbone.blocks.0.attn.qkv.weight": torch.zeros(100, 64)}),
        lambda w: w.update({"backbone.blocks.0.mlp.fc2.weight": torch.full((64, 256), float("inf"))}),
        lambda w: w.update({"global_head.bias": torch.full((8,), float("nan"))}),
    ],
)
def test_an_untrusted_file(saved, tmp_path, change):
    weights = load_file(saved)
    change(weights)
    with safe_open(saved, framework="pt") as file:
        tensor_file.write(tmp_path / "odd.safetensors", serialize(weights, file.metadata()))
    with pytest.raises(ModelError) as caught:
        load_hasher(tmp_path / "odd.safetensors", fast=True).encode(pixels(2))
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_the_number_of_threads_changes_no_bit(pictures):
    call = f"transhash.encode({str(pictures)!r}, fast=True, batch_size=16).packed.tobytes().hex()"
    found = {
        subprocess.run(
            [sys.executable, "-c", f"import transhash; print({call})"],
            env={**os.environ, "OMP_NUM_THREADS": str(threads)},
            capture_output=True,
            text=True,
            check=True,
            timeout=300,
        ).stdout
        for threads in (2, 3)
    }
    assert found == {transhash.encode(pictures, fast=True, batch_size=16).packed.tobytes().hex() + "\n"}  # in one


@pytest.mark.slow
@pytest.mark.parametrize("instructions", ["AVX2", "AVX512_CORE", "AVX512_CORE_VNNI"])
def test_sums_of_products_do_not_saturate(instructions):
    """Without VNNI, two products are summed in 16 bits; factors of 8 bits overflowed, and 7 % of the bits changed."""
    code = (
        "import numpy as np, transhash; from transhash.demo import photographs; from pathlib import Path\n"
        "photos = Path(photographs.__file__).with_name('photos')\n"
        "fast, plain = (transhash.encode(photos, bits=256, fast=fast).packed for fast in (True, False))\n"
        "print(np.unpackbits(fast ^ plain).mean())\n"
    )
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": instructions}  # read by OpenVINO, for x86 processors
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=300)
    assert float(done.stdout) < 0.04, done.stderr


@pytest.mark.slow
def test_signals_are_handled_after_hashers_are_freed():
    """OpenVINO gives a thread a stack for signal handlers; the next handler crashed where that was taken away."""
    code = (
        "import gc, os, signal, threading, transhash\n"
        "signal.signal(signal.SIGUSR1, lambda *_: print('handled'))\n"
        "hashers = [transhash.load_hasher('copy', fast=True) for _ in range(2)]\n"
        "del hashers[0]; gc.collect()\n"
        "thread = threading.Thread(target=hashers.clear); thread.start(); thread.join(); gc.collect()\n"
        "os.kill(os.getpid(), signal.SIGUSR1)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "handled\n"), done.stderr


@pytest.mark.slow
def test_openvino_is_loaded_without_its_telemetry(tmp_path):
    code = (
        "import os, sys, transhash\n"
        "os.register_at_fork(before=lambda: print('forked'))\n"
        "transhash.load_hasher('copy', fast=True)\n"
        "print([name for name in sys.modules if 'openvino_telemetry' in name])\n"
    )
    environment = {**os.environ, "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr
    assert os.listdir(tmp_path) == ["cache"]
