/* NEON: two codes per vector. */
#include "kernel.h"

#if defined(__ARM_NEON) && defined(__aarch64__)
#include <arm_neon.h>

static int always(void) { return 1; }

static inline uint64x2_t distance(const uint64_t *planes, size_t stride, size_t words, const uint64_t *query)
{
    uint8x16_t bytes = vdupq_n_u8(0); /* at most 8 per word, so 16 words fit in a byte */
    for (size_t word = 0; word < words; word++) {
        uint8x16_t code = vld1q_u8((const uint8_t *)(planes + word * stride));
        bytes = vaddq_u8(bytes, vcntq_u8(veorq_u8(code, vreinterpretq_u8_u64(vdupq_n_u64(query[word])))));
    }
    return vpaddlq_u32(vpaddlq_u16(vpaddlq_u8(bytes)));
}

static void distances(const uint64_t *planes, size_t stride, size_t words, size_t n, const uint64_t *query,
                      uint16_t *out)
{
    size_t place = 0;
    for (; place + 2 <= n; place += 2) {
        uint64x2_t bits = distance(planes + place, stride, words, query);
        out[place] = (uint16_t)vgetq_lane_u64(bits, 0);
        out[place + 1] = (uint16_t)vgetq_lane_u64(bits, 1);
    }
    portable_kernel.distances(planes + place, stride, words, n - place, query, out + place);
}

static size_t below(const uint64_t *planes, size_t stride, size_t words, size_t n, const uint64_t *query,
                    uint32_t limit, const uint8_t *mask, uint16_t *places, uint16_t *out)
{
    const uint64x2_t bound = vdupq_n_u64(limit);
    size_t count = 0, place = 0;
    for (; place + 8 <= n; place += 8) {
        uint64x2_t bits[4], near = vdupq_n_u64(0);
        for (int part = 0; part < 4; part++) {
            bits[part] = distance(planes + place + 2 * part, stride, words, query);
            near = vorrq_u64(near, vcltq_u64(bits[part], bound));
        }
        if (!(vgetq_lane_u64(near, 0) | vgetq_lane_u64(near, 1)))
            continue;
        uint64_t lanes[8];
        for (int part = 0; part < 4; part++)
            vst1q_u64(lanes + 2 * part, bits[part]);
        for (unsigned lane = 0; lane < 8; lane++) {
            if (lanes[lane] < limit && (!mask || mask[place / 8] >> lane & 1)) {
                places[count] = (uint16_t)(place + lane);
                out[count++] = (uint16_t)lanes[lane];
            }
        }
    }
    size_t tail = portable_kernel.below(planes + place, stride, words, n - place, query, limit,
                                        mask ? mask + place / 8 : mask, places + count, out + count);
    for (size_t found = count; found < count + tail; found++)
        places[found] = (uint16_t)(places[found] + place);
    return count + tail;
}

const Kernel neon_kernel = {"neon", always, distances, below, NULL, NULL, NULL, NULL, NULL, 1, NULL, NULL, transpose_any};
#endif
