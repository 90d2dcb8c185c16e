"""Map the bits of a code to the streams of the network. Does not load torch, because queries do not need it."""

from collections.abc import Sequence


def split_bits(bits: int, groups: int) -> list[int]:
    """Return the bits of the global head and of each local head: half for the first, the rest shared evenly."""
    if not groups:
        return [bits]
    half = bits // 2
    return [bits - half, *(half // groups + (place < half % groups) for place in range(groups))]


def bit_order(lengths: Sequence[int], groups: int) -> list[int]:
    """Return the position of every bit of a nested code among the heads' outputs.

    The outputs are ordered by head, with the widths of `split_bits` for the longest code. In a nested code, every
    length is a prefix that contains the number of bits that `split_bits` assigns to each head for that length.

    Args:
        lengths: lengths of the nested codes, ascending.
        groups: number of local streams.

    Returns:
        A permutation of 0 to `lengths[-1]` - 1.
    """
    widths = split_bits(lengths[-1], groups)
    starts = [sum(widths[:head]) for head in range(len(widths))]
    used = [0] * len(widths)
    order: list[int] = []
    for bits in lengths:
        for head, width in enumerate(split_bits(bits, groups)):
            order += range(starts[head] + used[head], starts[head] + width)
            used[head] = width
    return order


def streams(lengths: Sequence[int], groups: int) -> list[int]:
    """Return the stream of every bit of a code: 0 for the global one, 1 to `groups` for the local ones.

    `lengths`, ascending, are those of the nested codes, the last being the whole code; see `bit_order`.
    """
    widths = split_bits(lengths[-1], groups)
    of_outputs = [head for head, width in enumerate(widths) for _ in range(width)]
    return [of_outputs[place] for place in bit_order(lengths, groups)]
