/* Scans of segments of codes for pairs of (segment, query), in blocks that stay in the cache. */
#ifndef TRANSHASH_SCAN_H
#define TRANSHASH_SCAN_H

#include "kernel.h"

/* Consecutive codes. Code i has the id ids[i] or, without ids, base + i. */
typedef struct {
    const uint8_t *codes;
    const int64_t *ids;
    uint64_t rows;
    uint64_t base;
    uint64_t ascending; /* whether the ids ascend */
} Segment;

typedef struct {
    uint64_t segment;
    uint64_t query;
} Pair;

/* The input of a scan. Consecutive pairs of one segment are compared together. */
typedef struct {
    const Kernel *kernel;
    size_t width; /* bytes in a code */
    const uint8_t *queries;
    size_t query_count;
    const Segment *segments;
    const Pair *pairs;
    size_t pair_count;
    const uint8_t *allowed; /* a bit per id, lowest first; NULL allows all */
} Scan;

/* All functions return 0 unless they say otherwise, and -1 if memory is exhausted. */

/* Write the k nearest of each query by (distance, id): ids (query_count, k) and distances (query_count, k). If fewer
   codes are found, the remaining entries are -1 and INT32_MAX. Segments without ids must be in the order of their
   bases. Returns the number of queries with fewer than k. */
int64_t scan_nearest(const Scan *scan, size_t k, int64_t *ids, int32_t *distances);

/* The same in the `probe_count` segments whose centroids (list_count, width) are nearest to each query; the scan needs
   no pairs. */
int64_t scan_lists(const Scan *scan, const uint8_t *centroids, size_t list_count, size_t probe_count, size_t k,
                   int64_t *ids, int32_t *distances);

/* Write query * (radius + 1) + distance and the id of every code within `radius` to matches (room, 2), in the order in
   which they are found. Returns their number, or more than `room` if there are more. */
int64_t scan_gather(const Scan *scan, uint32_t radius, size_t room, int64_t *matches);

/* Add to counts (query_count, radius + 1) the number of codes at each distance up to `radius`. */
int scan_count(const Scan *scan, uint32_t radius, int64_t *counts);

/* Write the id of every code within `radius` to out[cursors[query, distance]], and advance that cursor. */
int scan_fill(const Scan *scan, uint32_t radius, int64_t *cursors, int64_t *out);

/* Add to table (query_count, 8 * width + 1) the number of codes at each distance. With hits (query_count, n), table is
   (query_count, 2, 8 * width + 1): first those whose byte in hits is 0, then those whose byte is 1. */
int scan_tally(const Kernel *kernel, size_t width, const uint8_t *queries, size_t query_count, const uint8_t *codes,
               size_t n, const uint8_t *hits, int64_t *table);

#endif
