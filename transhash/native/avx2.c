/* AVX2: four codes per vector; bits are counted by a table lookup of half bytes (Mula, Kurz and Lemire 2018). */
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
                        uint32_t limit, const uint8_t *mask, uint32_t *places, uint16_t *out)
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
                places[count] = (uint32_t)(place + lane);
                out[count] = (uint16_t)lanes[lane];
            }
        }
    }
    size_t tail = portable_kernel.below(planes + place, stride, words, n - place, query, limit,
                                        mask ? mask + place / 8 : mask, places + count, out + count);
    for (size_t found = count; found < count + tail; found++)
        places[found] += (uint32_t)place;
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
                           uint32_t limit, const uint8_t *mask, uint32_t *places, uint16_t *out)
{
    if (words == 1)
        return all_below(planes, stride, 1, n, query, limit, mask, places, out);
    return all_below(planes, stride, words, n, query, limit, mask, places, out);
}

/* A single query: counting word by word is as fast as memory. */
INLINE size_t all_below_rows(const uint8_t *codes, size_t words, size_t n, const uint64_t *query, uint32_t limit,
                             uint32_t *places, uint16_t *out)
{
    size_t count = 0;
    for (size_t place = 0; place < n; place++, codes += 8 * words) {
        uint64_t bits = 0;
        for (size_t word = 0; word < words; word++) {
            uint64_t code;
            memcpy(&code, codes + 8 * word, 8);
            bits += (uint64_t)_mm_popcnt_u64(code ^ query[word]);
        }
        if (bits < limit) {
            places[count] = (uint32_t)place;
            out[count++] = (uint16_t)bits;
        }
    }
    return count;
}

TARGET static size_t below_rows(const uint8_t *codes, size_t width, size_t n, const uint64_t *query, uint32_t limit,
                                uint32_t *places, uint16_t *out)
{
    switch (width) {
    case 16: return all_below_rows(codes, 2, n, query, limit, places, out);
    case 32: return all_below_rows(codes, 4, n, query, limit, places, out);
    default: return all_below_rows(codes, width / 8, n, query, limit, places, out);
    }
}

static int whole(size_t width) { return width % 8 == 0; }

const Kernel avx2_kernel = {"avx2", supported, distances, below, below_rows, whole, transpose_any};
#endif
