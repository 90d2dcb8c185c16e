/* AVX2: four codes per vector, or 32 with half a byte of each; bits are counted by a table lookup of half bytes (Mula, Kurz and Lemire 2018). */
#include "kernel.h"

#if defined(__GNUC__) && defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

#define TARGET __attribute__((target("avx2,popcnt,bmi")))
#define INLINE TARGET static inline __attribute__((always_inline))

static int supported(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("popcnt") && __builtin_cpu_supports("bmi");
}

INLINE __m256i count_bytes(__m256i x)
{
    const __m256i table = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4, 0, 1, 1, 2, 1, 2, 2, 3, 1,
                                           2, 2, 3, 2, 3, 3, 4);
    const __m256i half = _mm256_set1_epi8(15);
    return _mm256_add_epi8(_mm256_shuffle_epi8(table, _mm256_and_si256(x, half)),
                           _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi16(x, 4), half)));
}

INLINE __m256i distance(const uint64_t *planes, size_t stride, size_t words, const uint64_t *query)
{
    __m256i bytes = _mm256_setzero_si256(); /* at most 8 per word, so 16 words fit in a byte */
    for (size_t word = 0; word < words; word++) {
        __m256i code = _mm256_loadu_si256((const __m256i *)(planes + word * stride));
        bytes = _mm256_add_epi8(
            bytes, count_bytes(_mm256_xor_si256(code, _mm256_set1_epi64x((long long)query[word]))));
    }
    return _mm256_sad_epu8(bytes, _mm256_setzero_si256());
}

INLINE void all_distances(const uint64_t *planes, size_t stride, size_t words, size_t n, const uint64_t *query,
                          uint16_t *out)
{
    size_t place = 0;
    for (; place + 4 <= n; place += 4) {
        uint64_t bits[4];
        _mm256_storeu_si256((__m256i *)bits, distance(planes + place, stride, words, query));
        for (int lane = 0; lane < 4; lane++)
            out[place + (size_t)lane] = (uint16_t)bits[lane];
    }
    portable_kernel.distances(planes + place, stride, words, n - place, query, out + place);
}

INLINE size_t all_below(const uint64_t *planes, size_t stride, size_t words, size_t n, const uint64_t *query,
                        uint32_t limit, const uint8_t *mask, uint16_t *places, uint16_t *out)
{
    const __m256i bound = _mm256_set1_epi64x(limit);
    size_t count = 0, place = 0;
    for (; place + 8 <= n; place += 8) {
        __m256i bits[2];
        unsigned near = 0;
        for (int part = 0; part < 2; part++) {
            bits[part] = distance(planes + place + 4 * part, stride, words, query);
            near |= (unsigned)_mm256_movemask_pd(_mm256_castsi256_pd(_mm256_cmpgt_epi64(bound, bits[part])))
                    << 4 * part;
        }
        if (mask)
            near &= mask[place / 8];
        if (near) {
            uint64_t lanes[8];
            _mm256_storeu_si256((__m256i *)lanes, bits[0]);
            _mm256_storeu_si256((__m256i *)(lanes + 4), bits[1]);
            for (; near; near &= near - 1, count++) {
                unsigned lane = (unsigned)__builtin_ctz(near);
                places[count] = (uint16_t)(place + lane);
                out[count] = (uint16_t)lanes[lane];
            }
        }
    }
    size_t tail = portable_kernel.below(planes + place, stride, words, n - place, query, limit,
                                        mask ? mask + place / 8 : mask, places + count, out + count);
    for (size_t found = count; found < count + tail; found++)
        places[found] = (uint16_t)(places[found] + place);
    return count + tail;
}

TARGET static void distances(const uint64_t *planes, size_t stride, size_t words, size_t n, const uint64_t *query,
                             uint16_t *out)
{
    if (words == 1)
        all_distances(planes, stride, 1, n, query, out);
    else
        all_distances(planes, stride, words, n, query, out);
}

TARGET static size_t below(const uint64_t *planes, size_t stride, size_t words, size_t n, const uint64_t *query,
                           uint32_t limit, const uint8_t *mask, uint16_t *places, uint16_t *out)
{
    if (words == 1)
        return all_below(planes, stride, 1, n, query, limit, mask, places, out);
    return all_below(planes, stride, words, n, query, limit, mask, places, out);
}

/* A single query: counting word by word is as fast as memory. */
INLINE size_t all_below_rows(const uint8_t *codes, size_t words, size_t n, const uint64_t *query, uint32_t limit,
                             uint16_t *places, uint16_t *out)
{
    size_t count = 0;
    int ahead = is_long(8 * words * n);
    for (size_t place = 0; place < n; place++, codes += 8 * words) {
        uint64_t bits = 0;
        if (ahead)
            fetch_ahead(codes, 8 * words);
        for (size_t word = 0; word < words; word++) {
            uint64_t code;
            memcpy(&code, codes + 8 * word, 8);
            bits += (uint64_t)_mm_popcnt_u64(code ^ query[word]);
        }
        if (bits < limit) {
            places[count] = (uint16_t)place;
            out[count++] = (uint16_t)bits;
        }
    }
    return count;
}

TARGET static size_t below_rows(const uint8_t *codes, size_t width, size_t n, const uint64_t *query, uint32_t limit,
                                uint16_t *places, uint16_t *out)
{
    switch (width) {
    case 8: return all_below_rows(codes, 1, n, query, limit, places, out);
    case 16: return all_below_rows(codes, 2, n, query, limit, places, out);
    case 32: return all_below_rows(codes, 4, n, query, limit, places, out);
    default: return all_below_rows(codes, width / 8, n, query, limit, places, out);
    }
}

static size_t row_queries(size_t width) { return width % 8 ? 0 : 2; }

/* Codes packed in half bytes: a tile has PARTS vectors with the lowest half byte of each code, one per byte, then as many
   with the next half bytes, and so on. The number of differing bits of 32 half bytes is one table lookup. */
#define PARTS 4        /* vectors per tile */
#define HEAD_HALVES 60 /* differ by at most 240 bits, which fit in a byte */
#define HALVES 4       /* half bytes per part of a head */

INLINE __m256i two(const uint64_t *low, const uint64_t *high)
{
    return _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)low)),
                                   _mm_loadu_si128((const __m128i *)high), 1);
}

TARGET static void pack(const uint64_t *planes, size_t stride, size_t words, size_t n, void *packed)
{
    const __m256i by_byte = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15));
    const __m256i half = _mm256_set1_epi8(15);
    for (size_t word = 0; word < words; word++) {
        for (size_t place = 0; place < n; place += 32) {
            const uint64_t *from = planes + word * stride + place;
            uint64_t last[32] = {0};
            if (n - place < 32)
                from = memcpy(last, from, (n - place) * sizeof *last);
            /* Transpose bytes: pairs of codes, then fours, eights and sixteens. */
            __m256i pairs[8], fours[8], eights[8];
            for (size_t i = 0; i < 8; i++)
                pairs[i] = _mm256_shuffle_epi8(two(from + 2 * i, from + 16 + 2 * i), by_byte);
            for (size_t i = 0; i < 8; i += 2) {
                fours[i] = _mm256_unpacklo_epi16(pairs[i], pairs[i + 1]);
                fours[i + 1] = _mm256_unpackhi_epi16(pairs[i], pairs[i + 1]);
            }
            for (size_t i = 0; i < 8; i += 4)
                for (size_t high = 0; high < 2; high++) {
                    eights[i + 2 * high] = _mm256_unpacklo_epi32(fours[i + high], fours[i + 2 + high]);
                    eights[i + 2 * high + 1] = _mm256_unpackhi_epi32(fours[i + high], fours[i + 2 + high]);
                }
            __m256i *to = (__m256i *)packed + (place / TILE * 16 * words + 16 * word) * PARTS + place / 32 % PARTS;
            for (size_t byte = 0; byte < 8; byte++, to += 2 * PARTS) {
                __m256i bytes = byte % 2 ? _mm256_unpackhi_epi64(eights[byte / 2], eights[byte / 2 + 4])
                                         : _mm256_unpacklo_epi64(eights[byte / 2], eights[byte / 2 + 4]);
                _mm256_store_si256(to, _mm256_and_si256(bytes, half));
                _mm256_store_si256(to + PARTS, _mm256_and_si256(_mm256_srli_epi16(bytes, 4), half));
            }
        }
    }
}

/* Row i has the number of bits in which i differs from 0, 1, ... 15. */
#define ROW(i) {BITS(i), BITS(i ^ 1), BITS(i ^ 2), BITS(i ^ 3), BITS(i ^ 4), BITS(i ^ 5), BITS(i ^ 6), BITS(i ^ 7),        \
                BITS(i ^ 8), BITS(i ^ 9), BITS(i ^ 10), BITS(i ^ 11), BITS(i ^ 12), BITS(i ^ 13), BITS(i ^ 14),            \
                BITS(i ^ 15)}
#define BITS(i) (((i) & 1) + ((i) >> 1 & 1) + ((i) >> 2 & 1) + ((i) >> 3 & 1))
static const uint8_t differing[16][16] = {ROW(0),  ROW(1),  ROW(2),  ROW(3),  ROW(4),  ROW(5),  ROW(6),  ROW(7),
                                          ROW(8),  ROW(9),  ROW(10), ROW(11), ROW(12), ROW(13), ROW(14), ROW(15)};
#undef BITS
#undef ROW

/* Write the half bytes of a query, which are rows of `differing`. */
static void prepare(const uint64_t *query, size_t words, void *rows)
{
    for (size_t half = 0; half < 16 * words; half++)
        ((uint8_t *)rows)[half] = query[half / 16] >> 4 * (half % 16) & 15;
}

/* Add to `bits` the distances in the half bytes of a tile from `from` to `to`. */
INLINE void add_halves(__m256i *bits, const __m256i *tile, size_t from, size_t to, const uint8_t *query)
{
    __m256i a = bits[0], b = bits[1], c = bits[2], d = bits[3];
    for (size_t half = from; half < to; half++) {
        __m256i table = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)differing[query[half]]));
        a = _mm256_add_epi8(a, _mm256_shuffle_epi8(table, tile[half * PARTS]));
        b = _mm256_add_epi8(b, _mm256_shuffle_epi8(table, tile[half * PARTS + 1]));
        c = _mm256_add_epi8(c, _mm256_shuffle_epi8(table, tile[half * PARTS + 2]));
        d = _mm256_add_epi8(d, _mm256_shuffle_epi8(table, tile[half * PARTS + 3]));
    }
    bits[0] = a, bits[1] = b, bits[2] = c, bits[3] = d;
}

/* Write the distances of a tile, of which `bits` has those in the first half bytes. */
INLINE void whole_tile(__m256i *bits, const __m256i *tile, size_t first, size_t halves, const uint8_t *query,
                       uint16_t *out)
{
    for (size_t vector = 0; vector < 2 * PARTS; vector++)
        _mm256_storeu_si256((__m256i *)out + vector, _mm256_setzero_si256());
    for (size_t from = first, to;; from = to) {
        for (size_t vector = 0; vector < PARTS; vector++) {
            __m256i *low = (__m256i *)out + 2 * vector;
            _mm256_storeu_si256(low, _mm256_add_epi16(_mm256_loadu_si256(low), _mm256_cvtepu8_epi16(
                                                          _mm256_castsi256_si128(bits[vector]))));
            _mm256_storeu_si256(low + 1, _mm256_add_epi16(_mm256_loadu_si256(low + 1), _mm256_cvtepu8_epi16(
                                                              _mm256_extracti128_si256(bits[vector], 1))));
            bits[vector] = _mm256_setzero_si256();
        }
        if (from == halves)
            return;
        to = halves - from < HEAD_HALVES ? halves : from + HEAD_HALVES;
        add_halves(bits, tile, from, to, query);
    }
}

INLINE size_t all_below_packed(const __m256i *tile, size_t halves, size_t first, size_t n, const uint8_t *query,
                               uint32_t limit, const uint8_t *mask, size_t *passed, uint16_t *places, uint16_t *out)
{
    const __m256i most = _mm256_set1_epi8((char)(limit < 256 ? limit - 1 : 255));
    size_t count = 0;
    for (size_t start = 0; start < n; start += TILE, tile += halves * PARTS) {
        __m256i bits[PARTS] = {_mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256(),
                               _mm256_setzero_si256()};
        add_halves(bits, tile, 0, first, query);
        __m256i least = _mm256_min_epu8(_mm256_min_epu8(bits[0], bits[1]), _mm256_min_epu8(bits[2], bits[3]));
        if (!_mm256_movemask_epi8(_mm256_cmpeq_epi8(_mm256_min_epu8(least, most), least)))
            continue;
        ++*passed;
        uint16_t lanes[TILE];
        whole_tile(bits, tile, first, halves, query, lanes);
        const __m256i bound = _mm256_set1_epi16((short)limit);
        for (size_t place = 0; place < TILE; place += 32) {
            __m256i near[2];
            for (size_t side = 0; side < 2; side++)
                near[side] = _mm256_cmpgt_epi16(
                    bound, _mm256_loadu_si256((const __m256i *)(lanes + place + 16 * side)));
            uint32_t found = (uint32_t)_mm256_movemask_epi8(
                _mm256_permute4x64_epi64(_mm256_packs_epi16(near[0], near[1]), 0xd8));
            for (found &= lanes_from(start + place, n, mask); found; found &= found - 1, count++) {
                unsigned lane = (unsigned)__builtin_ctz(found);
                places[count] = (uint16_t)(start + place + lane);
                out[count] = lanes[place + lane];
            }
        }
    }
    return count;
}

TARGET static size_t below_packed(const void *packed, size_t words, size_t n, const void *query, uint32_t limit,
                                  const uint8_t *mask, Head *head, uint16_t *places, uint16_t *out)
{
    size_t halves = 16 * words, most = (halves < HEAD_HALVES ? halves : HEAD_HALVES) / HALVES, passed = 0, count;
    if (!limit)
        return 0;
    if (!head->parts)
        head->parts = (uint8_t)most;
    if (words == 1)
        count = all_below_packed(packed, 16, HALVES * head->parts, n, query, limit, mask, &passed, places, out);
    else
        count = all_below_packed(packed, halves, HALVES * head->parts, n, query, limit, mask, &passed, places, out);
    adapt(head, most, passed, (n + TILE - 1) / TILE);
    return count;
}

/* Codes in slices. */
#define SLICED_QUERIES 24 /* from which on they pay off */
typedef uint64_t Slice __attribute__((vector_size(32), may_alias));

INLINE Slice majority(Slice a, Slice b, Slice c) { return (a & b) | ((a ^ b) & c); }
INLINE Slice odd(Slice a, Slice b, Slice c) { return a ^ b ^ c; }
INLINE int none(Slice a) { return _mm256_testz_si256((__m256i)a, (__m256i)a); }
INLINE unsigned row_of(Slice a, unsigned row) { return (unsigned)_mm256_movemask_pd((__m256d)(a << (63 - row))); }

#include "sliced.h"

TARGET static void transpose(const uint8_t *codes, size_t width, size_t n, uint64_t *planes, size_t stride)
{
    size_t place = 0;
    for (; width % 32 == 0 && place + 4 <= n; place += 4) {
        for (size_t byte = 0; byte < width; byte += 32) {
            const uint8_t *from = codes + place * width + byte;
            uint64_t *to = planes + byte / 8 * stride + place;
            __m256i a = _mm256_loadu_si256((const __m256i *)from);
            __m256i b = _mm256_loadu_si256((const __m256i *)(from + width));
            __m256i c = _mm256_loadu_si256((const __m256i *)(from + 2 * width));
            __m256i d = _mm256_loadu_si256((const __m256i *)(from + 3 * width));
            __m256i even = _mm256_unpacklo_epi64(a, b), odd = _mm256_unpackhi_epi64(a, b); /* words 0 and 2, 1 and 3 */
            __m256i last_even = _mm256_unpacklo_epi64(c, d), last_odd = _mm256_unpackhi_epi64(c, d);
            _mm256_storeu_si256((__m256i *)to, _mm256_permute2x128_si256(even, last_even, 0x20));
            _mm256_storeu_si256((__m256i *)(to + stride), _mm256_permute2x128_si256(odd, last_odd, 0x20));
            _mm256_storeu_si256((__m256i *)(to + 2 * stride), _mm256_permute2x128_si256(even, last_even, 0x31));
            _mm256_storeu_si256((__m256i *)(to + 3 * stride), _mm256_permute2x128_si256(odd, last_odd, 0x31));
        }
    }
    transpose_any(codes + place * width, width, n - place, planes + place, stride);
}

TARGET static size_t cross(const uint64_t *planes, const uint64_t *others, size_t stride, size_t words, size_t count,
                           size_t n, uint32_t limit, uint32_t *pairs)
{
    const __m256i bound = _mm256_set1_epi64x(limit);
    size_t head = head_words(words, limit), vectors = (n + 3) / 4, found = 0;
    uint64_t block[MAX_WORDS * CROSSED]; /* from which whole vectors can be read */
    for (size_t word = 0; word < words; word++) {
        memcpy(block + word * CROSSED, others + word * stride, n * sizeof *block);
        memset(block + word * CROSSED + n, 0, (4 * vectors - n) * sizeof *block);
    }
    for (size_t place = 0; place < count; place++) {
        uint64_t query[MAX_WORDS];
        uint32_t near = 0;
        for (size_t word = 0; word < words; word++)
            query[word] = planes[word * stride + place];
        for (size_t whole = 0; whole < 2; whole++) {
            size_t until = whole ? words : head;
            near = 0;
            for (size_t part = 0; part < vectors; part++) {
                __m256i bits = distance(block + 4 * part, CROSSED, until, query);
                __m256i nearer = _mm256_cmpgt_epi64(bound, bits);
                near |= (uint32_t)_mm256_movemask_pd(_mm256_castsi256_pd(nearer)) << 4 * part;
            }
            near &= lanes_from(0, n, NULL);
            if (!near || until == words)
                break;
        }
        for (; near; near &= near - 1)
            pairs[found++] = (uint32_t)(place << 16 | (size_t)__builtin_ctz(near));
    }
    return found;
}

const Kernel avx2_kernel = {"avx2",  supported,    distances, below,    below_rows, row_queries,  pack,
                            prepare, below_packed, 2,         &slicing, cross,      transpose};
#endif
