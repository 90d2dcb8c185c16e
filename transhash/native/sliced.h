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

/* Eight choices in each word: reading the carries keeps the load ports busy. */
INLINE Slice chosen(const Slice *carries, const uint64_t *choices, size_t place)
{
    size_t offset = choices[place / 8] >> 8 * (place % 8) & 255;
    return *(const Slice *)((const uint64_t *)(carries + 8 * place) + offset);
}

/* Add two of the 32 carries of a word. Two sums take turns, because an adder has to wait for the one before it: `turn`
   begins with a carry, and is added by the last adder. */
INLINE Slice sum_2(Slice *sums, Slice *turn, const Slice *carries, const uint64_t *choices, size_t pair)
{
#define CHOSEN(place) chosen(carries, choices, place)
    if (pair == 1)
        *turn = CHOSEN(2);
    if (pair % 2 == 0)
        return full_add(sums, CHOSEN(2 * pair), CHOSEN(2 * pair + 1));
    if (pair < CARRIES / 2 - 1)
        return full_add(turn, CHOSEN(2 * pair + 1), CHOSEN(2 * pair + 4));
    return full_add(sums, *turn, CHOSEN(CARRIES - 1));
#undef CHOSEN
}

/* sum_n adds n carries to `sums`, of one weight each, and returns the carry of the highest. */
#define SUM(name, half, pairs, weight)                                                                                \
    INLINE Slice name(Slice *sums, Slice *turn, const Slice *carries, const uint64_t *choices, size_t pair)           \
    {                                                                                                                 \
        Slice first = half(sums, turn, carries, choices, pair);                                                       \
        return full_add(sums + weight, first, half(sums, turn, carries, choices, pair + pairs));                      \
    }
SUM(sum_4, sum_2, 1, 1)
SUM(sum_8, sum_4, 2, 2)
SUM(sum_16, sum_8, 4, 3)
SUM(sum_32, sum_16, 8, 4)
#undef SUM

/* Begin with 2^(weights + 1) - limit, so that a code is too far when its highest sum has a carry. */
INLINE void begin(Slice *sums, size_t weights, uint32_t limit)
{
    static const uint64_t filled[] = {0, UINT64_MAX}; /* loaded, because the adders keep all other ports busy */
    uint32_t first = ((uint32_t)2 << weights) - limit;
    for (size_t weight = 0; weight < weights; weight++)
        sums[weight] = (Slice){0} + filled[first >> (weight + 1) & 1];
}

/* Add a word of the codes to their sums. Returns the codes that are too far now. */
INLINE Slice add_word(Slice *sums, size_t weights, const Slice *carries, const uint8_t *bytes)
{
    uint64_t choices[CARRIES / 8];
    Slice turn;
    memcpy(choices, bytes, sizeof choices);
    Slice carry = sum_32(sums, &turn, carries, choices, 0);
    for (size_t weight = IN_WORD; weight < weights; weight++) {
        Slice next = sums[weight] & carry;
        sums[weight] ^= carry;
        carry = next;
    }
    return carry;
}

/* Unlike memcpy, this lets the sums stay in registers. */
INLINE void copy(Slice *to, const Slice *from, size_t count)
{
    for (size_t place = 0; place < count; place++)
        to[place] = from[place];
}

INLINE uint32_t mean(const uint32_t *limits, size_t count)
{
    uint32_t sum = 0;
    for (size_t query = 0; query < count; query++)
        sum += limits[query];
    return sum / (uint32_t)count;
}

/* Return the number of words after which hardly any code is left that has nothing in common with a query, at most all:
   three standard deviations from half of the bits. */
static size_t words_to_reject(size_t words, uint32_t limit)
{
    size_t head = 1;
    while (head < words && (32 * head < limit || (32 * head - limit) * (32 * head - limit) < 144 * head))
        head++;
    return head;
}

/* Which queries have near codes is found without a branch that could be mispredicted: the sums of every query are
   stored, and those of the next one take their place if none of its codes is left. */
INLINE size_t all_near(const Slice *sliced, size_t words, size_t weights, size_t count, const uint8_t *const *choices,
                       const uint32_t *limits, uint8_t *queries, Slice *near)
{
    Slice left[SLICED_TOGETHER + 1][WEIGHTS];
    const Slice *carries = sliced + 1;
    size_t kept = 0, head = words_to_reject(words, mean(limits, count));
    for (size_t query = 0; query < count; query++) {
        const uint8_t *own = choices[query] + limits[query] % 2 * words * CARRIES;
        Slice sums[WEIGHTS], codes = *sliced;
        begin(sums, weights, limits[query]);
        for (size_t word = 0; word < head; word++)
            codes &= ~add_word(sums, weights, carries + 8 * CARRIES * word, own + CARRIES * word);
        if (head < words)
            copy(left[kept], sums, weights);
        near[kept] = codes;
        queries[kept] = (uint8_t)query;
        kept += !none(codes);
    }
    for (size_t word = head; word < words; word++) {
        size_t before = kept;
        kept = 0;
        for (size_t place = 0; place < before; place++) {
            size_t query = queries[place];
            const uint8_t *own = choices[query] + limits[query] % 2 * words * CARRIES;
            Slice sums[WEIGHTS], codes = near[place];
            copy(sums, left[place], weights);
            codes &= ~add_word(sums, weights, carries + 8 * CARRIES * word, own + CARRIES * word);
            copy(left[kept], sums, weights);
            near[kept] = codes;
            queries[kept] = (uint8_t)query;
            kept += !none(codes);
        }
    }
    return kept;
}

TARGET static size_t find_near_sliced(const void *sliced, size_t words, size_t count, const uint8_t *const *choices,
                                      const uint32_t *limits, uint8_t *queries, void *found)
{
    Slice *near = found;
    if (!count)
        return 0;
#define CALL(words, weights) all_near(sliced, words, weights, count, choices, limits, queries, near)
    switch (words) {
    case 1: return CALL(1, 6);
    case 2: return CALL(2, 7);
    case 4: return CALL(4, 8);
    default: return CALL(words, 10);
    }
#undef CALL
}

TARGET static size_t list_sliced(const void *near, const uint64_t *planes, size_t words, const uint64_t *query,
                                 uint16_t *places, uint16_t *distances)
{
    Slice codes = *(const Slice *)near;
    uint64_t rows = 0;
    size_t count = 0;
    for (size_t lane = 0; lane < LANES; lane++)
        rows |= codes[lane];
    for (; rows; rows &= rows - 1) {
        unsigned row = (unsigned)__builtin_ctzll(rows);
        for (unsigned left = row_of(codes, row); left; left &= left - 1, count++) {
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

static const Slicing slicing = {SLICED, SLICED_QUERIES, slice, choose, find_near_sliced, list_sliced};
