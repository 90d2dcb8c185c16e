/* AVX-512 with VPOPCNTDQ, BITALG and VBMI2: eight codes per vector, or 32 with a 16-bit part of each. */
#include "kernel.h"

#if defined(__GNUC__) && defined(__x86_64__)
#include <immintrin.h>

#define TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vpopcntdq,avx512bitalg,avx512vbmi2,popcnt")))
#define UNROLLED 4 /* vectors */
#define INLINE TARGET static inline __attribute__((always_inline))

static int supported(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512vpopcntdq") && __builtin_cpu_supports("avx512bitalg") &&
           __builtin_cpu_supports("avx512vbmi2");
}

/* Add to each lane of `bits` the number of differing bits in words `from` to `to`. */
INLINE __m512i add(__m512i bits, const uint64_t *planes, size_t stride, size_t from, size_t to, const __m512i *query,
                   __mmask8 lanes)
{
    for (size_t word = from; word < to; word++) {
        __m512i code = _mm512_maskz_loadu_epi64(lanes, planes + word * stride);
        bits = _mm512_add_epi64(bits, _mm512_popcnt_epi64(_mm512_xor_si512(code, query[word])));
    }
    return bits;
}

INLINE __m512i distance(const uint64_t *planes, size_t stride, size_t words, const __m512i *query, __mmask8 lanes)
{
    return add(_mm512_setzero_si512(), planes, stride, 0, words, query, lanes);
}

INLINE void broadcast(const uint64_t *query, size_t words, __m512i *out)
{
    for (size_t word = 0; word < words; word++)
        out[word] = _mm512_set1_epi64((long long)query[word]);
}

INLINE __mmask8 lanes_of(size_t left)
{
    return left >= 8 ? 0xff : (__mmask8)((1u << left) - 1);
}

INLINE void all_distances(const uint64_t *planes, size_t stride, size_t words, size_t n, const uint64_t *query,
                          uint16_t *out)
{
    __m512i broadcast_query[MAX_WORDS];
    broadcast(query, words, broadcast_query);
    for (size_t place = 0; place < n; place += 8) {
        __mmask8 lanes = lanes_of(n - place);
        __m512i bits = distance(planes + place, stride, words, broadcast_query, lanes);
        _mm_mask_storeu_epi16(out + place, lanes, _mm512_cvtepi64_epi16(bits));
    }
}

INLINE size_t keep(__m512i bits, __mmask8 near, size_t place, size_t count, uint16_t *places, uint16_t *out)
{
    uint64_t lanes[8];
    _mm512_storeu_si512(lanes, bits);
    for (unsigned left = near; left; left &= left - 1, count++) {
        unsigned lane = (unsigned)__builtin_ctz(left);
        places[count] = (uint16_t)(place + lane);
        out[count] = (uint16_t)lanes[lane];
    }
    return count;
}

INLINE __m512i least(const __m512i *bits, size_t parts)
{
    __m512i found = bits[0];
    for (size_t part = 1; part < parts; part++)
        found = _mm512_min_epu32(found, bits[part]); /* the upper halves are zero */
    return found;
}

INLINE size_t all_below(const uint64_t *planes, size_t stride, size_t words, size_t n, const uint64_t *query,
                        uint32_t limit, const uint8_t *mask, uint16_t *places, uint16_t *out)
{
    __m512i broadcast_query[MAX_WORDS], bound = _mm512_set1_epi64(limit);
    size_t count = 0, place = 0;
    size_t half = words < 4 ? words : words / 2; /* the first half of a long code often exceeds the limit already */
    int ahead = words == 1 && is_long(8 * n); /* planes of longer codes are copies in the cache */
    broadcast(query, words, broadcast_query);
    if (!mask) {
        for (; place + 8 * UNROLLED <= n; place += 8 * UNROLLED) { /* 32 codes share one branch, which is rarely taken */
            __m512i bits[UNROLLED];
            if (ahead)
                fetch_ahead(planes + place, 8 * 8 * UNROLLED);
            for (size_t part = 0; part < UNROLLED; part++)
                bits[part] = distance(planes + place + 8 * part, stride, half, broadcast_query, 0xff);
            if (half < words) {
                if (!_mm512_cmplt_epu64_mask(least(bits, UNROLLED), bound))
                    continue;
                for (size_t part = 0; part < UNROLLED; part++)
                    bits[part] = add(bits[part], planes + place + 8 * part, stride, half, words, broadcast_query, 0xff);
            }
            if (_mm512_cmplt_epu64_mask(least(bits, UNROLLED), bound))
                for (size_t part = 0; part < UNROLLED; part++)
                    count = keep(bits[part], _mm512_cmplt_epu64_mask(bits[part], bound), place + 8 * part, count,
                                 places, out);
        }
    }
    for (; place < n; place += 8) {
        __mmask8 lanes = lanes_of(n - place);
        if (mask)
            lanes &= mask[place / 8];
        if (!lanes)
            continue;
        __m512i bits = distance(planes + place, stride, words, broadcast_query, lanes);
        count = keep(bits, _mm512_mask_cmplt_epu64_mask(lanes, bits, bound), place, count, places, out);
    }
    return count;
}

/* With the number of words known, the compiler keeps the query in registers. */
#define FOR_EVERY_WIDTH(call)                                                                                         \
    switch (words) {                                                                                                  \
    case 1: call(1);                                                                                                  \
    case 2: call(2);                                                                                                  \
    case 4: call(4);                                                                                                  \
    default: call(words);                                                                                             \
    }

TARGET static void distances(const uint64_t *planes, size_t stride, size_t words, size_t n, const uint64_t *query,
                             uint16_t *out)
{
#define CALL(words) all_distances(planes, stride, words, n, query, out); return
    FOR_EVERY_WIDTH(CALL)
#undef CALL
}

TARGET static size_t below(const uint64_t *planes, size_t stride, size_t words, size_t n, const uint64_t *query,
                           uint32_t limit, const uint8_t *mask, uint16_t *places, uint16_t *out)
{
#define CALL(words) return all_below(planes, stride, words, n, query, limit, mask, places, out)
    FOR_EVERY_WIDTH(CALL)
#undef CALL
}

/* Distances of eight consecutive codes of two words, in the lane order of `two_words`. */
INLINE __m512i pairs(const uint8_t *codes, __m512i query)
{
    __m512i a = _mm512_popcnt_epi64(_mm512_xor_si512(_mm512_loadu_si512(codes), query));
    __m512i b = _mm512_popcnt_epi64(_mm512_xor_si512(_mm512_loadu_si512(codes + 64), query));
    return _mm512_add_epi64(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
}

/* Distances of eight consecutive codes of four words, in the lane order of `four_words`. */
INLINE __m512i quads(const uint8_t *codes, __m512i query)
{
    const __m512i low = _mm512_setr_epi64(0, 1, 4, 5, 8, 9, 12, 13);
    const __m512i high = _mm512_setr_epi64(2, 3, 6, 7, 10, 11, 14, 15);
    __m512i ab = pairs(codes, query), cd = pairs(codes + 128, query);
    return _mm512_add_epi64(_mm512_permutex2var_epi64(ab, low, cd), _mm512_permutex2var_epi64(ab, high, cd));
}

INLINE size_t all_below_rows(const uint8_t *codes, size_t words, size_t n, const uint64_t *query, uint32_t limit,
                             uint16_t *places, uint16_t *out)
{
    const __m512i two_words = _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7); /* lanes of codes 0, 1, ... */
    const __m512i four_words = _mm512_setr_epi64(0, 2, 1, 3, 4, 6, 5, 7);
    const __m512i order = words == 2 ? two_words : four_words;
    const __m512i bound = _mm512_set1_epi64(limit);
    const __m512i broadcast_query = words == 2 ? _mm512_broadcast_i64x2(_mm_loadu_si128((const __m128i *)query))
                                     : _mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i *)query));
    size_t count = 0, place = 0;
    int ahead = is_long(8 * words * n);
    for (; place + 8 * UNROLLED <= n; place += 8 * UNROLLED) {
        __m512i bits[UNROLLED];
        if (ahead)
            fetch_ahead(codes + place * 8 * words, 8 * 8 * UNROLLED * words);
        for (size_t part = 0; part < UNROLLED; part++) {
            const uint8_t *from = codes + (place + 8 * part) * 8 * words;
            bits[part] = words == 2 ? pairs(from, broadcast_query) : quads(from, broadcast_query);
        }
        if (!_mm512_cmplt_epu64_mask(least(bits, UNROLLED), bound))
            continue;
        for (size_t part = 0; part < UNROLLED; part++) {
            __m512i sorted = _mm512_permutexvar_epi64(order, bits[part]);
            count = keep(sorted, _mm512_cmplt_epu64_mask(sorted, bound), place + 8 * part, count, places, out);
        }
    }
    size_t tail = avx2_kernel.below_rows(codes + place * 8 * words, 8 * words, n - place, query, limit, places + count,
                                         out + count);
    for (size_t found = count; found < count + tail; found++)
        places[found] = (uint16_t)(places[found] + place);
    return count + tail;
}

/* Sums of the lanes of eight vectors, in their order. */
INLINE __m512i sums(const __m512i *vectors)
{
    __m512i pairs[4], quads[2];
    for (size_t pair = 0; pair < 4; pair++) {
        __m512i a = vectors[2 * pair], b = vectors[2 * pair + 1];
        pairs[pair] = _mm512_add_epi64(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
    }
    for (size_t quad = 0; quad < 2; quad++) {
        __m512i a = pairs[2 * quad], b = pairs[2 * quad + 1];
        quads[quad] = _mm512_add_epi64(_mm512_shuffle_i64x2(a, b, 0x88), _mm512_shuffle_i64x2(a, b, 0xdd));
    }
    return _mm512_add_epi64(_mm512_shuffle_i64x2(quads[0], quads[1], 0x88),
                            _mm512_shuffle_i64x2(quads[0], quads[1], 0xdd));
}

/* Distances of n codes, at most eight, of one or two vectors, the last of which has the bytes `last`. */
INLINE __m512i wide(const uint8_t *codes, size_t width, size_t n, const __m512i *query, size_t vectors, __mmask64 last)
{
    __m512i bits[8];
    for (size_t row = 0; row < 8; row++, codes += width) {
        bits[row] = _mm512_setzero_si512();
        for (size_t vector = 0; row < n && vector < vectors; vector++) {
            __m512i code = _mm512_maskz_loadu_epi8(vector + 1 < vectors ? ~(__mmask64)0 : last, codes + 64 * vector);
            bits[row] = _mm512_add_epi64(bits[row], _mm512_popcnt_epi64(_mm512_xor_si512(code, query[vector])));
        }
    }
    return sums(bits);
}

INLINE size_t all_below_wide(const uint8_t *codes, size_t width, size_t vectors, size_t n, const uint64_t *query,
                             uint32_t limit, uint16_t *places, uint16_t *out)
{
    const __m512i bound = _mm512_set1_epi64(limit);
    const __mmask64 last = ~(__mmask64)0 >> (64 * vectors - width);
    __m512i asked[2];
    size_t count = 0, place = 0;
    int ahead = is_long(width * n);
    for (size_t vector = 0; vector < vectors; vector++)
        asked[vector] = _mm512_maskz_loadu_epi8(vector + 1 < vectors ? ~(__mmask64)0 : last, query + 8 * vector);
    for (; place + 8 <= n; place += 8, codes += 8 * width) {
        if (ahead)
            fetch_ahead(codes, 8 * width);
        __m512i bits = wide(codes, width, 8, asked, vectors, last);
        __mmask8 near = _mm512_cmplt_epu64_mask(bits, bound);
        if (near)
            count = keep(bits, near, place, count, places, out);
    }
    __m512i bits = wide(codes, width, n - place, asked, vectors, last);
    __mmask8 near = _mm512_mask_cmplt_epu64_mask(lanes_of(n - place), bits, bound);
    return keep(bits, near, place, count, places, out);
}

TARGET static size_t below_rows(const uint8_t *codes, size_t width, size_t n, const uint64_t *query, uint32_t limit,
                                uint16_t *places, uint16_t *out)
{
    if (width == 16)
        return all_below_rows(codes, 2, n, query, limit, places, out);
    if (width == 32)
        return all_below_rows(codes, 4, n, query, limit, places, out);
    if (width <= 64)
        return all_below_wide(codes, width, 1, n, query, limit, places, out);
    return all_below_wide(codes, width, 2, n, query, limit, places, out);
}

/* Rows of 16 and 32 bytes fill vectors, and long ones take longest to rearrange. */
static size_t row_queries(size_t width)
{
    if (width == 16 || width == 32)
        return 12;
    return width < 16 ? 0 : width < 48 ? 4 : width <= 64 ? 10 : 16;
}

TARGET static void transpose(const uint8_t *codes, size_t width, size_t n, uint64_t *planes, size_t stride)
{
    size_t place = 0;
    if (width == 16) {
        const __m512i even = _mm512_setr_epi64(0, 2, 4, 6, 8, 10, 12, 14);
        const __m512i odd = _mm512_setr_epi64(1, 3, 5, 7, 9, 11, 13, 15);
        for (; place + 8 <= n; place += 8) {
            __m512i low = _mm512_loadu_si512(codes + place * 16), high = _mm512_loadu_si512(codes + place * 16 + 64);
            _mm512_storeu_si512(planes + place, _mm512_permutex2var_epi64(low, even, high));
            _mm512_storeu_si512(planes + stride + place, _mm512_permutex2var_epi64(low, odd, high));
        }
    } else if (width == 32) {
        const __m512i first = _mm512_setr_epi64(0, 4, 8, 12, 1, 5, 9, 13); /* words 0 of four codes, then words 1 */
        const __m512i last = _mm512_setr_epi64(2, 6, 10, 14, 3, 7, 11, 15);
        for (; place + 8 <= n; place += 8) {
            const uint8_t *from = codes + place * 32;
            __m512i a = _mm512_loadu_si512(from), b = _mm512_loadu_si512(from + 64);
            __m512i c = _mm512_loadu_si512(from + 128), d = _mm512_loadu_si512(from + 192);
            __m512i ab = _mm512_permutex2var_epi64(a, first, b), cd = _mm512_permutex2var_epi64(c, first, d);
            _mm512_storeu_si512(planes + place, _mm512_shuffle_i64x2(ab, cd, 0x44));
            _mm512_storeu_si512(planes + stride + place, _mm512_shuffle_i64x2(ab, cd, 0xee));
            ab = _mm512_permutex2var_epi64(a, last, b), cd = _mm512_permutex2var_epi64(c, last, d);
            _mm512_storeu_si512(planes + 2 * stride + place, _mm512_shuffle_i64x2(ab, cd, 0x44));
            _mm512_storeu_si512(planes + 3 * stride + place, _mm512_shuffle_i64x2(ab, cd, 0xee));
        }
    }
    transpose_any(codes + place * width, width, n - place, planes + place, stride);
}

#define PARTS 4 /* vectors per tile */

/* A tile has PARTS vectors with the first 16 bits of each code, then as many with the next ones, and so on. */
TARGET static void pack(const uint64_t *planes, size_t stride, size_t words, size_t n, void *packed)
{
    const __m512i by_part = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 1, 8, 9, 2, 3, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15));
    for (size_t word = 0; word < words; word++) {
        for (size_t place = 0; place < n; place += 32) {
            const uint64_t *from = planes + word * stride + place;
            uint64_t last[32] = {0};
            if (n - place < 32)
                from = memcpy(last, from, (n - place) * sizeof *last);
            __m512i a = _mm512_loadu_si512(from), b = _mm512_loadu_si512(from + 8);
            __m512i c = _mm512_loadu_si512(from + 16), d = _mm512_loadu_si512(from + 24);
            /* Lane i of the next four has codes 8i and 8i + 1, 8i + 2 and 8i + 3, ... */
            __m512i ab = _mm512_shuffle_i64x2(a, b, 0x44), cd = _mm512_shuffle_i64x2(c, d, 0x44);
            __m512i p = _mm512_shuffle_epi8(_mm512_shuffle_i64x2(ab, cd, 0x88), by_part);
            __m512i q = _mm512_shuffle_epi8(_mm512_shuffle_i64x2(ab, cd, 0xdd), by_part);
            ab = _mm512_shuffle_i64x2(a, b, 0xee), cd = _mm512_shuffle_i64x2(c, d, 0xee);
            __m512i r = _mm512_shuffle_epi8(_mm512_shuffle_i64x2(ab, cd, 0x88), by_part);
            __m512i s = _mm512_shuffle_epi8(_mm512_shuffle_i64x2(ab, cd, 0xdd), by_part);
            __m512i pq = _mm512_unpacklo_epi32(p, q), rs = _mm512_unpacklo_epi32(r, s);
            __m512i *to = (__m512i *)packed + (place / TILE * 4 * words + 4 * word) * PARTS + place / 32 % PARTS;
            _mm512_store_si512(to, _mm512_unpacklo_epi64(pq, rs));
            _mm512_store_si512(to + PARTS, _mm512_unpackhi_epi64(pq, rs));
            pq = _mm512_unpackhi_epi32(p, q), rs = _mm512_unpackhi_epi32(r, s);
            _mm512_store_si512(to + 2 * PARTS, _mm512_unpacklo_epi64(pq, rs));
            _mm512_store_si512(to + 3 * PARTS, _mm512_unpackhi_epi64(pq, rs));
        }
    }
}

/* Write each 16-bit part of a query twice, for broadcasts from memory. */
static void prepare(const uint64_t *query, size_t words, void *parts)
{
    for (size_t part = 0; part < 4 * words; part++)
        ((uint32_t *)parts)[part] = (uint32_t)(query[part / 4] >> 16 * (part % 4) & 0xffff) * 0x10001;
}

/* Distances of 32 codes in a 16-bit part; `query` has it twice. */
INLINE __m512i difference(__m512i code, uint32_t query)
{
    return _mm512_popcnt_epi16(_mm512_xor_si512(code, _mm512_set1_epi32((int)query)));
}

/* Add to `bits` the distances in the parts of a tile from `from` to `to`. */
INLINE void add_parts(__m512i *bits, const __m512i *tile, size_t from, size_t to, const uint32_t *query)
{
    __m512i a = bits[0], b = bits[1], c = bits[2], d = bits[3];
    for (size_t part = from; part < to; part++) {
        a = _mm512_add_epi16(a, difference(tile[part * PARTS], query[part]));
        b = _mm512_add_epi16(b, difference(tile[part * PARTS + 1], query[part]));
        c = _mm512_add_epi16(c, difference(tile[part * PARTS + 2], query[part]));
        d = _mm512_add_epi16(d, difference(tile[part * PARTS + 3], query[part]));
    }
    bits[0] = a, bits[1] = b, bits[2] = c, bits[3] = d;
}

static const uint16_t to_31[32] = {0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15,
                                   16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31};

INLINE size_t all_below_packed(const __m512i *tile, size_t parts, size_t first, size_t n, const uint32_t *query,
                               uint32_t limit, const uint8_t *mask, size_t *passed, uint16_t *places, uint16_t *out)
{
    const __m512i bound = _mm512_set1_epi16((short)limit), numbers = _mm512_loadu_si512(to_31);
    size_t count = 0;
    for (size_t start = 0; start < n; start += TILE, tile += parts * PARTS) {
        __m512i bits[PARTS];
        for (size_t vector = 0; vector < PARTS; vector++)
            bits[vector] = difference(tile[vector], query[0]);
        add_parts(bits, tile, 1, first, query);
        __m512i least = _mm512_min_epu16(_mm512_min_epu16(bits[0], bits[1]), _mm512_min_epu16(bits[2], bits[3]));
        if (!_mm512_cmplt_epu16_mask(least, bound))
            continue;
        ++*passed;
        add_parts(bits, tile, first, parts, query);
        for (size_t vector = 0; vector < PARTS; vector++) {
            size_t place = start + 32 * vector;
            uint32_t near = _mm512_cmplt_epu16_mask(bits[vector], bound) & lanes_from(place, n, mask);
            if (!near)
                continue;
            __m512i position = _mm512_add_epi16(_mm512_set1_epi16((short)place), numbers);
            _mm512_storeu_si512(places + count, _mm512_maskz_compress_epi16(near, position));
            _mm512_storeu_si512(out + count, _mm512_maskz_compress_epi16(near, bits[vector]));
            count += (size_t)_mm_popcnt_u32(near);
        }
    }
    return count;
}

TARGET static size_t below_packed(const void *packed, size_t words, size_t n, const void *query, uint32_t limit,
                                  const uint8_t *mask, Head *head, uint16_t *places, uint16_t *out)
{
    size_t parts = 4 * words, passed = 0, count;
    if (!head->parts)
        head->parts = (uint8_t)parts;
#define CALL(parts, first) count = all_below_packed(packed, parts, first, n, query, limit, mask, &passed, places, out)
    if (parts == 4 && head->parts == 2)
        CALL(4, 2);
    else if (parts == 4 && head->parts == 3)
        CALL(4, 3);
    else if (parts == 4 && head->parts == 4)
        CALL(4, 4);
    else
        CALL(parts, head->parts);
#undef CALL
    adapt(head, parts, passed, (n + TILE - 1) / TILE);
    return count;
}

/* Codes in slices. */
#define SLICED_QUERIES 48 /* from which on they pay off */
typedef uint64_t Slice __attribute__((vector_size(64), may_alias));

INLINE Slice majority(Slice a, Slice b, Slice c)
{
    return (Slice)_mm512_ternarylogic_epi64((__m512i)a, (__m512i)b, (__m512i)c, 0xe8);
}

INLINE Slice odd(Slice a, Slice b, Slice c)
{
    return (Slice)_mm512_ternarylogic_epi64((__m512i)a, (__m512i)b, (__m512i)c, 0x96);
}

INLINE int none(Slice a) { return !_mm512_test_epi64_mask((__m512i)a, (__m512i)a); }

INLINE unsigned row_of(Slice a, unsigned row)
{
    return _mm512_test_epi64_mask((__m512i)a, _mm512_set1_epi64((long long)((uint64_t)1 << row)));
}

#include "sliced.h"

/* With few vectors of the others, known to the compiler, they stay in registers while all codes are compared. */
INLINE size_t all_cross(const uint64_t *planes, const uint64_t *others, size_t stride, size_t words, size_t head,
                        size_t count, size_t n, size_t vectors, uint32_t limit, uint32_t *pairs)
{
    const __m512i bound = _mm512_set1_epi64(limit);
    __mmask8 lanes[UNROLLED];
    size_t found = 0;
    for (size_t part = 0; part < vectors; part++)
        lanes[part] = lanes_of(n - 8 * part);
    for (size_t place = 0; place < count; place++) {
        __m512i bits[UNROLLED], query[MAX_WORDS];
        for (size_t word = 0; word < head; word++)
            query[word] = _mm512_set1_epi64((long long)planes[word * stride + place]);
        for (size_t part = 0; part < vectors; part++)
            bits[part] = distance(others + 8 * part, stride, head, query, lanes[part]);
        if (!_mm512_cmplt_epu64_mask(least(bits, vectors), bound))
            continue;
        for (size_t word = head; word < words; word++)
            query[word] = _mm512_set1_epi64((long long)planes[word * stride + place]);
        for (size_t part = 0; part < vectors; part++) {
            bits[part] = add(bits[part], others + 8 * part, stride, head, words, query, lanes[part]);
            for (unsigned left = _mm512_mask_cmplt_epu64_mask(lanes[part], bits[part], bound); left; left &= left - 1)
                pairs[found++] = (uint32_t)(place << 16 | (8 * part + (size_t)__builtin_ctz(left)));
        }
    }
    return found;
}

TARGET static size_t cross(const uint64_t *planes, const uint64_t *others, size_t stride, size_t words, size_t count,
                           size_t n, uint32_t limit, uint32_t *pairs)
{
    size_t head = head_words(words, limit);
#define CALL(head)                                                                                                    \
    switch ((n + 7) / 8) {                                                                                            \
    case 1: return all_cross(planes, others, stride, words, head, count, n, 1, limit, pairs);                         \
    case 2: return all_cross(planes, others, stride, words, head, count, n, 2, limit, pairs);                         \
    case 3: return all_cross(planes, others, stride, words, head, count, n, 3, limit, pairs);                         \
    default: return all_cross(planes, others, stride, words, head, count, n, 4, limit, pairs);                        \
    }
    switch (head) {
    case 1: CALL(1)
    case 2: CALL(2)
    default: CALL(head)
    }
#undef CALL
}

const Kernel avx512_kernel = {"avx512", supported,    distances, below,    below_rows, row_queries, pack,
                              prepare,  below_packed, 1,         &slicing, cross,      transpose};
#endif
