/* AVX-512 with VPOPCNTDQ: eight codes per vector. */
#include "kernel.h"

#if defined(__GNUC__) && defined(__x86_64__)
#include <immintrin.h>

#define TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vpopcntdq")))
#define UNROLLED 4 /* vectors */
#define INLINE TARGET static inline __attribute__((always_inline))

static int supported(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512vpopcntdq");
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

INLINE size_t keep(__m512i bits, __mmask8 near, size_t place, size_t count, uint32_t *places, uint16_t *out)
{
    uint64_t lanes[8];
    _mm512_storeu_si512(lanes, bits);
    for (unsigned left = near; left; left &= left - 1, count++) {
        unsigned lane = (unsigned)__builtin_ctz(left);
        places[count] = (uint32_t)(place + lane);
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
                        uint32_t limit, const uint8_t *mask, uint32_t *places, uint16_t *out)
{
    __m512i broadcast_query[MAX_WORDS], bound = _mm512_set1_epi64(limit);
    size_t count = 0, place = 0;
    size_t half = words < 4 ? words : words / 2; /* the first half of a long code often exceeds the limit already */
    broadcast(query, words, broadcast_query);
    if (!mask) {
        for (; place + 8 * UNROLLED <= n; place += 8 * UNROLLED) { /* 32 codes share one branch, which is rarely taken */
            __m512i bits[UNROLLED];
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
                           uint32_t limit, const uint8_t *mask, uint32_t *places, uint16_t *out)
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
                             uint32_t *places, uint16_t *out)
{
    const __m512i two_words = _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7); /* lanes of codes 0, 1, ... */
    const __m512i four_words = _mm512_setr_epi64(0, 2, 1, 3, 4, 6, 5, 7);
    const __m512i order = words == 2 ? two_words : four_words;
    const __m512i bound = _mm512_set1_epi64(limit);
    const __m512i broadcast_query = words == 2 ? _mm512_broadcast_i64x2(_mm_loadu_si128((const __m128i *)query))
                                     : _mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i *)query));
    size_t count = 0, place = 0;
    for (; place + 8 * UNROLLED <= n; place += 8 * UNROLLED) {
        __m512i bits[UNROLLED];
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
        places[found] += (uint32_t)place;
    return count + tail;
}

TARGET static size_t below_rows(const uint8_t *codes, size_t width, size_t n, const uint64_t *query, uint32_t limit,
                                uint32_t *places, uint16_t *out)
{
    if (width == 16)
        return all_below_rows(codes, 2, n, query, limit, places, out);
    return all_below_rows(codes, 4, n, query, limit, places, out);
}

static int whole(size_t width) { return width == 16 || width == 32; }

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

const Kernel avx512_kernel = {"avx512", supported, distances, below, below_rows, whole, transpose};
#endif
