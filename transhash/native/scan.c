#include "scan.h"

#include <stdlib.h>
#include <string.h>

#define PLANE_BYTES 32768 /* of a block of codes: it stays in the first-level cache */
#define LINE 64           /* bytes of a cache line */
#define AHEAD 4096        /* bytes that are asked for before they are needed */
#if defined(__GNUC__)
#define PREFETCH(address) __builtin_prefetch(address)
#else
#define PREFETCH(address) ((void)(address))
#endif
#define FEW 4             /* queries that do not pay for a copy of the codes */
#define FIRST_ROWS 64     /* blocks begin small: nearly all codes of the first are candidates */

/* A query's nearest so far. When `size` places are filled up to `full`, the k best stay: as soon as there are k, to
   know a limit, and then whenever there is no room. */
typedef struct {
    int64_t *ids;
    uint16_t *distances;
    size_t size, full;
    int64_t highest; /* id that is still worth something at the greatest distance below the limit */
} Candidates;

enum action { NEAREST, COUNT, FILL };

typedef struct {
    enum action action;
    uint32_t *limits; /* what is nearer than that matters, for each query */
    uint32_t radius;
    int64_t *cells; /* counts or cursors, (asked, radius + 1) */
    int64_t *out;
    Candidates *candidates;
    size_t k, room;
    int ordered; /* ids arrive in ascending order */
    size_t levels;
    size_t *histogram; /* (levels) */
    int64_t *ties;     /* (room) */
} Work;

static int ascending(const void *one, const void *other)
{
    int64_t a = *(const int64_t *)one, b = *(const int64_t *)other;
    return (a > b) - (a < b);
}

/* Keep the k best by (distance, id), and return the distance below which a code can still become one of them. */
static uint32_t prune(Work *work, Candidates *own)
{
    if (own->size < work->k)
        return (uint32_t)work->levels;
    memset(work->histogram, 0, work->levels * sizeof *work->histogram);
    for (size_t place = 0; place < own->size; place++)
        work->histogram[own->distances[place]]++;
    uint32_t last = 0;
    size_t nearer = 0;
    while (nearer + work->histogram[last] < work->k)
        nearer += work->histogram[last++];
    size_t wanted = work->k - nearer; /* of those at distance `last` */
    if (!work->ordered) {
        size_t ties = 0;
        for (size_t place = 0; place < own->size; place++)
            if (own->distances[place] == last)
                work->ties[ties++] = own->ids[place];
        qsort(work->ties, ties, sizeof *work->ties, ascending);
        own->highest = work->ties[wanted - 1];
    }
    size_t kept = 0;
    for (size_t place = 0; place < own->size; place++) {
        uint32_t distance = own->distances[place];
        int64_t id = own->ids[place];
        if (distance < last || (distance == last && wanted && id <= own->highest)) {
            wanted -= distance == last;
            own->ids[kept] = id;
            own->distances[kept++] = (uint16_t)distance;
        }
    }
    own->size = kept;
    return work->ordered ? last : last + 1;
}

static void take(const Scan *scan, Work *work, const Segment *segment, size_t start, size_t query, size_t count,
                 const uint32_t *places, const uint16_t *distances)
{
    Candidates *own = work->action == NEAREST ? &work->candidates[query] : NULL;
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
            if (own->size == own->full) {
                work->limits[query] = prune(work, own);
                own->full = work->room;
            }
            uint32_t limit = work->limits[query];
            if (distances[place] < limit && (distances[place] + 1u < limit || id <= own->highest)) {
                own->ids[own->size] = id;
                own->distances[own->size++] = distances[place];
            }
        }
    }
}

/* Codes of so many words in a block: a multiple of 8, for the bits of a mask. */
static size_t rows_of(size_t words) { return PLANE_BYTES / (8 * words) / 8 * 8; }

static uint64_t *aligned(char *memory) { return (uint64_t *)(memory + (LINE - (uintptr_t)memory % LINE)); }

/* Ask memory for the beginning of a segment, which is looked at next: a short one is elsewhere than the last. */
static void fetch(const Segment *segment, size_t width)
{
    size_t bytes = segment->rows * width < AHEAD ? segment->rows * width : AHEAD;
    for (size_t byte = 0; byte < bytes; byte += LINE)
        PREFETCH(segment->codes + byte);
}

static int run(const Scan *scan, Work *work)
{
    size_t words = (scan->width + 7) / 8, rows = rows_of(words);
    char *memory = malloc(PLANE_BYTES + LINE);
    uint64_t *planes = aligned(memory);
    uint64_t *queries = calloc(scan->asked * words + 1, sizeof *queries);
    uint32_t *places = malloc((BLOCK_ROWS + 8) * sizeof *places);
    uint16_t *distances = malloc((BLOCK_ROWS + 8) * sizeof *distances);
    int failed = !memory || !queries || !places || !distances;
    for (size_t query = 0; !failed && query < scan->asked; query++)
        memcpy(queries + query * words, scan->queries + query * scan->width, scan->width);
    for (size_t first = 0, end; !failed && first < scan->pair_count; first = end) {
        const Segment *segment = &scan->segments[scan->pairs[first].segment];
        for (end = first + 1; end < scan->pair_count && scan->pairs[end].segment == scan->pairs[first].segment;)
            end++;
        if (end < scan->pair_count)
            fetch(&scan->segments[scan->pairs[end].segment], scan->width);
        size_t most = first == 0 && work->action == NEAREST && rows > FIRST_ROWS ? FIRST_ROWS : rows;
        for (size_t start = 0, n; start < segment->rows; start += n, most = 4 * most < rows ? 4 * most : rows) {
            n = segment->rows - start < most ? (size_t)(segment->rows - start) : most;
            const uint8_t *codes = segment->codes + start * scan->width;
            const uint64_t *block = (const uint64_t *)codes;
            const uint8_t *mask =
                scan->allowed && !segment->ids ? scan->allowed + (segment->base + start) / 8 : NULL;
            int few = end - first < FEW;
            int as_it_lies = end - first == 1 && !mask && scan->kernel->whole && scan->kernel->whole(scan->width);
            if (!as_it_lies && !(scan->width == 8 && few)) { /* aligned planes are read faster */
                scan->kernel->transpose(codes, scan->width, n, planes, rows);
                block = planes;
            }
            for (size_t pair = first; pair < end; pair++) {
                size_t query = scan->pairs[pair].query, count;
                const uint64_t *own = queries + query * words;
                uint32_t limit = work->limits[query];
                if (work->action == NEAREST && segment->ascending &&
                    segment->ids[start] > work->candidates[query].highest)
                    limit--; /* of codes as far as the last, those with smaller ids are known */
                if (as_it_lies)
                    count = scan->kernel->below_rows(codes, scan->width, n, own, limit, places, distances);
                else
                    count = scan->kernel->below(block, rows, words, n, own, limit, mask, places, distances);
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

/* Order the candidates by (distance, id) into a row of the result. */
static void finish(Work *work, Candidates *own, int64_t *ids, int32_t *distances)
{
    if (own->size > work->k)
        prune(work, own);
    memset(work->histogram, 0, work->levels * sizeof *work->histogram);
    for (size_t place = 0; place < own->size; place++)
        work->histogram[own->distances[place]]++;
    size_t before = 0;
    for (size_t level = 0; level < work->levels; level++) {
        size_t here = work->histogram[level];
        work->histogram[level] = before;
        before += here;
    }
    for (size_t place = 0; place < own->size; place++) {
        size_t to = work->histogram[own->distances[place]]++;
        ids[to] = own->ids[place];
        distances[to] = own->distances[place];
    }
    for (size_t start = 0, end; !work->ordered && start < own->size; start = end) {
        for (end = start + 1; end < own->size && distances[end] == distances[start];)
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
    work.limits = malloc((scan->asked + 1) * sizeof *work.limits);
    work.candidates = calloc(scan->asked + 1, sizeof *work.candidates);
    work.histogram = malloc(work.levels * sizeof *work.histogram);
    work.ties = malloc(room * sizeof *work.ties);
    int64_t *all_ids = malloc((scan->asked * room + 1) * sizeof *all_ids);
    uint16_t *all_distances = malloc((scan->asked * room + 1) * sizeof *all_distances);
    int failed = !work.limits || !work.candidates || !work.histogram || !work.ties || !all_ids || !all_distances;
    for (size_t query = 0; !failed && query < scan->asked; query++) {
        work.limits[query] = (uint32_t)work.levels;
        work.candidates[query].ids = all_ids + query * room;
        work.candidates[query].distances = all_distances + query * room;
        work.candidates[query].full = k;
        work.candidates[query].highest = INT64_MAX;
    }
    failed = failed || run(scan, &work);
    for (size_t query = 0; !failed && query < scan->asked; query++)
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
    work.limits = malloc((scan->asked + 1) * sizeof *work.limits);
    for (size_t query = 0; work.limits && query < scan->asked; query++)
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

int scan_tally(const Kernel *kernel, size_t width, const uint8_t *queries, size_t asked, const uint8_t *codes, size_t n,
               const uint8_t *hits, int64_t *table)
{
    size_t words = (width + 7) / 8, rows = rows_of(words), levels = 8 * width + 1;
    char *memory = malloc(PLANE_BYTES + LINE);
    uint64_t *planes = aligned(memory);
    uint16_t *distances = malloc((BLOCK_ROWS + 8) * sizeof *distances);
    int failed = !memory || !distances;
    for (size_t start = 0; !failed && start < n; start += rows) {
        size_t count = n - start < rows ? n - start : rows;
        kernel->transpose(codes + start * width, width, count, planes, rows);
        for (size_t query = 0; query < asked; query++) {
            uint64_t words_of[MAX_WORDS] = {0};
            const uint8_t *own = hits + query * n + start;
            int64_t *cells = table + query * 2 * levels;
            memcpy(words_of, queries + query * width, width);
            kernel->distances(planes, rows, words, count, words_of, distances);
            for (size_t place = 0; place < count; place++)
                cells[(own[place] ? levels : 0) + distances[place]]++;
        }
    }
    free(memory);
    free(distances);
    return failed ? -1 : 0;
}
