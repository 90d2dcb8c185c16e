/* The loops that each instruction set implements: distances of a block of codes, and the codes below a limit. */
#ifndef TRANSHASH_KERNEL_H
#define TRANSHASH_KERNEL_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define MAX_WORDS 16 /* 1,024 bits */
#define BLOCK_ROWS 4096 /* maximum number of codes per call */
#define SLACK 32 /* entries of the results that a call may overwrite behind those that it returns */
#define CROSSED 32 /* codes that `cross` compares with others */
#define TILE 128 /* codes that share a branch in `below_packed` */

/* The part of a query that is compared first; the others are compared only where that part is below the limit. It is
   adapted to what was found. Zeros to begin with. */
typedef struct {
    uint8_t parts; /* of 16 bits each */
    uint8_t quiet; /* calls in which it rejected everything */
    uint8_t patience; /* quiet calls before it is shortened */
} Head;

/* Comparison of many queries with a fixed number of codes, bit by bit (sliced.h). */
typedef struct {
    size_t codes;
    size_t queries; /* from this many on, slicing pays off */

    /* Write SLICES(words) slices, of one bit per code, for n of these codes in planes of that stride, a whole number of
       cache lines from `sliced` on. If `mask` is not NULL, leave out codes whose bit in it, lowest bit first, is not
       set. */
    void (*slice)(const uint64_t *planes, size_t words, size_t n, const uint8_t *mask, void *sliced);

    /* Write CHOICES bytes for each word of a query. */
    void (*choose)(const uint64_t *query, size_t words, uint8_t *choices);

    /* Find which of `count` queries, at most SLICED_TOGETHER, have codes in `sliced` that are nearer than their limits,
       which are not zero. Write the positions of these queries, and for each of them a slice of its near codes, from a
       whole cache line on; return their number. Both have room for one more. */
    size_t (*find)(const void *sliced, size_t words, size_t count, const uint8_t *const *choices,
                   const uint32_t *limits, uint8_t *queries, void *near);

    /* Write the places and distances of the near codes of a query, in order, and return their number. */
    size_t (*list)(const void *near, const uint64_t *planes, size_t words, const uint64_t *query, uint16_t *places,
                   uint16_t *distances);
} Slicing;

#define SLICES(words) (1 + 256 * (words))
#define CHOICES 64
#define SLICED_TOGETHER 64 /* queries per call of `find` */

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
                    uint32_t limit, const uint8_t *mask, uint16_t *places, uint16_t *distances);

    /* The same as `below` for codes of `width` bytes in row order, without a mask: faster for few queries, for which
       rearranging the codes does not pay off. May be NULL; `row_queries` returns for how many it does. */
    size_t (*below_rows)(const uint8_t *codes, size_t width, size_t n, const uint64_t *query, uint32_t limit,
                         uint16_t *places, uint16_t *distances);
    size_t (*row_queries)(size_t width);

    /* Codes packed for comparison with many queries, in tiles. May be NULL. `pack` takes n codes in planes and writes
       `spread` bytes for each of their bytes, in whole tiles. `prepare` writes 16 bytes for each word of a query.
       `below_packed` is `below` for these. */
    void (*pack)(const uint64_t *planes, size_t stride, size_t words, size_t n, void *packed);
    void (*prepare)(const uint64_t *query, size_t words, void *prepared);
    size_t (*below_packed)(const void *packed, size_t words, size_t n, const void *prepared, uint32_t limit,
                           const uint8_t *mask, Head *head, uint16_t *places, uint16_t *distances);
    size_t spread;

    const Slicing *slicing; /* may be NULL */

    /* Compare `count` codes in planes with n others, at most CROSSED, and write the pairs nearer than `limit`, at most
       all: position among the former << 16 | position among the latter. Return their number. May be NULL. */
    size_t (*cross)(const uint64_t *planes, const uint64_t *others, size_t stride, size_t words, size_t count, size_t n,
                    uint32_t limit, uint32_t *pairs);

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

#if defined(__GNUC__)
#define PREFETCH(address) __builtin_prefetch(address)
#else
#define PREFETCH(address) ((void)(address))
#endif
#define LINE 64          /* bytes of a cache line */
#define FETCH_AHEAD 8192 /* bytes from what is read to what is prefetched */

/* Whether a block of codes is so long that `fetch_ahead` pays off: it also reads what follows the block. */
static inline int is_long(size_t bytes) { return bytes >= 2 * FETCH_AHEAD; }

/* Prefetch as many bytes as are read now, FETCH_AHEAD bytes further on. Processors do this by themselves, but too late
   for codes that are compared as fast as memory is read. */
static inline void fetch_ahead(const void *now, size_t bytes)
{
    for (size_t byte = 0; byte < bytes; byte += LINE)
        PREFETCH((const char *)now + FETCH_AHEAD + byte);
}

/* Adapt the length of a head, at most `most` parts, after `passed` of `tiles` tiles were not rejected by it. */
static inline void adapt(Head *head, size_t most, size_t passed, size_t tiles)
{
    if (4 * passed > tiles) {
        head->parts += head->parts < most;
        head->quiet = 0;
        head->patience = 16;
    } else if (!passed && ++head->quiet > head->patience) {
        head->parts -= head->parts > 1;
        head->quiet = 0;
    }
}

/* Return the number of words in which codes that have nothing in common nearly always differ in at least `limit` bits,
   at most all: those that `cross` compares first. With 64 bits, 32 differ, with a standard deviation of 4. */
static inline size_t head_words(size_t words, uint32_t limit)
{
    size_t head = 1 + (limit + 8) / 25;
    return head < words ? head : words;
}

/* Return which of up to 32 codes from `place` on exist, and are allowed by a mask unless it is NULL. */
static inline uint32_t lanes_from(size_t place, size_t n, const uint8_t *mask)
{
    uint32_t allowed = ~(uint32_t)0;
    if (place >= n)
        return 0;
    size_t left = n - place < 32 ? n - place : 32;
    if (mask) {
        allowed = 0;
        memcpy(&allowed, mask + place / 8, (left + 7) / 8);
    }
    return left < 32 ? allowed & (((uint32_t)1 << left) - 1) : allowed;
}

void transpose_any(const uint8_t *codes, size_t width, size_t n, uint64_t *planes, size_t stride);

#endif
