#include "scan.h"

#include <stdlib.h>
#include <string.h>

/* How a scan works. Codes are read in blocks that stay in the first-level cache, and every query of a segment is
   compared with a block before the next one is read, so that memory is read once for all of them. A kernel (kernel.h)
   compares a block with one query and returns only the codes below a limit: the distance below which a code can still
   be among the k nearest. The limit falls as candidates are found, so that nearly all codes are rejected without a
   branch per code. Everything here runs once per block or once per candidate. */

#define PLANE_BYTES 32768 /* size of a block of codes, which stays in the first-level cache */
#define LINE 64           /* bytes of a cache line */
#define AHEAD 4096        /* bytes prefetched before they are needed */
#if defined(__GNUC__)
#define PREFETCH(address) __builtin_prefetch(address)
#else
#define PREFETCH(address) ((void)(address))
#endif
#define FEW 4             /* from this many queries on, copying 64-bit codes into an aligned plane pays off */
#define FIRST_ROWS 64     /* size of the first block: without a limit yet, all its codes are candidates */

/* The candidates of a query. They are not a heap: new ones are appended, and when `size` reaches `full`, `prune` keeps
   the k best by counting distances, in linear time. `full` is k at first, because k candidates give the first limit,
   and then the size of the buffers (`room`, 2k + 256), so that pruning takes constant time per candidate. */
typedef struct {
    int64_t *ids;
    uint16_t *distances;
    size_t size, full;
    int64_t highest; /* largest id that can still be among the k best at distance limit - 1 */
} Candidates;

enum action { NEAREST, COUNT, FILL };

typedef struct {
    enum action action;
    uint32_t *limits; /* of each query: only codes at a smaller distance matter */
    uint32_t radius;
    int64_t *cells; /* counts or cursors, (query_count, radius + 1) */
    int64_t *out;
    Candidates *candidates;
    size_t k, room;
    int ordered; /* ids arrive in ascending order, so of two codes at the same distance the earlier one is better */
    size_t levels;
    size_t *histogram; /* (levels) */
    int64_t *ties;     /* (room) */
} Work;

static int ascending(const void *one, const void *other)
{
    int64_t a = *(const int64_t *)one, b = *(const int64_t *)other;
    return (a > b) - (a < b);
}

/* Keep the k best by (distance, id), and return the new limit: the distance below which a code can become one of them.

   `last` is the distance of the k-th best. Where ids ascend, a later code at that distance comes after all k, so the
   limit is `last` itself. Otherwise a later code at `last` with a smaller id can still enter: the limit is last + 1, and
   `highest` is the id of the k-th best, above which codes at `last` are useless. */
static uint32_t prune(Work *work, Candidates *candidates)
{
    if (candidates->size < work->k)
        return (uint32_t)work->levels;
    memset(work->histogram, 0, work->levels * sizeof *work->histogram);
    for (size_t place = 0; place < candidates->size; place++)
        work->histogram[candidates->distances[place]]++;
    uint32_t last = 0;
    size_t nearer = 0;
    while (nearer + work->histogram[last] < work->k)
        nearer += work->histogram[last++];
    size_t wanted = work->k - nearer; /* of those at distance `last` */
    if (!work->ordered) {
        size_t ties = 0;
        for (size_t place = 0; place < candidates->size; place++)
            if (candidates->distances[place] == last)
                work->ties[ties++] = candidates->ids[place];
        qsort(work->ties, ties, sizeof *work->ties, ascending);
        candidates->highest = work->ties[wanted - 1];
    }
    size_t kept = 0;
    for (size_t place = 0; place < candidates->size; place++) {
        uint32_t distance = candidates->distances[place];
        int64_t id = candidates->ids[place];
        if (distance < last || (distance == last && wanted && id <= candidates->highest)) {
            wanted -= distance == last;
            candidates->ids[kept] = id;
            candidates->distances[kept++] = (uint16_t)distance;
        }
    }
    candidates->size = kept;
    return work->ordered ? last : last + 1;
}

/* Process the `count` codes of a block that a kernel returned; `places` are their positions relative to `start`. */
static void take(const Scan *scan, Work *work, const Segment *segment, size_t start, size_t query, size_t count,
                 const uint32_t *places, const uint16_t *distances)
{
    Candidates *candidates = work->action == NEAREST ? &work->candidates[query] : NULL;
    int64_t *cells = work->cells + query * (work->radius + 1);
    for (size_t place = 0; place < count; place++) {
        int64_t id = segment->ids ? segment->ids[start + places[place]]
                                  : (int64_t)(segment->base + start + places[place]);
        if (segment->ids && scan->allowed && !(scan->allowed[id / 8] >> id % 8 & 1))
            continue;
        if (work->action == COUNT) {
            cells[distances[place]]++;
        } else if (work->action == FILL) {
            work->out[cells[distances[place]]++] = id;
        } else {
            if (candidates->size == candidates->full) {
                work->limits[query] = prune(work, candidates);
                candidates->full = work->room;
            }
            uint32_t limit = work->limits[query];
            if (distances[place] < limit && (distances[place] + 1u < limit || id <= candidates->highest)) {
                candidates->ids[candidates->size] = id;
                candidates->distances[candidates->size++] = distances[place];
            }
        }
    }
}

/* Return the number of codes of `words` words per block: a multiple of 8, so that a block's mask starts at a byte. */
static size_t rows_of(size_t words) { return PLANE_BYTES / (8 * words) / 8 * 8; }

static uint64_t *aligned(char *memory) { return (uint64_t *)(memory + (LINE - (uintptr_t)memory % LINE)); }

/* Prefetch the start of the next segment. The hardware prefetcher cannot predict the address of an inverted list, and
   many lists are so short that waiting for their first cache lines would take longer than comparing their codes. */
static void fetch(const Segment *segment, size_t width)
{
    size_t bytes = segment->rows * width < AHEAD ? segment->rows * width : AHEAD;
    for (size_t byte = 0; byte < bytes; byte += LINE)
        PREFETCH(segment->codes + byte);
}

/* Compare every query with the segments of its pairs. Pairs of a segment are consecutive, from `first` to `end`. */
static int run(const Scan *scan, Work *work)
{
    size_t words = (scan->width + 7) / 8, rows = rows_of(words);
    char *memory = malloc(PLANE_BYTES + LINE);
    uint64_t *planes = aligned(memory);
    uint64_t *queries = calloc(scan->query_count * words + 1, sizeof *queries);
    uint32_t *places = malloc((BLOCK_ROWS + 8) * sizeof *places);
    uint16_t *distances = malloc((BLOCK_ROWS + 8) * sizeof *distances);
    int failed = !memory || !queries || !places || !distances;
    for (size_t query = 0; !failed && query < scan->query_count; query++)
        memcpy(queries + query * words, scan->queries + query * scan->width, scan->width);
    for (size_t first = 0, end; !failed && first < scan->pair_count; first = end) {
        const Segment *segment = &scan->segments[scan->pairs[first].segment];
        for (end = first + 1; end < scan->pair_count && scan->pairs[end].segment == scan->pairs[first].segment;)
            end++;
        if (end < scan->pair_count)
            fetch(&scan->segments[scan->pairs[end].segment], scan->width);
        /* Blocks of the first segment grow from 64 rows by factors of 4, pruning after each, so that a limit is known
           before most codes are compared. */
        size_t most = first == 0 && work->action == NEAREST && rows > FIRST_ROWS ? FIRST_ROWS : rows;
        for (size_t start = 0, n; start < segment->rows; start += n, most = 4 * most < rows ? 4 * most : rows) {
            n = segment->rows - start < most ? (size_t)(segment->rows - start) : most;
            const uint8_t *codes = segment->codes + start * scan->width;
            const uint64_t *block = (const uint64_t *)codes;
            const uint8_t *mask =
                scan->allowed && !segment->ids ? scan->allowed + (segment->base + start) / 8 : NULL;
            int few = end - first < FEW;
            int in_rows = end - first == 1 && !mask && scan->kernel->whole && scan->kernel->whole(scan->width);
            /* Codes of 8 bytes are already a plane; a copy only aligns them, which pays off from FEW queries on. */
            if (!in_rows && !(scan->width == 8 && few)) {
                scan->kernel->transpose(codes, scan->width, n, planes, rows);
                block = planes;
            }
            for (size_t pair = first; pair < end; pair++) {
                size_t query = scan->pairs[pair].query, count;
                const uint64_t *words_of = queries + query * words;
                uint32_t limit = work->limits[query];
                if (work->action == NEAREST && segment->ascending &&
                    segment->ids[start] > work->candidates[query].highest)
                    limit--; /* from here on, all ids are too high to enter at distance limit - 1 */
                if (in_rows)
                    count = scan->kernel->below_rows(codes, scan->width, n, words_of, limit, places, distances);
                else
                    count = scan->kernel->below(block, rows, words, n, words_of, limit, mask, places, distances);
                if (count)
                    take(scan, work, segment, start, query, count, places, distances);
                if (most < rows && work->candidates[query].size > work->k)
                    work->limits[query] = prune(work, &work->candidates[query]);
            }
        }
    }
    free(memory);
    free(queries);
    free(places);
    free(distances);
    return failed ? -1 : 0;
}

/* Write the candidates to a row of the result by (distance, id): a counting sort by distance, then a sort by id. */
static void finish(Work *work, Candidates *candidates, int64_t *ids, int32_t *distances)
{
    if (candidates->size > work->k)
        prune(work, candidates);
    memset(work->histogram, 0, work->levels * sizeof *work->histogram);
    for (size_t place = 0; place < candidates->size; place++)
        work->histogram[candidates->distances[place]]++;
    size_t before = 0;
    for (size_t level = 0; level < work->levels; level++) {
        size_t here = work->histogram[level];
        work->histogram[level] = before;
        before += here;
    }
    for (size_t place = 0; place < candidates->size; place++) {
        size_t to = work->histogram[candidates->distances[place]]++;
        ids[to] = candidates->ids[place];
        distances[to] = candidates->distances[place];
    }
    for (size_t start = 0, end; !work->ordered && start < candidates->size; start = end) {
        for (end = start + 1; end < candidates->size && distances[end] == distances[start];)
            end++;
        qsort(ids + start, end - start, sizeof *ids, ascending);
    }
}

int scan_nearest(const Scan *scan, size_t k, int64_t *ids, int32_t *distances)
{
    size_t room = 2 * k + 256;
    Work work = {.action = NEAREST, .k = k, .room = room, .levels = 8 * scan->width + 1, .ordered = 1};
    for (size_t pair = 0; pair < scan->pair_count; pair++)
        work.ordered &= !scan->segments[scan->pairs[pair].segment].ids;
    work.limits = malloc((scan->query_count + 1) * sizeof *work.limits);
    work.candidates = calloc(scan->query_count + 1, sizeof *work.candidates);
    work.histogram = malloc(work.levels * sizeof *work.histogram);
    work.ties = malloc(room * sizeof *work.ties);
    int64_t *all_ids = malloc((scan->query_count * room + 1) * sizeof *all_ids);
    uint16_t *all_distances = malloc((scan->query_count * room + 1) * sizeof *all_distances);
    int failed = !work.limits || !work.candidates || !work.histogram || !work.ties || !all_ids || !all_distances;
    for (size_t query = 0; !failed && query < scan->query_count; query++) {
        work.limits[query] = (uint32_t)work.levels;
        work.candidates[query].ids = all_ids + query * room;
        work.candidates[query].distances = all_distances + query * room;
        work.candidates[query].full = k;
        work.candidates[query].highest = INT64_MAX;
    }
    failed = failed || run(scan, &work);
    for (size_t query = 0; !failed && query < scan->query_count; query++)
        finish(&work, &work.candidates[query], ids + query * k, distances + query * k);
    free(work.limits);
    free(work.candidates);
    free(work.histogram);
    free(work.ties);
    free(all_ids);
    free(all_distances);
    return failed ? -1 : 0;
}

static int scan_within(const Scan *scan, enum action action, uint32_t radius, int64_t *cells, int64_t *out)
{
    Work work = {.action = action, .radius = radius, .cells = cells, .out = out};
    work.limits = malloc((scan->query_count + 1) * sizeof *work.limits);
    for (size_t query = 0; work.limits && query < scan->query_count; query++)
        work.limits[query] = radius + 1;
    int failed = !work.limits || run(scan, &work);
    free(work.limits);
    return failed ? -1 : 0;
}

int scan_count(const Scan *scan, uint32_t radius, int64_t *counts)
{
    return scan_within(scan, COUNT, radius, counts, NULL);
}

int scan_fill(const Scan *scan, uint32_t radius, int64_t *cursors, int64_t *out)
{
    return scan_within(scan, FILL, radius, cursors, out);
}

int scan_tally(const Kernel *kernel, size_t width, const uint8_t *queries, size_t query_count, const uint8_t *codes,
               size_t n, const uint8_t *hits, int64_t *table)
{
    size_t words = (width + 7) / 8, rows = rows_of(words), levels = 8 * width + 1;
    char *memory = malloc(PLANE_BYTES + LINE);
    uint64_t *planes = aligned(memory);
    uint16_t *distances = malloc((BLOCK_ROWS + 8) * sizeof *distances);
    int failed = !memory || !distances;
    for (size_t start = 0; !failed && start < n; start += rows) {
        size_t count = n - start < rows ? n - start : rows;
        kernel->transpose(codes + start * width, width, count, planes, rows);
        for (size_t query = 0; query < query_count; query++) {
            uint64_t words_of[MAX_WORDS] = {0};
            const uint8_t *hit = hits + query * n + start;
            int64_t *cells = table + query * 2 * levels;
            memcpy(words_of, queries + query * width, width);
            kernel->distances(planes, rows, words, count, words_of, distances);
            for (size_t place = 0; place < count; place++)
                cells[(hit[place] ? levels : 0) + distances[place]]++;
        }
    }
    free(memory);
    free(distances);
    return failed ? -1 : 0;
}
