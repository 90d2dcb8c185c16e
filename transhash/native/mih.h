/* Multi-index hashing: exact search in hash tables over substrings of the codes (Norouzi, Punjani and Fleet, CVPR 2012). */
#ifndef TRANSHASH_MIH_H
#define TRANSHASH_MIH_H

#include <stddef.h>
#include <stdint.h>

#define MAX_TABLES 128
#define MAX_KEY_BITS 28

/* A table has a bucket for every value of some bits of the codes. The rows of bucket b are rows[offsets[b]] to
   rows[offsets[b + 1]]. A row is the number of a code. */
typedef struct {
    unsigned start, bits; /* the bits of the code that select a bucket */
    const uint32_t *offsets; /* (2^bits + 1) */
    const uint32_t *rows;    /* (count) */
    size_t count;
} Table;

/* The tables divide all bits of the codes among them. They list only the first of equal codes. The first table also
   lists the others: a bucket of it holds first the rows that the other tables list, too, ordered by code, and then the
   rest, ordered by (code, row) and marked by REPEATED; NEXT marks the first of each code among these. */
#define REPEATED 0x80000000u
#define NEXT 0x40000000u
#define ROW 0x3fffffffu

typedef struct {
    const uint8_t *codes;
    size_t n, width; /* codes, and the bytes of one */
    size_t table_count;
    Table tables[MAX_TABLES];
    const uint8_t *allowed; /* a byte per code, 0 if it is to be ignored; NULL allows all */
    int popcount;           /* whether the machine has an instruction for it */
} Tables;

/* Fill the first table: offsets (2^bits + 1) and rows (n). Return the number of distinct codes, or -1 if memory is
   exhausted. */
int64_t mih_sort(const uint8_t *codes, size_t n, size_t width, unsigned bits, uint32_t *offsets, uint32_t *rows);

/* Fill another table, offsets (2^bits + 1) and rows (number of distinct codes), from the rows (n) of the first.
   Return 0, or -1 if memory is exhausted. */
int mih_fill(const uint8_t *codes, size_t n, size_t width, const uint32_t *first, unsigned start, unsigned bits,
             uint32_t *offsets, uint32_t *rows);

/* Costs are in cache misses, of which a bucket and a candidate take about one each.

   Write the k nearest codes of each query by (distance, row), ids (query_count, k) and distances (query_count, k), and
   to costs[query] what the search has cost. If it is likely to cost more than `budget`, it ends without a result, and
   the cost so far is written as a negative number. A cost of up to `trial` is always worth trying. `count` is the number
   of codes that are allowed, at least k. Return 0, or -1 if memory is exhausted. */
int mih_nearest(const Tables *tables, const uint8_t *queries, size_t query_count, size_t k, double count, double budget,
                double trial, int64_t *ids, int32_t *distances, double *costs);

/* Find all codes within `radius`. Write their number to counts[query], or -1 as above, and set `keys` to memory that
   the caller frees: distance << 32 | row of all of them, sorted for each query. Return their number, or -1. */
int64_t mih_within(const Tables *tables, const uint8_t *queries, size_t query_count, uint32_t radius, double budget,
                   int64_t *counts, uint64_t **keys);

#endif
