# mypy: ignore-errors
"""Triton kernels that scan packed codes. They work on slots and levels, which `scan.py` defines.

Codes are stored word by word, ``codes[word * stride + slot]`` int32, so that the same word of a block of slots is one
contiguous read. Codes and `allowed` are loaded in wide pieces without a mask; that is safe because a full block of
padding follows the last slot. A slot that is out of range or not allowed gets distance BITS + 1, above every level.

Constants of a launch: WORDS in a code, BITS of its width, BINS a power of two above BITS + 1, BLOCK slots to a block,
MASKED whether to read `allowed` (one bit per slot, lowest first), POPC whether this is an NVIDIA GPU.
"""

import triton
import triton.language as tl


@triton.jit
def ones(words, POPC: tl.constexpr):
    """Count the set bits of each int32 word."""
    if POPC:
        count = tl.inline_asm_elementwise("popc.b32 $0, $1;", "=r,r", [words], dtype=tl.int32, is_pure=True, pack=1)
    else:
        sums = words.to(tl.uint32, bitcast=True)
        sums = sums - ((sums >> 1) & 0x55555555)
        sums = (sums & 0x33333333) + ((sums >> 2) & 0x33333333)
        sums = (sums + (sums >> 4)) & 0x0F0F0F0F
        sums = sums + (sums >> 8)
        count = ((sums + (sums >> 16)) & 0x3F).to(tl.int32)
    return count


@triton.jit
def block_distances(
    codes,
    stride,
    start,
    stop,
    query,
    allowed,
    WORDS: tl.constexpr,
    BITS: tl.constexpr,
    BLOCK: tl.constexpr,
    MASKED: tl.constexpr,
    POPC: tl.constexpr,
):
    """Return the distances of one query to the block of slots at `start` (int64): (BLOCK,) int32."""
    lanes = tl.arange(0, BLOCK)
    total = tl.zeros([BLOCK], tl.int32)
    for word in tl.static_range(WORDS):
        column = codes + stride.to(tl.int64) * word + start
        total += ones(tl.load(column + lanes) ^ tl.load(query + word), POPC)
    valid = start + lanes < stop
    if MASKED:
        slots = start + lanes
        marks = tl.load(allowed + (slots >> 3)).to(tl.int32)
        valid = valid & (((marks >> (slots & 7).to(tl.int32)) & 1) == 1)
    return tl.where(valid, total, BITS + 1)


@triton.jit
def add_histogram(histogram, distances, BITS: tl.constexpr, BINS: tl.constexpr):
    """Add the number of slots at each distance 0, 1, ... BITS to one row of `histogram`."""
    counts = tl.histogram(distances, BINS)
    levels = tl.arange(0, BINS)
    tl.atomic_add(histogram + levels, counts, mask=(levels <= BITS) & (counts > 0), sem="relaxed")


@triton.jit
def survey_blocks(
    codes,
    stride,
    first,
    stop,
    queries,
    count,
    bounds,
    allowed,
    minima,
    blocks,
    histogram,
    WORDS: tl.constexpr,
    BITS: tl.constexpr,
    BINS: tl.constexpr,
    BLOCK: tl.constexpr,
    TILE: tl.constexpr,
    MASKED: tl.constexpr,
    POPC: tl.constexpr,
):
    """Scan a block of slots for a tile of queries: its smallest distance, and its histogram if that is below a bound.

    The grid has one program per block, from number `first` on, and tile. The tile index varies fastest, so that
    programs that read the same block run at about the same time.
    """
    tiles = tl.cdiv(count, TILE)
    program = tl.program_id(0)
    block = first + program // tiles
    tile = program % tiles
    start = block.to(tl.int64) * BLOCK
    for place in range(0, tl.minimum(count - tile * TILE, TILE)):
        query = tile.to(tl.int64) * TILE + place
        distances = block_distances(
            codes, stride, start, stop, queries + query * WORDS, allowed, WORDS, BITS, BLOCK, MASKED, POPC
        )
        nearest = tl.min(distances, axis=0)
        tl.store(minima + query * blocks + block, nearest.to(tl.int16))
        if nearest < tl.load(bounds + query):
            add_histogram(histogram + query * (BITS + 1), distances, BITS, BINS)


@triton.jit
def survey_items(
    codes,
    stride,
    owners,
    starts,
    stops,
    queries,
    allowed,
    minima,
    histogram,
    WORDS: tl.constexpr,
    BITS: tl.constexpr,
    BINS: tl.constexpr,
    BLOCK: tl.constexpr,
    MASKED: tl.constexpr,
    POPC: tl.constexpr,
):
    """Scan one item, a query and a block of slots: its smallest distance and its histogram."""
    item = tl.program_id(0)
    query = tl.load(owners + item).to(tl.int64)
    start, stop = tl.load(starts + item), tl.load(stops + item)
    distances = block_distances(
        codes, stride, start, stop, queries + query * WORDS, allowed, WORDS, BITS, BLOCK, MASKED, POPC
    )
    tl.store(minima + item, tl.min(distances, axis=0).to(tl.int16))
    add_histogram(histogram + query * (BITS + 1), distances, BITS, BINS)


@triton.jit
def count_items(
    codes,
    stride,
    owners,
    starts,
    stops,
    queries,
    allowed,
    levels,
    below,
    at,
    WORDS: tl.constexpr,
    BITS: tl.constexpr,
    BLOCK: tl.constexpr,
    MASKED: tl.constexpr,
    POPC: tl.constexpr,
):
    """Count the slots of one item that are below the level of its query, and those at it."""
    item = tl.program_id(0)
    query = tl.load(owners + item).to(tl.int64)
    start, stop = tl.load(starts + item), tl.load(stops + item)
    distances = block_distances(
        codes, stride, start, stop, queries + query * WORDS, allowed, WORDS, BITS, BLOCK, MASKED, POPC
    )
    level = tl.load(levels + query)
    tl.store(below + item, tl.sum((distances < level).to(tl.int32), axis=0))
    tl.store(at + item, tl.sum((distances == level).to(tl.int32), axis=0))


@triton.jit
def collect_items(
    codes,
    stride,
    owners,
    starts,
    stops,
    queries,
    allowed,
    levels,
    rooms,
    places,
    slots,
    found,
    WORDS: tl.constexpr,
    BITS: tl.constexpr,
    BLOCK: tl.constexpr,
    MASKED: tl.constexpr,
    POPC: tl.constexpr,
):
    """Write the slots of one item below the level of its query, and the first `rooms` at it, from `places` on."""
    item = tl.program_id(0)
    query = tl.load(owners + item).to(tl.int64)
    start, stop = tl.load(starts + item), tl.load(stops + item)
    distances = block_distances(
        codes, stride, start, stop, queries + query * WORDS, allowed, WORDS, BITS, BLOCK, MASKED, POPC
    )
    level = tl.load(levels + query)
    tied = distances == level
    rank = tl.cumsum(tied.to(tl.int32), axis=0)
    kept = (distances < level) | (tied & (rank <= tl.load(rooms + item)))
    place = tl.load(places + item) + tl.cumsum(kept.to(tl.int32), axis=0) - 1
    tl.store(slots + place, start + tl.arange(0, BLOCK), mask=kept)
    tl.store(found + place, distances.to(tl.int16), mask=kept)


INTERPRETED = not isinstance(survey_blocks, triton.JITFunction)
