"""`transhash.train`, `fit` and `soup`: what they take, what they write, and what they refuse before they begin."""

import io
import os
import sys
import tarfile
import time
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import transhash
from transhash import Architecture, FitConfig, TrainConfig
from transhash.errors import ModelError, OutputError, SourceError, TrainingError
from transhash.hashers.header import read

pytestmark = pytest.mark.slow

TINY = Architecture(bits=16, backbone="test_vit", image_size=32, patch_size=16, stride=16, groups=2)
FLAT = Architecture(bits=8, backbone="test_vit", image_size=32, patch_size=16, stride=16, groups=0)
SHORT = TrainConfig(epochs=1, batch_size=12)


@pytest.fixture(scope="module")
def trained(pictures, tmp_path_factory):
    path = tmp_path_factory.mktemp("trained") / "h.safetensors"
    assert transhash.train(pictures, path, TINY, SHORT).ref.name == str(path)
    return path


def test_a_run_writes_a_hasher_and_its_log(trained):
    assert sorted(os.listdir(trained.parent)) == ["h.run", "h.safetensors"]
    assert "checkpoint.safetensors" not in os.listdir(trained.parent / "h.run")
    assert read(trained).class_names == ("circle", "cross", "stripe")


def test_without_an_output_nothing_is_written(pictures, trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    hasher = transhash.train(pictures, architecture=TINY, config=SHORT)
    theirs = transhash.load_hasher(trained)
    batch = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    np.testing.assert_array_equal(hasher.encode(batch), theirs.encode(batch))
    transhash.fit(pictures, architecture=FLAT, weights=trained)
    transhash.soup([trained, trained])
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("bits", "groups", "nested", "loss", "message"),
    [
        (8, 2, (), "orthohash", "2 groups of 8 bits: a local stream of 2 bits does not converge.* choose 1 groups"),
        (64, 2, (8,), "transhash", "2 groups of 8 bits"),
        (24, 4, (), "transhash", "4 groups of 24 bits: a local stream of 3 bits"),
    ],
)
def test_a_local_stream_has_four_bits(pictures, bits, groups, nested, loss, message):
    with pytest.raises(TrainingError, match=message):
        transhash.train(pictures, None, Architecture(bits, groups=groups, nested=nested), TrainConfig(loss=loss))


def test_crops_are_not_larger_than_the_resized_image(pictures):
    with pytest.raises(TrainingError, match="resize 24: must be at least the image size, 32"):
        transhash.train(pictures, None, TINY, TrainConfig(resize=24))
    with pytest.raises(TrainingError, match="resize and crop cannot be combined"):
        TrainConfig(resize=40, crop=0.3)


def test_the_training_of_the_paper(pictures):
    """Its settings, which the options beside it change; here with a network of a test's size."""
    paper = transhash.preset("transhash-icmr22")
    assert (paper.architecture.backbone, paper.architecture.groups) == ("vit_large_patch32_224", 2)
    architecture = replace(paper.architecture, bits=16, backbone="test_vit", image_size=32, patch_size=16)
    config = replace(paper.config, epochs=1, batch_size=12, resize=36)
    hasher = transhash.train(pictures, None, architecture, config)
    assert hasher.architecture.stride == 16
    assert hasher.training["config"]["optimizer"] == "sgd"
    with pytest.raises(TrainingError, match="preset 'paper': unknown; choose from transhash-icmr22"):
        transhash.preset("paper")


def as_tar(pictures, folder):
    with tarfile.open(folder / "pictures.tar", "w") as file:
        for path in sorted(pictures.rglob("*.png")):
            name = path.relative_to(pictures)
            file.add(path, name)
            label = tarfile.TarInfo(str(name.with_suffix(".cls")))
            label.size = len(path.parent.name)
            file.addfile(label, io.BytesIO(path.parent.name.encode()))
    return folder / "pictures.tar"


def as_list(pictures, folder):
    lines = [f"{path},{path.parent.name}\n" for path in sorted(pictures.rglob("*.png"))]
    (folder / "list.csv").write_text("path,label\n" + "".join(lines))
    return folder / "list.csv"


def as_parquet(pictures, folder):
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    files = sorted(pictures.rglob("*.png"))
    columns = {
        "image": [{"bytes": path.read_bytes(), "path": str(path.relative_to(pictures))} for path in files],
        "label": [path.parent.name for path in files],
    }
    parquet.write_table(pyarrow.table(columns), folder / "pictures.parquet")
    return folder / "pictures.parquet"


@pytest.mark.parametrize("made", [as_tar, as_list, as_parquet])
@pytest.mark.parametrize("workers", [0, 1])
def test_images_of_any_source(pictures, trained, tmp_path, made, workers):
    """The same images and labels in the same order give the same weights, however they are stored."""
    hasher = transhash.train(made(pictures, tmp_path), architecture=TINY, config=SHORT, workers=workers)
    batch = np.random.default_rng(0).integers(0, 256, (50, 32, 32, 3), dtype=np.uint8)
    np.testing.assert_array_equal(hasher.outputs(batch), transhash.load_hasher(trained).outputs(batch))


def test_images_of_any_source_can_be_fitted_to(pictures, trained, tmp_path):
    hashers = [
        transhash.fit(images, None, FLAT, FitConfig("lsh"), weights=trained)
        for images in (pictures, as_tar(pictures, tmp_path), [Image.open(path) for path in pictures.rglob("*.png")])
    ]
    assert [hasher.training["images"] for hasher in hashers] == [24] * 3


WRONG_TYPES = {
    "images": lambda path: transhash.train(3),
    "architecture": lambda path: transhash.train(path.parent, architecture={"bits": 64}),
    "config": lambda path: transhash.train(path.parent, config=FitConfig()),
    "output": lambda path: transhash.train(path.parent, 3),
    "weights": lambda path: transhash.train(path.parent, weights=3),
    "config of a fit": lambda path: transhash.fit(path.parent, config=TrainConfig(), weights=path),
    "hashers, one": lambda path: transhash.soup(path),
    "hashers, numbers": lambda path: transhash.soup([1, 2]),  # type: ignore[list-item]
}


@pytest.mark.parametrize("argument", WRONG_TYPES)
def test_wrong_types_are_named(trained, argument):
    with pytest.raises(TypeError, match=r"not |must be|of type int") as caught:
        WRONG_TYPES[argument](trained)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda p, h: transhash.train(p / "cross"), TrainingError, r"'0\.png' has no label"),
        (lambda p, h: transhash.train(p / "none"), SourceError, "none"),
        (lambda p, h: transhash.train(p, weights=p / "cross" / "0.png"), ModelError, "no weights for this backbone"),
        (lambda p, h: transhash.train(p, weights=p), ModelError, "no weights for this backbone"),
        (lambda p, h: transhash.train(p, pretrained=True, weights=h), TrainingError, "cannot be combined"),
        (lambda p, h: transhash.train(p, architecture=Architecture(backbone="resnet50")), ModelError, "not a plain"),
        (lambda p, h: transhash.train(p, architecture=Architecture(backbone="x")), ModelError, "no such model"),
        (lambda p, h: transhash.train(p, p / "cross" / "0.png"), OutputError, "exists and is not a hasher"),
        (lambda p, h: transhash.train(p, p / "x.run"), OutputError, r"the suffix \.run"),
        (lambda p, h: transhash.train(p, p / "none" / "h"), OutputError, "no such folder"),
        (lambda p, h: transhash.fit(p), TrainingError, r"pass --pretrained \(pretrained=True\), --weights FILE"),
        (lambda p, h: transhash.fit(p, None, TINY, weights=h), TrainingError, "2 groups"),
        (lambda p, h: transhash.soup([h]), ModelError, "at least two files"),
        (lambda p, h: transhash.soup([h, p / "cross" / "0.png"]), ModelError, "not a hasher, or a damaged one"),
    ],
)
def test_refusals(pictures, trained, call, error, message):
    before = sorted(pictures.rglob("*"))
    with pytest.raises(error, match=message) as caught:
        call(pictures, trained)
    assert "\n" not in str(caught.value)
    assert sorted(pictures.rglob("*")) == before


ORPHANS = """
import os, sys
import transhash

class Tell(transhash.Watcher):
    def on_step(self, result):
        print(open(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read(), flush=True)

tiny = transhash.Architecture(bits=16, backbone="test_vit", image_size=32, patch_size=16, stride=16, groups=2)
transhash.train(sys.argv[1], None, tiny, transhash.TrainConfig(epochs=100000), workers=2, watcher=Tell())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_workers_end_when_their_parent_is_killed(forks, pictures):
    process = forks.start(ORPHANS, pictures, pipes=["stdout"])
    workers = [int(number) for number in process.stdout.readline().split()]
    assert len(workers) >= 2
    assert [is_running(worker) for worker in workers].count(True) >= 2
    process.close()
    deadline = time.monotonic() + 100  # they end at once; a busy machine may take its time
    while any(map(is_running, workers)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(is_running, workers))


def is_running(process):
    try:
        with open(f"/proc/{process}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False
