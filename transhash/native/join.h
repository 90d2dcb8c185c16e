/* Joins: connecting all codes that are near each other, without listing the pairs. */
#ifndef TRANSHASH_JOIN_H
#define TRANSHASH_JOIN_H

#include "kernel.h"

#define MAX_JOIN_BITS 26

/* Codes sorted by a key, some of their bits. The codes with key b, a bucket, are at the places offsets[2 b] to
   offsets[2 b + 2]. Those before offsets[2 b + 1] are in one tree, the same for all buckets, and are not compared with
   each other. */
typedef struct {
    const Kernel *kernel;
    size_t words, n;         /* words of 64 bits per code, and codes */
    const uint64_t *planes;  /* (words, n): the codes in this order */
    const uint32_t *rows;    /* (n): the number of the code at each place */
    const uint32_t *offsets; /* (2 buckets + 1) */
    size_t buckets;
    const uint32_t *masks; /* the bits in which keys may differ, ascending; the first is 0 */
    size_t mask_count;
    uint32_t radius;
    uint32_t *parents; /* (n): a forest of the codes, in which a parent has a lower number */
} Join;

/* Sort n codes of `width` bytes by the bits at `positions`, the first being the highest of the key, and within a bucket
   by `apart` (n), 0 for the codes of that tree and 1 for others. Fill offsets (2^(count + 1) + 1), rows (n) and planes
   (words, n). Return 0, or -1 if memory is exhausted. */
int join_sort(const uint8_t *codes, size_t n, size_t width, const uint32_t *positions, size_t count,
              const uint8_t *apart, uint32_t *offsets, uint32_t *rows, uint64_t *planes);

/* Compare the codes from place `first` on with all that follow them in their own bucket and with those of the later
   buckets whose keys differ by one of the masks. Put codes at most `radius` bits apart into one tree. Stop at place
   `end`, or once more than `budget` codes were compared. Return the place reached, or -1 if memory is exhausted. Several
   threads may do this at once, with the same parents. */
int64_t join_link(const Join *join, size_t first, size_t end, uint64_t budget);

#endif
