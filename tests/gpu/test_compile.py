"""The kernels compile for real GPUs, as far as machine code: the interpreter accepts what a compiler does not.

The scan itself launches them, with the arguments that it would give a GPU; only the launch is left out.
"""

import os
from importlib.util import find_spec

import numpy as np
import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("triton") is None, reason="torch brings Triton on Linux only"),
    pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="Triton interprets, and compiles nothing"),
]

KERNELS = ("survey_blocks", "survey_items", "count_items", "collect_items")


class Absent:
    """What Triton asks a driver when it compiles."""

    def __init__(self, chip):
        self.chip = chip

    def get_current_target(self):
        from triton.backends.compiler import GPUTarget

        return GPUTarget("cuda", self.chip, 32)

    def get_current_device(self):
        return self.chip  # by its number Triton remembers what it compiled for a device

    def get_current_stream(self, device):
        return 0


class Compiled:
    """A kernel that is compiled for its arguments instead of launched."""

    def __init__(self, kernel, built):
        self.kernel = kernel
        self.built = built

    def __getitem__(self, grid):
        return lambda *given, **constants: self.launch(grid, *given, **constants)

    def launch(self, grid, *given, **constants):
        self.built.append(self.kernel.run(*given, grid=grid, warmup=True, **constants))
        if self.kernel.__name__ == "count_items":
            for counts in given[-2:]:  # so that there is something to collect
                counts.fill_(1)


@pytest.fixture
def build(tmp_path, monkeypatch):
    """A function that runs a scan, and returns the PTX of each kernel that was launched, by name."""
    import torch
    from triton.runtime import driver

    from transhash.gpu import device, kernels, scan

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    built = {name: [] for name in KERNELS}
    for name in KERNELS:
        monkeypatch.setattr(kernels, name, Compiled(getattr(kernels, name), built[name]))

    def run(bits, count, queries, chip=90, popc=True, masked=False):
        monkeypatch.setattr(driver, "_active", Absent(chip))
        monkeypatch.setattr(device, "counts_in_hardware", lambda device: popc)
        codes = np.random.default_rng(0).integers(0, 256, (count, bits // 8), dtype=np.uint8)
        store = scan.Store(codes, torch.device("cpu"))
        asked, mask = store.queries(codes[:queries]), store.mask(np.ones(count, bool) if masked else None)
        owners = torch.zeros(3, dtype=torch.int32)
        slots = torch.zeros(3, dtype=torch.int64)
        items = scan.Items(owners, slots, slots + count, slots)
        store.survey(asked, 1, mask)
        store.survey_items(asked, items, mask)
        levels = torch.zeros(queries, dtype=torch.int32)
        list(store.select(asked, items, levels, torch.ones(queries, dtype=torch.int64), mask))
        latest = {name: built[name][-1].asm for name in KERNELS}
        assert all(asm["cubin"] and f".target sm_{chip}" in asm["ptx"] for asm in latest.values())
        return {name: asm["ptx"] for name, asm in latest.items()}

    return run


@pytest.mark.parametrize("bits", [8, 64, 1024])
def test_counts_bits_with_one_instruction(build, bits):
    assert all("popc.b32" in ptx for ptx in build(bits, 5000, 20).values())


def test_numbers_that_are_one_are_constants_to_triton(build):
    build(64, 1, 1)


def test_filters_and_the_portable_count_on_an_older_chip(build):
    build(72, 5000, 3, chip=80, popc=False, masked=True)


def test_the_survey_reads_four_words_at_a_time(build):
    assert "ld.global.v4" in build(64, 5000, 20)["survey_blocks"]
