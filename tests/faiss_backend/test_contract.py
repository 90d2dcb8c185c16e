"""Every type keeps the contract; with its effort at the highest its answers are those of brute force."""

from faiss_backend import FaissIndex
from transhash.testing import BackendContract


class TestFlat(BackendContract):
    backend = FaissIndex
    type = "flat"


class TestIvf(BackendContract):
    backend = FaissIndex
    type = "ivf"
    search_params = {"nprobe": 1_000_000}


class TestIvfOverGraph(BackendContract):
    backend = FaissIndex
    type = "ivf"
    params = {"M": 4}
    search_params = {"nprobe": 1_000_000}


class TestHnsw(BackendContract):
    backend = FaissIndex
    type = "hnsw"
    search_params = {"ef": 1_000_000}
    refuses = {"mmap", "range_search", "remove"}


class TestHash(BackendContract):
    backend = FaissIndex
    type = "hash"
    search_params = {"nflip": 32}
    refuses = {"allowed", "mmap", "reconstruct", "remove"}


class TestMultiHash(BackendContract):
    backend = FaissIndex
    type = "multihash"
    search_params = {"nflip": 32}
    refuses = {"allowed", "mmap", "remove"}


class TestAuto(BackendContract):
    backend = FaissIndex
    type = "auto"
