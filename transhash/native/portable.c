/* Plain C for any machine, and for the remaining codes of the other kernels. */
#include "kernel.h"
#include "popcount.h"

#include <string.h>

static uint32_t distance(const uint64_t *planes, size_t stride, size_t words, size_t place, const uint64_t *query)
{
    uint32_t bits = 0;
    for (size_t word = 0; word < words; word++) {
        uint64_t code;
        memcpy(&code, (const char *)planes + (word * stride + place) * sizeof code, sizeof code);
        bits += POPCOUNT(code ^ query[word]);
    }
    return bits;
}

static int always(void) { return 1; }

static void distances(const uint64_t *planes, size_t stride, size_t words, size_t n, const uint64_t *query,
                      uint16_t *out)
{
    for (size_t place = 0; place < n; place++)
        out[place] = (uint16_t)distance(planes, stride, words, place, query);
}

static size_t below(const uint64_t *planes, size_t stride, size_t words, size_t n, const uint64_t *query,
                    uint32_t limit, const uint8_t *mask, uint16_t *places, uint16_t *out)
{
    size_t count = 0;
    for (size_t place = 0; place < n; place++) {
        uint32_t bits = distance(planes, stride, words, place, query);
        if (bits < limit && (!mask || mask[place / 8] >> place % 8 & 1)) {
            places[count] = (uint16_t)place;
            out[count++] = (uint16_t)bits;
        }
    }
    return count;
}

void transpose_any(const uint8_t *codes, size_t width, size_t n, uint64_t *planes, size_t stride)
{
    size_t full = width / 8, rest = width % 8;
    if (width == 8) {
        memcpy(planes, codes, n * width);
        return;
    }
    for (size_t word = 0; word < full; word++)
        for (size_t place = 0; place < n; place++)
            memcpy(&planes[word * stride + place], codes + place * width + word * 8, 8);
    if (!rest)
        return;
    /* A whole word is read where codes follow, because copying a number of bytes that is not constant takes longer. */
    uint64_t kept = 0, *last = planes + full * stride;
    size_t behind = (8 - rest + width - 1) / width, place = 0;
    memset(&kept, 0xff, rest);
    for (codes += full * 8; place + behind < n; place++) {
        memcpy(&last[place], codes + place * width, 8);
        last[place] &= kept;
    }
    for (; place < n; place++) {
        last[place] = 0;
        memcpy(&last[place], codes + place * width, rest);
    }
}

const Kernel portable_kernel = {"portable", always, distances, below, NULL, NULL, NULL, NULL, NULL, 1, NULL, NULL, transpose_any};
