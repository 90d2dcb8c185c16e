"""The kernels compile for real GPUs, as far as machine code: the interpreter accepts what a compiler does not."""

import os
from importlib.util import find_spec

import pytest

pytestmark = [
    pytest.mark.skipif(find_spec("triton") is None, reason="torch brings Triton on Linux only"),
    pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="Triton interprets, and compiles nothing"),
]

KERNELS = ("survey_blocks", "survey_items", "count_items", "collect_items")
TYPES = {
    **dict.fromkeys(("codes", "queries", "bounds", "histogram", "owners", "levels", "below", "at"), "*i32"),
    **dict.fromkeys(("starts", "stops", "rooms", "places", "slots"), "*i64"),
    **dict.fromkeys(("minima", "found"), "*i16"),
    **dict.fromkeys(("stride", "first", "count", "blocks"), "i32"),
    "allowed": "*u8",
    "stop": "i64",
}
ALIGNED = ("codes", "stride", "queries", "minima")  # Triton tells these from their values
SINGLE = ("first", "stop", "count", "blocks")  # and makes constants of arguments that are 1


@pytest.fixture(autouse=True)
def fresh_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))


def compiled(name, bits, chip=90, masked=False, popc=True, single=False):
    """Compile a kernel as `transhash.gpu.scan` launches it; return its PTX."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from transhash.gpu import kernels

    kernel = getattr(kernels, name)
    constants = {
        "WORDS": -(-bits // 32),
        "BITS": bits,
        "BINS": max(32, 1 << (bits + 1).bit_length()),
        "BLOCK": 1024,
        "TILE": 16,
        "MASKED": masked,
        "POPC": popc,
        **(dict.fromkeys(SINGLE, 1) if single else {}),
    }
    constants = {argument: value for argument, value in constants.items() if argument in kernel.arg_names}
    signature = {argument: "constexpr" if argument in constants else TYPES[argument] for argument in kernel.arg_names}
    places = [(place,) for place, argument in enumerate(kernel.arg_names) if argument in ALIGNED]
    source = ASTSource(kernel, signature, constants, {place: [["tt.divisibility", 16]] for place in places})
    built = triton.compile(source, target=GPUTarget("cuda", chip, 32), options={"enable_fp_fusion": False})
    assert built.asm["cubin"]
    return built.asm["ptx"]


@pytest.mark.parametrize("bits", [64, 1024])
@pytest.mark.parametrize("name", KERNELS)
def test_compiles(name, bits):
    assert "popc.b32" in compiled(name, bits)


@pytest.mark.parametrize("name", KERNELS)
def test_compiles_with_everything_else(name):
    compiled(name, 72, chip=80, masked=True, popc=False, single=True)


def test_the_survey_reads_four_words_at_a_time():
    assert "ld.global.v4" in compiled("survey_blocks", 64)
