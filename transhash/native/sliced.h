/* Comparison bit by bit: a slice has one bit of each of 512 or 256 codes, and adders count the bits in which they
   differ from a query, for all of them at a time.

   Bits are counted as by carry-save adders (Harley and Seal; Mula, Kurz and Lemire 2018): a full adder takes three bits
   of one weight, and returns their sum, of that weight, and their carry, of twice that. At the lowest weight, an adder
   takes two bits of the code and the sum of those before. The query flips some of the three, so the carry is one of
   eight that depend on the codes only. `slice` computes them once for all queries, and a query only chooses and adds:
   half as many carries as there are bits.

   An instruction set includes this after it has defined TARGET, INLINE, SLICED_QUERIES, Slice (a vector of words of 64
   bits), `majority` and `odd` of three slices, `none`, and `row_of`, which returns bit `row` of each word. */
#define LANES (sizeof(Slice) / 8)
#define SLICED (64 * LANES) /* codes per slice: that at position LANES * row + lane is bit `row` of word `lane` */
#define CARRIES 32          /* for each word of a code */
#define IN_WORD 5           /* weights of which `sum_32` adds */
#define WEIGHTS 10          /* above the lowest one, for distances of up to 1,024 */

/* Transpose 64 × 64 bits in every lane (Warren, Hacker's Delight, 7-3). */
INLINE void transpose_bits(Slice *rows)
{
    uint64_t low = 0xffffffff;
    for (unsigned shift = 32; shift; shift /= 2, low ^= low << shift)
        for (unsigned row = 0; row < 64; row = (row + shift + 1) & ~shift) {
            Slice swapped = (rows[row] >> shift ^ rows[row + shift]) & low;
            rows[row + shift] ^= swapped;
            rows[row] ^= swapped << shift;
        }
}

/* The codes that exist and are allowed by a mask unless it is NULL. */
INLINE Slice existing(size_t n, const uint8_t *mask)
{
    Slice codes = {0};
    if (!mask && n == SLICED)
        return ~codes;
    uint64_t lanes[LANES] = {0};
    for (size_t place = 0; place < n; place++)
        if (!mask || mask[place / 8] >> place % 8 & 1)
            lanes[place % LANES] |= (uint64_t)1 << place / LANES;
    memcpy(&codes, lanes, sizeof codes);
    return codes;
}

TARGET static void slice(const uint64_t *planes, size_t words, size_t n, const uint8_t *mask, void *sliced)
{
    Slice *to = sliced, sum = {0}, bits[64];
    *to++ = existing(n, mask);
    for (size_t word = 0; word < words; word++) {
        memcpy(bits, planes + word * SLICED, sizeof bits);
        transpose_bits(bits);
        for (size_t bit = 0; bit < 64; bit += 2, to += 8) {
            Slice a = bits[bit], b = bits[bit + 1];
            for (unsigned flips = 0; flips < 8; flips++)
                to[flips] = majority(flips & 4 ? ~sum : sum, flips & 2 ? ~a : a, flips & 1 ? ~b : b);
            sum = odd(sum, a, b);
        }
    }
}

/* Write the offsets of the carries that a query chooses, in words: for even and then for odd limits. */
static void choose(const uint64_t *query, size_t words, uint8_t *choices)
{
    for (unsigned limit = 0; limit < 2; limit++)
        for (size_t carry = 0, sum = limit; carry < CARRIES * words; carry++) {
            size_t a = query[carry / CARRIES] >> 2 * (carry % CARRIES) & 1;
            size_t b = query[carry / CARRIES] >> (2 * (carry % CARRIES) + 1) & 1;
            *choices++ = (uint8_t)((4 * sum + 2 * a + b) * LANES);
            sum ^= a ^ b;
        }
}

INLINE Slice full_add(Slice *sum, Slice a, Slice b)
{
    Slice carry = majority(*sum, a, b);
    *sum = odd(*sum, a, b);
    return carry;
}

/* sum_n adds n carries to `sums`, of one weight each, and returns the carry of the highest. */
INLINE Slice sum_1(Slice *sums, const Slice *carries, const uint8_t *choices)
{
    (void)sums;
    return *(const Slice *)((const uint64_t *)carries + *choices);
}
#define SUM(name, half, count, weight)                                                                                \
    INLINE Slice name(Slice *sums, const Slice *carries, const uint8_t *choices)                                      \
    {                                                                                                                 \
        Slice first = half(sums, carries, choices);                                                                   \
        return full_add(sums + weight, first, half(sums, carries + 8 * count, choices + count));                      \
    }
SUM(sum_2, sum_1, 1, 0)
SUM(sum_4, sum_2, 2, 1)
SUM(sum_8, sum_4, 4, 2)
SUM(sum_16, sum_8, 8, 3)
SUM(sum_32, sum_16, 16, 4)
#undef SUM

/* Return the codes nearer than `limit`. The sums begin with 2^(weights + 1) - limit, so a code is too far when its
   highest sum has a carry; mostly all are after some of the words. */
INLINE Slice nearer(const Slice *sliced, size_t words, size_t weights, const uint8_t *choices, uint32_t limit)
{
    static const uint64_t filled[] = {0, UINT64_MAX}; /* loaded, because the adders keep all other ports busy */
    uint32_t begin = ((uint32_t)2 << weights) - limit;
    Slice near = *sliced++, sums[WEIGHTS];
    choices += begin % 2 * words * CARRIES;
    for (size_t weight = 0; weight < weights; weight++)
        sums[weight] = (Slice){0} + filled[begin >> (weight + 1) & 1];
    for (size_t word = 0; word < words; word++, sliced += 8 * CARRIES, choices += CARRIES) {
        Slice carry = sum_32(sums, sliced, choices);
        for (size_t weight = IN_WORD; weight < weights; weight++) {
            Slice next = sums[weight] & carry;
            sums[weight] ^= carry;
            carry = next;
        }
        near &= ~carry;
        if (none(near))
            return near;
    }
    return near;
}

INLINE size_t all_below_sliced(const Slice *sliced, size_t words, size_t weights, const uint8_t *choices,
                               uint32_t limit, const uint64_t *planes, const uint64_t *query, uint16_t *places,
                               uint16_t *distances)
{
    Slice near = nearer(sliced, words, weights, choices, limit);
    uint64_t rows = 0;
    size_t count = 0;
    for (size_t lane = 0; lane < LANES; lane++)
        rows |= near[lane];
    for (; rows; rows &= rows - 1) {
        unsigned row = (unsigned)__builtin_ctzll(rows);
        for (unsigned left = row_of(near, row); left; left &= left - 1, count++) {
            size_t place = LANES * row + (unsigned)__builtin_ctz(left);
            uint64_t bits = 0;
            for (size_t word = 0; word < words; word++)
                bits += (uint64_t)_mm_popcnt_u64(planes[word * SLICED + place] ^ query[word]);
            places[count] = (uint16_t)place;
            distances[count] = (uint16_t)bits;
        }
    }
    return count;
}

TARGET static size_t below_sliced(const void *sliced, size_t words, const uint8_t *choices, uint32_t limit,
                                  const uint64_t *planes, const uint64_t *query, uint16_t *places, uint16_t *distances)
{
    if (!limit)
        return 0;
#define CALL(words, weights) all_below_sliced(sliced, words, weights, choices, limit, planes, query, places, distances)
    switch (words) {
    case 1: return CALL(1, 6);
    case 2: return CALL(2, 7);
    case 4: return CALL(4, 8);
    default: return CALL(words, 10);
    }
#undef CALL
}

static const Slicing slicing = {SLICED, SLICED_QUERIES, slice, choose, below_sliced};
