"""Every index type keeps the contract of backends; with the highest search parameter, it equals brute force."""

import pytest

from faiss_backend import FaissIndex
from transhash import hamming
from transhash.testing import BackendContract


class WithoutKernel:
    @pytest.fixture(autouse=True)
    def no_compiled_scan(self, monkeypatch):
        monkeypatch.setattr(hamming, "isa", "")


class TestFlat(BackendContract):
    backend = FaissIndex
    type = "flat"


class TestFlatOfFaiss(WithoutKernel, TestFlat):
    pass


class TestMih(BackendContract):
    backend = FaissIndex
    type = "mih"


@pytest.mark.slow
class TestMihOfFaiss(WithoutKernel, TestMih):
    pass


class TestIvf(BackendContract):
    backend = FaissIndex
    type = "ivf"
    search_params = {"nprobe": 1_000_000}


@pytest.mark.slow
class TestIvfOfFaiss(WithoutKernel, TestIvf):
    pass


@pytest.mark.slow
class TestIvfOverGraph(BackendContract):
    backend = FaissIndex
    type = "ivf"
    params = {"M": 4}
    search_params = {"nprobe": 1_000_000}


class TestHnsw(BackendContract):
    backend = FaissIndex
    type = "hnsw"
    search_params = {"ef": 1_000_000}
    refuses = {"mmap", "remove"}


class TestHash(BackendContract):
    backend = FaissIndex
    type = "hash"
    search_params = {"nflip": 32}
    refuses = {"allowed", "mmap", "remove"}


class TestMultiHash(BackendContract):
    backend = FaissIndex
    type = "multihash"
    search_params = {"nflip": 32}
    refuses = {"allowed", "mmap", "remove"}


class TestAuto(BackendContract):
    backend = FaissIndex
    type = "auto"
