"""Hashers fitted to ONNX models: equal to torch, the same bits for every batch, and closed to hostile models."""

import json
import os
import warnings
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper
from PIL import Image
from safetensors.numpy import load_file
from safetensors.numpy import save as serialize

import transhash
from transhash import Architecture, EmbedderConfig, FitConfig
from transhash.errors import ModelError, TrainingError
from transhash.hashers import check_embedder, model_card, onnx_file, onnx_guard, tensor_file
from transhash.hashers.embedder_hasher import EmbedderHasher, open_embedder
from transhash.hashers.onnx_embedder import OnnxEmbedder
from transhash.sources import decode, list_images

from .onnx_models import FLATTEN, SIDE, WIDTH, build, linear, save, with_data_file

pytestmark = pytest.mark.slow

BITS = Architecture(bits=16, groups=0)
PLAIN = EmbedderConfig(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), normalize=False)


def opened(model, config=PLAIN):
    return OnnxEmbedder(model.SerializeToString(), config)


def pixels(count, side=SIDE, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def reason(call, *arguments, **options):
    with pytest.raises(ModelError) as caught:
        call(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture(scope="module")
def embedder(tmp_path_factory):
    """A linear model with 64 numbers per image."""
    weight = np.random.default_rng(0).standard_normal((WIDTH, 64))
    return save(tmp_path_factory.mktemp("model") / "model.onnx", linear(weight))


@pytest.fixture(scope="module")
def fitted(embedder, pictures, tmp_path_factory):
    path = tmp_path_factory.mktemp("fitted") / "h.safetensors"
    transhash.fit(pictures, path, BITS, FitConfig(method="itq"), embedder=embedder)
    return path


@pytest.fixture(scope="module")
def hasher(fitted):
    return EmbedderHasher.load(fitted)


class _Network(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.convolution = torch.nn.Conv2d(3, 32, 3, stride=2)
        self.norm = torch.nn.LayerNorm(32)

    def forward(self, images):
        return self.norm(torch.nn.functional.gelu(self.convolution(images)).mean((2, 3)))


@pytest.mark.parametrize("exporter", ["dynamo", "torchscript"])
def test_a_model_exported_by_torch_gives_its_embeddings(exporter, pictures, tmp_path):
    torch.manual_seed(0)
    network, path = _Network().eval().requires_grad_(False), tmp_path / "model.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(network, (torch.zeros(1, 3, 16, 16),), path, verbose=False, dynamo=exporter == "dynamo")
    assert (tmp_path / "model.onnx.data").exists() is (exporter == "dynamo")
    hasher = transhash.fit(pictures, tmp_path / "h.safetensors", BITS, embedder=path)
    images = pixels(5, 16)
    mean, std = np.array(EmbedderConfig().mean), np.array(EmbedderConfig().std)
    normalized = torch.from_numpy(((images / 255 - mean) / std).astype(np.float32)).permute(0, 3, 1, 2)
    expected = torch.nn.functional.normalize(network(normalized)).numpy()
    np.testing.assert_allclose(hasher.features(images), expected, atol=1e-5)
    for left in tmp_path.glob("model.*"):
        left.unlink()
    again = transhash.load_hasher(tmp_path / "h.safetensors")  # which contains the model and its data
    np.testing.assert_array_equal(again.encode(images), hasher.encode(images))


def test_codes_are_the_signs_of_the_fitted_projection(embedder, fitted, hasher, pictures):
    codes = transhash.encode(pictures, hasher, embeddings=True)
    source = list_images(pictures)
    batch = np.stack([hasher.preprocess(decode.read(source.path(image))) for image in source.images])
    features = open_embedder(embedder).model.features(batch)
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, atol=1e-6)
    outputs = hasher.outputs(batch)
    components = np.linalg.svd(features - features.mean(axis=0), full_matrices=False)[2][:16]
    weight = load_file(fitted)["head.weight"]
    np.testing.assert_allclose(weight.T @ weight, components.T @ components, atol=1e-4)  # itq: the same subspace
    np.testing.assert_allclose(outputs, (features - features.mean(axis=0)) @ weight.T, atol=1e-5)
    np.testing.assert_array_equal(codes.packed, np.packbits(outputs > 0, axis=1))
    np.testing.assert_allclose(codes.embeddings.astype(np.float32), features, atol=1e-3)
    assert hasher.training == {"method": "itq", "images": 24, "seed": 0}
    assert codes.model == hasher.ref == transhash.load_hasher(str(fitted), 1).ref


@given(st.integers(1, 40), st.integers(0, 2**32))
def test_bits_do_not_depend_on_the_batch(hasher, count, seed):
    images = pixels(count, seed=seed)
    one_by_one = np.concatenate([hasher.outputs(images[place : place + 1]) for place in range(count)])
    np.testing.assert_array_equal(hasher.outputs(images), one_by_one)


@pytest.mark.parametrize("method", ["itq", "crovca"])
def test_equal_fits_make_equal_files(embedder, pictures, tmp_path, method):
    for name in ("one", "two"):
        transhash.fit(pictures, tmp_path / name, BITS, FitConfig(method=method), embedder=embedder)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@pytest.mark.parametrize(
    ("shape", "kind", "perm"),
    [
        (("n", 3, SIDE, SIDE), TensorProto.FLOAT, None),
        ((4, 3, SIDE, SIDE), TensorProto.FLOAT, None),
        (("n", 3, "h", "w"), TensorProto.FLOAT16, None),
        (("n", SIDE, SIDE, 3), TensorProto.FLOAT, [0, 3, 1, 2]),
        ((1, SIDE, SIDE, 3), TensorProto.UINT8, [0, 3, 1, 2]),
    ],
)
def test_inputs_of_any_layout_type_and_batch(shape, kind, perm):
    nodes = [
        helper.make_node("Transpose", ["pixels"], ["turned"], perm=perm or [0, 1, 2, 3]),
        helper.make_node("Cast", ["turned"], ["cast"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["cast"], ["embedding"]),
    ]
    images = pixels(3)
    found = opened(build(nodes, shape=shape, kind=kind), replace(PLAIN, size=SIDE)).features(images)
    scale = 1 if kind == TensorProto.UINT8 else 255
    np.testing.assert_allclose(found, images.transpose(0, 3, 1, 2).reshape(3, -1) / scale, atol=1e-3)


def test_preprocessing():
    image = Image.fromarray(pixels(1, 40)[0][:, :20])
    squashed = opened(build(), EmbedderConfig(fit="squash", resample="lanczos")).preprocess(image)
    np.testing.assert_array_equal(squashed, np.array(image.resize((SIDE, SIDE), Image.Resampling.LANCZOS)))
    cropped = opened(build(), EmbedderConfig(crop=0.5, resample="bilinear")).preprocess(image)
    np.testing.assert_array_equal(
        cropped, np.array(image.resize((SIDE, SIDE), Image.Resampling.BILINEAR, box=(5, 15, 15, 25)))
    )
    mean, std = (0.1, 0.2, 0.3), (0.5, 1.0, 2.0)
    found = opened(build(), EmbedderConfig(mean=mean, std=std)).features(cropped[None])[0]
    expected = ((cropped / 255 - mean) / std).transpose(2, 0, 1).ravel()
    np.testing.assert_allclose(found, expected / np.linalg.norm(expected), atol=1e-6)


TOKENS = [
    helper.make_node("Flatten", ["pixels"], ["flat"], axis=2),
    helper.make_node("Reshape", ["pixels", "rows"], ["tokens"]),
    helper.make_node("Shape", ["pixels"], ["count"]),
]


def test_which_output_is_the_embedding():
    tokens = build(TOKENS, outputs=["count", "tokens"], constants={"rows": np.array([0, SIDE * SIDE, 3])})
    images = pixels(2)
    rows = (images / 255).transpose(0, 3, 1, 2).reshape(2, SIDE * SIDE, 3)
    first, mean = opened(tokens), opened(tokens, replace(PLAIN, pool="mean"))
    assert first.config.embedding == "tokens"
    np.testing.assert_allclose(first.features(images), rows[:, 0], atol=1e-6)
    np.testing.assert_allclose(mean.features(images), rows.mean(axis=1), atol=1e-6)
    both = build([*TOKENS, *FLATTEN], outputs=["tokens", "embedding"], constants={"rows": np.array([0, 64, 3])})
    assert opened(both).config.embedding == "embedding"
    assert opened(both, replace(PLAIN, embedding="tokens")).width == 3
    assert "no output 'logits'; choose from tokens, embedding" in reason(
        opened, both, replace(PLAIN, embedding="logits")
    )
    assert "output count: int64 (4,); expected" in reason(opened, tokens, replace(PLAIN, embedding="count"))
    alone = build(TOKENS, outputs=["count"], constants={"rows": np.array([0, 64, 3])})
    assert "no output is an embedding: count int64 (4,)" in reason(opened, alone)


@pytest.mark.parametrize(
    ("options", "config", "message"),
    [
        ({"more_inputs": ["input_ids"]}, {}, "takes 2 inputs (pixels, input_ids); export only the image encoder"),
        ({"shape": ["n", 3, "h", "w"]}, {}, "takes images of any size; choose one with --embedder-size (size=)"),
        ({}, {"size": 16}, "takes images of 8 pixels; size is 16"),
        ({"shape": ["n", 1, 8, 8]}, {}, "expected square images"),
        ({"shape": ["n", 3, 8, 16]}, {}, "expected square images"),
        ({"shape": ["n", 192]}, {}, "expected square images"),
        ({"kind": TensorProto.INT64}, {}, "expected square images"),
        ({"shape": ["n", 3, 1024, 1024]}, {}, "embeddings of 3145728 numbers; at most 16384"),
    ],
)
def test_models_that_are_not_image_encoders(options, config, message):
    assert message in reason(opened, build(**options), replace(PLAIN, **config))


def test_settings_from_the_file_beside_the_model(tmp_path):
    path = tmp_path / "model.onnx"
    assert EmbedderConfig.beside(path) == EmbedderConfig()
    (tmp_path / "model.toml").write_text('size = 224\nfit = "squash"\nmean = [0.5, 0.5, 0.5]\nstd = [1, 1, 1]\n')
    expected = EmbedderConfig(size=224, fit="squash", mean=(0.5, 0.5, 0.5), std=(1.0, 1.0, 1.0))
    assert EmbedderConfig.beside(path) == expected
    assert EmbedderConfig.beside(path, size=96, normalize=False) == replace(expected, size=96, normalize=False)
    assert EmbedderConfig(mean=[0.5, 0.5, 0.5]) == EmbedderConfig(mean=(0.5, 0.5, 0.5))
    assert reason(EmbedderConfig.beside, path, std=[0, 0, 0]).startswith("std (0, 0, 0): must be")  # not in the file
    for text, message in (
        ("sise = 3", "no setting 'sise'; choose from size, fit"),
        ("size = ", "not valid TOML"),
        ("size = 3", "size 3: must be from 8 to 2048"),
        ("size = '224'", "model.toml: size must be an integer, not str"),
        ("mean = 0.5", "model.toml: mean must be a list, each a number, not float"),
        ("mean = [0.5, 0.5]", "mean (0.5, 0.5): must be three numbers"),
        ("std = [0.5, 0.5, 0]", "must be three numbers from 0.001 to 1000"),
        ("mean = [nan, 0, 0]", "must be three numbers"),
        ("fit = 'pad'", "fit 'pad': must be one of crop, squash"),
        ("# " + "x" * 70_000, "more than 65,536 bytes"),
        ("a = " + "[" * 5000, "not valid TOML"),
    ):
        (tmp_path / "model.toml").write_text(text)
        assert message in reason(EmbedderConfig.beside, path)
    (tmp_path / "model.toml").write_bytes(b"\xff\xfe")
    assert "not valid TOML" in reason(EmbedderConfig.beside, path)


LOOP = helper.make_node(
    "Loop",
    ["often", ""],
    ["embedding"],
    body=helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Flatten", ["pixels"], ["out"])],
        "body",
        [
            helper.make_tensor_value_info("step", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
        ],
        [helper.make_tensor_value_info("on", TensorProto.BOOL, []), helper.make_empty_tensor_value_info("out")],
    ),
)


def test_custom_operators_and_loops_are_refused():
    custom = build([helper.make_node("Run", ["pixels"], ["embedding"], domain="evil")], domains=["evil"])
    assert "the custom operator evil::Run" in reason(onnx_file.read, custom.SerializeToString(), None)
    hidden = build([LOOP], constants={"often": np.int64(1 << 60)})
    assert "contains a loop (Loop)" in reason(onnx_file.read, hidden.SerializeToString(), None)
    nested = build(
        [helper.make_node("If", ["yes"], ["embedding"], then_branch=hidden.graph, else_branch=hidden.graph)],
        constants={"yes": np.array(True)},
    )
    assert "contains a loop" in reason(onnx_file.read, nested.SerializeToString(), None)


def test_functions_of_the_file_are_no_custom_operators():
    function = helper.make_function(
        "local", "Flat", ["x"], ["y"], [helper.make_node("Flatten", ["x"], ["y"])], [helper.make_opsetid("", 17)]
    )
    model = build([helper.make_node("Flat", ["pixels"], ["embedding"], domain="local")], domains=["local"])
    model.functions.append(function)
    assert onnx_file.read(model.SerializeToString(), None)[0] is None
    assert opened(model).width == WIDTH


@pytest.fixture
def data_file(tmp_path):
    """A folder with the data of a linear model, beside a file that is not its own."""
    weight = np.random.default_rng(0).standard_normal((WIDTH, 64)).astype(np.float32)
    (tmp_path / "secret").write_bytes(weight.tobytes())
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "weights.bin").write_bytes(b"head" + weight.tobytes())
    return folder, linear(weight)


def test_data_files_become_part_of_the_model(data_file):
    folder, model = data_file
    moved = with_data_file(model, "weights.bin", offset=4, length=WIDTH * 64 * 4).SerializeToString()
    whole, digest = onnx_file.read(moved, folder)
    images = pixels(2)
    expected = opened(model).features(images)
    np.testing.assert_array_equal(OnnxEmbedder(whole, PLAIN).features(images), expected)
    (folder / "weights.bin").write_bytes(b"HEAD" + (folder / "weights.bin").read_bytes()[4:])
    assert onnx_file.read(moved, folder)[1] != digest


@pytest.mark.parametrize(
    ("location", "entries", "message"),
    [
        ("../secret", {}, "lies outside its folder"),
        ("{outside}/secret", {}, "lies outside its folder"),
        ("{outside}/model/weights.bin", {}, "lies outside its folder"),
        ("link", {}, "lies outside its folder"),
        ("/dev/zero", {}, "lies outside its folder"),
        ("", {}, "lies outside its folder"),
        ("none.bin", {}, "'none.bin' is missing"),
        ("pipe", {}, "'pipe' is missing"),
        ("weights.bin", {"offset": -4}, "does not have the bytes"),
        ("weights.bin", {"offset": "four"}, "does not have the bytes"),
        ("weights.bin", {"length": 1 << 40}, "does not have the bytes"),
        ("sparse", {}, "over 2 GiB"),
    ],
)
def test_data_files_outside_the_folder_or_damaged(data_file, location, entries, message):
    folder, model = data_file
    (folder / "link").symlink_to(folder.parent / "secret")
    os.mkfifo(folder / "pipe")
    with (folder / "sparse").open("wb") as file:
        file.truncate(1 << 40)
    moved = with_data_file(model, location.format(outside=folder.parent), **entries)
    assert message in reason(onnx_file.read, moved.SerializeToString(), folder)


def test_a_hasher_has_no_data_files(data_file, fitted, tmp_path, monkeypatch):
    folder, model = data_file
    monkeypatch.chdir(folder)
    tensors = load_file(fitted)
    moved = with_data_file(model, "weights.bin", offset=4).SerializeToString()
    path = _changed(fitted, tmp_path / "x.safetensors", tensors | {"embedder.onnx": np.frombuffer(moved, np.uint8)})
    assert "x.safetensors: refers to another file, 'weights.bin'" in reason(transhash.load_hasher, path)


def _changed(hasher, path, tensors, **config):
    from safetensors import safe_open

    with safe_open(hasher, framework="numpy") as file:
        metadata = file.metadata()
    metadata["config"] = json.dumps(json.loads(metadata["config"]) | config)
    tensor_file.write(path, serialize(tensors, metadata))
    return path


@pytest.mark.parametrize(
    ("tensors", "config", "message"),
    [
        ({"head.weight": np.zeros((16, 63), np.float32)}, {}, "embeddings of 64 numbers, 63 expected"),
        ({"head.weight": np.zeros((8, 64), np.float32)}, {}, r"a projection of shape \(8, 64\) for 16 bits"),
        ({"head.bias": np.zeros(16, np.float16)}, {}, "a tensor has another type"),
        ({"head.bias": np.full(16, np.nan, np.float32)}, {}, "not a finite number"),
        ({}, {"bits": 17}, "17 bits: must be a multiple of 8"),
        ({}, {"later": 1}, "unknown setting later"),
        ({}, {"preprocessing": {"size": 9}}, "takes images of 8 pixels; size is 9"),
        ({}, {"preprocessing": {"size": "9"}}, "Expected `int"),
        ({"embedder.onnx": np.zeros(9, np.uint8)}, {}, "not an ONNX file"),
        ({"embedder.onnx": np.zeros(0, np.uint8)}, {}, "not an ONNX file"),
    ],
)
def test_hostile_hashers_are_one_line(fitted, tmp_path, tensors, config, message):
    path = _changed(fitted, tmp_path / "x.safetensors", load_file(fitted) | tensors, **config)
    with pytest.raises(ModelError, match=message) as caught:
        transhash.load_hasher(path).encode(pixels(1))
    assert "\n" not in str(caught.value)


def test_a_damaged_hasher_is_one_line(fitted, tmp_path):
    content = bytearray(fitted.read_bytes())
    content[-100] ^= 1
    (tmp_path / "x.safetensors").write_bytes(content)
    assert "do not match its checksum" in reason(transhash.load_hasher, tmp_path / "x.safetensors")


HUGE = np.array([1 << 20, 1 << 14], np.int64)  # 64 GiB


@pytest.mark.parametrize("node", ["Expand", "ConstantOfShape"])
def test_models_that_take_too_much_memory(node, tmp_path):
    """Computed when the model is opened, or when it runs."""
    nodes = [
        helper.make_node("ReduceMean", ["pixels"], ["mean"], keepdims=0),
        helper.make_node(node, ["mean", "shape"] if node == "Expand" else ["shape"], ["huge"]),
        helper.make_node("Add", ["huge", "mean"], ["embedding"]),
    ]
    path = save(tmp_path / "model.onnx", build(nodes, constants={"shape": HUGE}))
    line = reason(open_embedder, path)
    assert str(path) in line
    assert "ONNX Runtime cannot run it" in line


def test_a_model_with_text_that_is_not_utf_8(tmp_path):
    """ONNX Runtime prints that on standard output."""
    (tmp_path / "model.onnx").write_bytes(build().SerializeToString().replace(b"Flatten", b"Flat\xffen"))
    assert "ONNX Runtime cannot open it" in reason(open_embedder, tmp_path / "model.onnx")


@pytest.mark.parametrize("method", ["crovca", "itq", "lsh", "whiten"])
def test_a_fit_refuses_a_constant_embedding(pictures, tmp_path, method):
    nodes = [*FLATTEN, helper.make_node("Mul", ["embedding", "zero"], ["nothing"])]
    path = save(tmp_path / "model.onnx", build(nodes, outputs=["nothing"], constants={"zero": np.float32(0)}))
    with pytest.raises(TrainingError, match="24 images have the same embedding"):
        transhash.fit(pictures, None, Architecture(bits=8), FitConfig(method), embedder=path)


def test_models_that_compute_too_long(tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_guard, "_SECONDS", 3)
    nodes = [helper.make_node("Expand", ["start", "shape"], ["m0"])]
    nodes += [helper.make_node("MatMul", [f"m{step}", f"m{step}"], [f"m{step + 1}"]) for step in range(200)]
    nodes += [helper.make_node("ReduceMean", ["m200"], ["all"], keepdims=0), *FLATTEN]
    nodes += [helper.make_node("Add", ["embedding", "all"], ["sum"])]
    constants = {"shape": np.array([4096, 4096]), "start": np.float32(1e-4)}
    path = save(tmp_path / "model.onnx", build(nodes, outputs=["sum"], constants=constants))
    assert "crashed, or took too long or too much memory" in reason(open_embedder, path)


@pytest.mark.parametrize("content", [b"", b"no model", b"\x08" * 1000, b"\x3a\xff\xff\xff\x7f", bytes(10_000)])
def test_files_that_are_no_models(content, tmp_path):
    assert "not an ONNX file" in reason(onnx_file.read, content, tmp_path)


def test_errors_name_the_file(tmp_path, pictures, monkeypatch):
    (tmp_path / "x.onnx").write_bytes(b"no model")
    assert f"{tmp_path}/x.onnx: not an ONNX file" in reason(transhash.fit, pictures, embedder=tmp_path / "x.onnx")
    assert "none.onnx: no such file" in reason(transhash.fit, pictures, embedder=tmp_path / "none.onnx")
    os.mkfifo(tmp_path / "pipe.onnx")
    assert "pipe.onnx: no such file" in reason(transhash.fit, pictures, embedder=tmp_path / "pipe.onnx")
    unknown = build([helper.make_node("No\x1b[31mOperator", ["pixels"], ["embedding"])])
    path = save(tmp_path / "unknown.onnx", unknown)
    line = reason(transhash.fit, pictures, embedder=path)
    assert "unknown.onnx: ONNX Runtime cannot open it" in line
    assert line.isprintable()
    monkeypatch.setattr(onnx_guard, "find_spec", lambda name: None)
    assert "pip install 'transhash[onnx]'" in reason(transhash.fit, pictures, embedder=path)


def test_settings_that_exclude_each_other(embedder, pictures, tmp_path):
    for options, message in (
        ({"architecture": Architecture(groups=0, depth=4)}, r"leave out --depth \(depth=\)"),
        ({"weights": embedder}, "an embedder has weights of its own"),
        ({"pretrained": True}, "an embedder has weights of its own"),
    ):
        with pytest.raises(TrainingError, match=message):
            transhash.fit(pictures, embedder=embedder, **options)
    with pytest.raises(TrainingError, match="settings of an embedder, but no embedder"):
        transhash.fit(pictures, embedder_config=EmbedderConfig())
    with pytest.raises(TrainingError, match=r"crovca of 72 bits needs .* 24 images, 64 values: choose 24 bits or"):
        transhash.fit(pictures, architecture=Architecture(bits=72, groups=0), embedder=embedder)
    narrow = save(tmp_path / "narrow.onnx", linear(np.ones((WIDTH, 3))))
    with pytest.raises(TrainingError, match=r"3 values: give a model with 8 values or more, or --method lsh"):
        transhash.fit(pictures, architecture=Architecture(bits=8, groups=0), embedder=narrow)


def test_such_a_hasher_is_no_network(fitted, hasher_file, pictures, tmp_path):
    target = tmp_path / "out.safetensors"
    for call in (
        lambda: transhash.export_hasher(fitted, tmp_path / "h.onnx"),
        lambda: transhash.shrink_hasher(fitted, target),
        lambda: transhash.soup([fitted, hasher_file], target),
        lambda: transhash.train(pictures, target, weights=fitted),
    ):
        assert "contains an ONNX model, model.onnx, and no network" in reason(call)
    assert "leave out --bf16" in reason(transhash.load_hasher, fitted, bf16=True)
    assert "8 bits: " in reason(transhash.load_hasher, fitted, bits=8)
    assert not target.exists()


def test_the_embedder_of_a_hasher_is_checked(fitted, embedder, tmp_path):
    check_embedder(fitted, embedder)
    check_embedder(transhash.load_hasher(fitted), embedder)
    other = save(tmp_path / "other.onnx", linear(np.ones((WIDTH, 64))))
    assert "other.onnx: not the ONNX model that" in reason(check_embedder, fitted, other)
    assert "phash: not fitted to an ONNX model; fit a hasher" in reason(check_embedder, "phash", embedder)
    assert "model.onnx: an ONNX model, not a hasher" in reason(transhash.load_hasher, embedder)


def test_its_model_card(fitted):
    card = model_card.text(fitted, "user/name")
    assert "codes of 16 bits" in card
    assert "| network | the ONNX model model.onnx, included |" in card
    assert "| input | 8 × 8 pixels, the central square |" in card


def test_the_digest_is_that_of_the_file(embedder, fitted):
    import hashlib

    config = transhash.load_hasher(fitted).config
    assert config.embedder_digest == hashlib.sha256(embedder.read_bytes()).hexdigest()
    assert asdict(config.preprocessing)["size"] == SIDE


def test_methods(embedder, pictures):
    for method in ("lsh", "whiten", "crovca"):
        hasher = transhash.fit(pictures, None, BITS, FitConfig(method=method), embedder=embedder)
        assert repr(hasher) == "<EmbedderHasher in memory: 16 bits>"
        assert transhash.encode(pictures, hasher).packed.shape == (24, 2)
