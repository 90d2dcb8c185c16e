"""Where there is no GPU, that is said, and the CPU answers."""

from importlib.util import find_spec

import numpy as np
import pytest

from transhash.codes import Codes, ModelRef, Records, StringTable, write_codes
from transhash.errors import BackendError
from transhash.index.index import Index

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("triton") is None, reason="torch brings Triton on Linux only"),
]


@pytest.fixture(scope="module")
def without_gpu():
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA GPU")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A codes file of queries, and indexes."""
    folder = tmp_path_factory.mktemp("gpu")
    rows = np.random.default_rng(0).integers(0, 4, (100, 2), dtype=np.uint8)
    names = StringTable.of([b"%03d.jpg" % place for place in range(len(rows))])
    codes = Codes(rows, Records(names), ModelRef("test", "test", 16))
    write_codes(folder / "q.h5", codes.take(np.arange(len(rows)) < 2))
    Index.build(codes, "ivf", {"nlist": 4, "nprobe": 2}).save(folder / "faiss.index")
    Index.build(codes, "triton:ivf", {"nlist": 4, "nprobe": 2}).save(folder / "triton.index")
    return folder


def test_no_gpu_is_an_error_of_one_line(without_gpu):
    from transhash.gpu import DeviceCodes

    with pytest.raises(BackendError, match="finds no CUDA GPU"):
        DeviceCodes(np.zeros((1, 1), np.uint8))
    with pytest.raises(BackendError, match="CUDA devices only"):
        DeviceCodes(np.zeros((1, 1), np.uint8), "cpu")


def test_the_command_answers_alike_without_a_gpu(th, folder, without_gpu):
    query = ("query", folder / "faiss.index", folder / "q.h5", "--json", "-k", 5)
    plain, asked, left = (th(*query, *device) for device in ((), ("--device", "cuda"), ("--device", "auto")))
    assert plain.stdout == asked.stdout == left.stdout
    assert plain.stderr == left.stderr == ""
    assert "finds no CUDA GPU; searching on the CPU" in asked.stderr


def test_an_index_for_a_gpu_needs_one(th, folder, without_gpu):
    done = th("query", folder / "triton.index", folder / "q.h5", code=1)
    assert "finds no CUDA GPU" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_device_that_does_not_exist(th, folder):
    done = th("query", folder / "faiss.index", folder / "q.h5", "--device", "tpu", code=2)
    assert "choose cpu, cuda" in done.stderr
