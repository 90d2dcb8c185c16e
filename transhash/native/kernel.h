/* The loops that each instruction set implements: distances of a block of codes, and the codes below a limit. */
#ifndef TRANSHASH_KERNEL_H
#define TRANSHASH_KERNEL_H

#include <stddef.h>
#include <stdint.h>

#define MAX_WORDS 16 /* 1,024 bits */
#define BLOCK_ROWS 4096 /* maximum number of codes per call */

/* Codes are stored in planes: word w of code i is planes[w * stride + i], so that a vector holds one word of several
   codes. An array of 64-bit codes is already a plane; it need not be aligned. */
typedef struct {
    const char *name;
    int (*supported)(void);

    /* Write the distances of n codes to a query. */
    void (*distances)(const uint64_t *planes, size_t stride, size_t words, size_t n, const uint64_t *query,
                      uint16_t *distances);

    /* Write the positions and distances of the codes nearer than `limit`, in order, and return their number. If
       `mask` is not NULL, skip codes whose bit in it, lowest bit first, is not set. */
    size_t (*below)(const uint64_t *planes, size_t stride, size_t words, size_t n, const uint64_t *query,
                    uint32_t limit, const uint8_t *mask, uint32_t *places, uint16_t *distances);

    /* The same as `below` for codes of `width` bytes in row order, without a mask: faster for a single query, for
       which transposition does not pay off. May be NULL; `whole` returns whether it supports a width. */
    size_t (*below_rows)(const uint8_t *codes, size_t width, size_t n, const uint64_t *query, uint32_t limit,
                         uint32_t *places, uint16_t *distances);
    int (*whole)(size_t width);

    /* Transpose n codes of `width` bytes into planes; the last word of each is padded with zeros. */
    void (*transpose)(const uint8_t *codes, size_t width, size_t n, uint64_t *planes, size_t stride);
} Kernel;

extern const Kernel portable_kernel;
#if defined(__GNUC__) && defined(__x86_64__)
extern const Kernel avx2_kernel;
extern const Kernel avx512_kernel;
#endif
#if defined(__ARM_NEON) && defined(__aarch64__)
extern const Kernel neon_kernel;
#endif

void transpose_any(const uint8_t *codes, size_t width, size_t n, uint64_t *planes, size_t stride);

#endif
