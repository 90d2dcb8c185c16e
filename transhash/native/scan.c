#include "scan.h"

#include <stdlib.h>
#include <string.h>

/* How a scan works. Codes are read in blocks that stay in the first-level cache, and every query of a segment is
   compared with a block before the next one is read, so that memory is read once for all of them. A kernel (kernel.h)
   compares a block with one query and returns only the codes below a limit: the distance below which a code can still
   be among the k nearest. The limit falls as candidates are found, so that nearly all codes are rejected without a
   branch per code. Everything here runs once per block or once per candidate. */

#define PLANE_BYTES 32768 /* size of a block of codes, which stays in the first-level cache; slices have two of them */
#define BEGINNING 4096    /* bytes of a list that are prefetched before it is scanned */
#define SLICED_MOST 512   /* codes in a slice, at most */
#define FEW 4             /* from this many queries on, arranging codes in planes pays off */
#define NARROW 6          /* bytes per code from which on slicing pays off */
#define WIDE 32           /* bytes per code above which slicing pays off for more queries */
#define PREPARED 16       /* bytes for each word of a prepared query */
#define FIRST_ROWS 64     /* size of the first block: without a limit yet, all its codes are candidates */
#define ID_BITS 48        /* a key is distance << ID_BITS | id */
#define ID_MASK (((uint64_t)1 << ID_BITS) - 1)
#define COUNTERS 4        /* arrays in which distances are counted */
#define TOGETHER 64       /* candidates between two looks at the limit; less than the spare room for candidates */
#define SHORT 32          /* keys that are sorted by insertion */
#define SHARED 4          /* queries per list from which on lists are scanned for all their queries together */

/* The candidates of a query. They are not a heap: new ones are appended, and when there are `room` of them, `prune`
   keeps the k best. Counting them by distance keeps the limit exact all the time. */
typedef struct {
    uint64_t *keys;
    uint32_t *levels; /* number of candidates at each distance below the limit */
    size_t size, nearer; /* number of all candidates, and of those below the limit */
    int64_t highest; /* largest id that can still be among the k best at distance limit - 1 */
} Candidates;

enum action { NEAREST, COUNT, FILL, GATHER };

typedef struct {
    enum action action;
    uint32_t *limits; /* of each query: only codes at a smaller distance matter */
    uint32_t radius;
    int64_t *cells; /* counts or cursors, (query_count, radius + 1) */
    int64_t *out;
    size_t *gathered; /* number of pairs in `out`, which has room for `room` */
    Candidates *candidates;
    size_t k, room;
    int ordered; /* ids arrive in ascending order, so of two codes at the same distance the earlier one is better */
    uint32_t unlimited; /* the limit before k codes are known */
    uint64_t *spare; /* (room) */
} Work;

/* Sort keys; `spare` has room for as many. */
static void sort(uint64_t *keys, size_t count, uint64_t *spare)
{
    if (count <= SHORT) {
        for (size_t place = 1; place < count; place++) {
            uint64_t key = keys[place];
            size_t to = place;
            for (; to && keys[to - 1] > key; to--)
                keys[to] = keys[to - 1];
            keys[to] = key;
        }
        return;
    }
    uint64_t *from = keys, *to = spare, differing = 0;
    for (size_t place = 1; place < count; place++)
        differing |= keys[place] ^ keys[0];
    for (unsigned shift = 0; shift < 64; shift += 8) {
        if (!(differing >> shift & 255))
            continue;
        size_t starts[256] = {0}, before = 0;
        for (size_t place = 0; place < count; place++)
            starts[from[place] >> shift & 255]++;
        for (size_t digit = 0; digit < 256; digit++) {
            size_t here = starts[digit];
            starts[digit] = before;
            before += here;
        }
        for (size_t place = 0; place < count; place++)
            to[starts[from[place] >> shift & 255]++] = from[place];
        uint64_t *other = from;
        from = to;
        to = other;
    }
    if (from != keys)
        memcpy(keys, from, count * sizeof *keys);
}

/* Drop candidates that are not among the k best, and some of those that tie with the k-th. */
static void drop(const Work *work, Candidates *candidates, uint32_t limit)
{
    uint64_t *keys = candidates->keys;
    size_t size = candidates->size, kept = 0, ties = work->ordered ? work->k - candidates->nearer : 0;
    for (size_t place = 0; place < size; place++) {
        uint64_t key = keys[place];
        uint32_t distance = (uint32_t)(key >> ID_BITS);
        size_t tie = (distance == limit) & (ties > 0);
        keys[kept] = key; /* no branch could be predicted here */
        kept += (distance < limit) + tie;
        ties -= tie;
    }
    candidates->size = kept;
}

/* Keep the k best candidates by (distance, id). */
static void prune(const Work *work, Candidates *candidates, uint32_t limit)
{
    if (limit < work->unlimited)
        drop(work, candidates, limit);
    if (!work->ordered && candidates->size > work->k) {
        sort(candidates->keys, candidates->size, work->spare);
        candidates->levels[limit - 1] -= (uint32_t)(candidates->size - work->k);
        candidates->size = candidates->nearer = work->k;
        candidates->highest = (int64_t)(candidates->keys[work->k - 1] & ID_MASK);
    }
}

/* Return the id of a code, or -1 if it is not allowed. `places` of a kernel are relative to the start of a block. */
static inline int64_t id_of(const Scan *scan, const Segment *segment, size_t row)
{
    if (!segment->ids)
        return (int64_t)(segment->base + row);
    int64_t id = segment->ids[row];
    return scan->allowed && !(scan->allowed[id / 8] >> id % 8 & 1) ? -1 : id;
}

/* Lower the limit as far as the candidates allow.

   Where ids ascend, a later code at the distance of the k-th best comes after all k, so the limit is that distance.
   Otherwise a code at that distance with a smaller id can still enter: the limit is larger by one, and `highest` is an
   id above which codes at that distance are useless. */
static void lower(const Work *work, Candidates *candidates, uint32_t *query_limit)
{
    uint32_t limit = *query_limit;
    while (candidates->nearer >= work->k + (work->ordered ? 0 : candidates->levels[limit - 1])) {
        candidates->nearer -= candidates->levels[--limit];
        candidates->highest = INT64_MAX;
    }
    *query_limit = limit;
}

/* Add the `count` codes of a block that a kernel returned to the candidates. The limit is lowered after every few of
   them, not after each: its loop would take longer than the few useless candidates do. */
static void collect(const Scan *scan, const Work *work, const Segment *segment, size_t start, size_t query,
                    size_t count, const uint16_t *places, const uint16_t *distances)
{
    Candidates *candidates = &work->candidates[query];
    for (size_t from = 0, to; from < count; from = to) {
        to = count - from < TOGETHER ? count : from + TOGETHER;
        if (candidates->size + TOGETHER > work->room)
            prune(work, candidates, work->limits[query]);
        uint64_t *begin = candidates->keys + candidates->size, *end = begin;
        uint32_t *levels = candidates->levels, limit = work->limits[query];
        int64_t highest = candidates->highest;
        for (size_t place = from; place < to; place++) {
            uint32_t distance = distances[place];
            if (distance >= limit)
                continue;
            int64_t id = id_of(scan, segment, start + places[place]);
            if (id < 0 || (id > highest && distance + 1 == limit))
                continue;
            *end++ = (uint64_t)distance << ID_BITS | (uint64_t)id;
            levels[distance]++;
        }
        candidates->size += (size_t)(end - begin);
        candidates->nearer += (size_t)(end - begin);
        lower(work, candidates, &work->limits[query]);
    }
}

/* Write the cell and the id of a match. After one too many, nothing is searched any more. */
static void gather(const Scan *scan, const Work *work, size_t cell, int64_t id)
{
    size_t place = (*work->gathered)++;
    if (place < work->room) {
        work->out[2 * place] = (int64_t)cell;
        work->out[2 * place + 1] = id;
    } else
        memset(work->limits, 0, scan->query_count * sizeof *work->limits);
}

/* Count the codes that a kernel returned, or write their ids. */
static void take(const Scan *scan, const Work *work, const Segment *segment, size_t start, size_t query, size_t count,
                 const uint16_t *places, const uint16_t *distances)
{
    size_t first = query * (work->radius + 1);
    for (size_t place = 0; place < count; place++) {
        int64_t id = id_of(scan, segment, start + places[place]);
        if (id < 0)
            continue;
        size_t cell = first + distances[place];
        if (work->action == COUNT)
            work->cells[cell]++;
        else if (work->action == FILL)
            work->out[work->cells[cell]++] = id;
        else
            gather(scan, work, cell, id);
    }
}

/* Return the number of codes per block if one takes `bytes` bytes: a multiple of TILE, so that a block's mask starts at
   a byte. */
static size_t rows_of(size_t bytes) { return PLANE_BYTES / bytes / TILE * TILE; }

static void *aligned(char *memory) { return memory + (LINE - (uintptr_t)memory % LINE); }

/* Prefetch the start of the next segment. The hardware prefetcher cannot predict the address of an inverted list, and
   many lists are so short that waiting for their first cache lines would take longer than comparing their codes. */
static void fetch(const Segment *segment, size_t width)
{
    size_t bytes = segment->rows * width < BEGINNING ? segment->rows * width : BEGINNING;
    for (size_t byte = 0; byte < bytes; byte += LINE)
        PREFETCH(segment->codes + byte);
}

/* The buffers of a run. */
typedef struct {
    size_t words, stride;
    uint64_t *queries; /* padded with zeros to whole words */
    uint8_t *prepared; /* by the kernel, PREPARED bytes for each word */
    uint8_t *choices; /* by the kernel, CHOICES bytes for each word */
    char *memory, *slices; /* for blocks; allocated when the first is needed */
    Head *heads; /* of each query */
    uint16_t *places;
    uint16_t *distances;
} Buffers;

/* How the codes of a block are laid out for comparison (kernel.h). */
enum form { ROWS, PLANES, PACKED, SLICED };

/* Consecutive codes of a segment. */
typedef struct {
    const Segment *segment;
    size_t start, n;
    enum form form;
    const uint8_t *codes, *mask;
    const uint64_t *planes;
    size_t stride;
    void *arranged; /* packed or sliced */
} Block;

/* Return `memory` from the next cache line on, allocating `bytes` if it is NULL; NULL if memory is exhausted. */
static char *lines(char **memory, size_t bytes)
{
    if (!*memory)
        *memory = malloc(bytes + LINE);
    return *memory ? aligned(*memory) : NULL;
}

/* Return how many codes of a segment to compare at a time in slices; 0 if slices do not pay off for the number of
   queries. Slices of wide codes do not stay in a near cache, and narrow codes would mostly be padding. In inverted
   lists, limits are so low that the first parts of the codes suffice. */
static size_t slice_rows(const Scan *scan, const Segment *segment, size_t queries)
{
    const Slicing *slicing = scan->kernel->slicing;
    size_t times = scan->width > WIDE ? scan->width / WIDE : 1;
    int pays_off = slicing && queries >= times * slicing->queries && scan->width >= NARROW && !segment->ids;
    return pays_off ? slicing->codes : 0;
}

static enum form form_of(const Scan *scan, const Block *block, size_t queries)
{
    const Kernel *kernel = scan->kernel;
    size_t sliced = slice_rows(scan, block->segment, queries);
    if (sliced && 2 * block->n >= sliced)
        return SLICED;
    if (kernel->row_queries && queries < kernel->row_queries(scan->width))
        return ROWS;
    if (kernel->pack && queries >= FEW)
        return PACKED;
    return PLANES;
}

/* Lay out the codes of a block for the comparison with a number of queries. */
static int arrange(const Scan *scan, Buffers *buffers, Block *block, size_t queries)
{
    const Kernel *kernel = scan->kernel;
    const Segment *segment = block->segment;
    size_t words = buffers->words;
    block->codes = segment->codes + block->start * scan->width;
    block->mask = scan->allowed && !segment->ids ? scan->allowed + (segment->base + block->start) / 8 : NULL;
    block->form = form_of(scan, block, queries);
    block->stride = block->form == SLICED ? kernel->slicing->codes : buffers->stride;
    block->planes = (const uint64_t *)block->codes;
    /* Codes of 8 bytes already are a plane; a copy only aligns them, or makes it whole. */
    int in_place = block->form == ROWS ||
                   (scan->width == 8 && (block->form == PACKED || (block->form == PLANES && queries < FEW)));
    if (in_place && block->form != PACKED)
        return 0;
    char *memory = lines(&buffers->memory, 2 * PLANE_BYTES);
    if (!memory)
        return -1;
    if (!in_place) {
        block->planes = (uint64_t *)memory;
        kernel->transpose(block->codes, scan->width, block->n, (uint64_t *)memory, block->stride);
    }
    if (block->form == PACKED) {
        block->arranged = memory + PLANE_BYTES;
        kernel->pack(block->planes, block->stride, words, block->n, block->arranged);
    } else if (block->form == SLICED) {
        block->arranged = lines(&buffers->slices, SLICES(words) * kernel->slicing->codes / 8);
        if (!block->arranged)
            return -1;
        kernel->slicing->slice(block->planes, words, block->n, block->mask, block->arranged);
    }
    return 0;
}

/* Leave out codes that are not allowed by a mask unless it is NULL, and return how many are left. */
static size_t drop_masked(const uint8_t *mask, uint16_t *places, uint16_t *distances, size_t count)
{
    size_t kept = 0;
    if (!mask)
        return count;
    for (size_t found = 0; found < count; found++) {
        size_t place = places[found];
        places[kept] = (uint16_t)place;
        distances[kept] = distances[found];
        kept += mask[place / 8] >> place % 8 & 1;
    }
    return kept;
}

/* Write the codes of a block that are nearer to a query than a limit, and return their number. */
static size_t find_near(const Scan *scan, const Buffers *buffers, const Block *block, size_t query, uint32_t limit)
{
    const Kernel *kernel = scan->kernel;
    size_t words = buffers->words;
    const uint64_t *asked = buffers->queries + query * words;
    uint16_t *places = buffers->places, *distances = buffers->distances;
    switch (block->form) {
    case PACKED:
        return kernel->below_packed(block->arranged, words, block->n, buffers->prepared + query * words * PREPARED,
                                    limit, block->mask, &buffers->heads[query], places, distances);
    case ROWS:
        return drop_masked(block->mask, places, distances,
                           kernel->below_rows(block->codes, scan->width, block->n, asked, limit, places, distances));
    default:
        return kernel->below(block->planes, block->stride, words, block->n, asked, limit, block->mask, places,
                             distances);
    }
}

/* Keep the codes of a block that were found to be near a query. */
static void keep(const Scan *scan, const Work *work, const Buffers *buffers, const Block *block, size_t query,
                 size_t count)
{
    if (count && work->action == NEAREST)
        collect(scan, work, block->segment, block->start, query, count, buffers->places, buffers->distances);
    else if (count)
        take(scan, work, block->segment, block->start, query, count, buffers->places, buffers->distances);
}

/* `compare` for a block in slices. */
static void compare_sliced(const Scan *scan, const Work *work, const Buffers *buffers, size_t first, size_t end,
                           const Block *block)
{
    const Slicing *slicing = scan->kernel->slicing;
    const uint8_t *choices[SLICED_TOGETHER], *next = block->codes + block->n * scan->width;
    uint8_t found[SLICED_TOGETHER + 1];
    uint32_t limits[SLICED_TOGETHER];
    char memory[(SLICED_TOGETHER + 1) * SLICED_MOST / 8 + LINE], *near = aligned(memory);
    size_t queries[SLICED_TOGETHER], words = buffers->words, pair = first;
    while (pair < end) {
        size_t count = 0;
        for (; pair < end && count < SLICED_TOGETHER; pair++) {
            size_t query = scan->pairs[pair].query;
            PREFETCH(next + (pair - first) * LINE); /* a line of the next block, which all queries read ahead */
            queries[count] = query;
            limits[count] = work->limits[query];
            choices[count] = buffers->choices + query * words * CHOICES;
            count += limits[count] > 0;
        }
        size_t near_count = slicing->find(block->arranged, words, count, choices, limits, found, near);
        for (size_t place = 0; place < near_count; place++) {
            size_t query = queries[found[place]];
            size_t codes = slicing->list(near + place * slicing->codes / 8, block->planes, words,
                                         buffers->queries + query * words, buffers->places, buffers->distances);
            keep(scan, work, buffers, block, query, codes);
        }
    }
}

/* Compare the queries of the pairs from `first` to `end` with a block. */
static int compare(const Scan *scan, const Work *work, Buffers *buffers, size_t first, size_t end, Block *block)
{
    const Segment *segment = block->segment;
    if (arrange(scan, buffers, block, end - first))
        return -1;
    if (block->form == SLICED) {
        compare_sliced(scan, work, buffers, first, end, block);
        return 0;
    }
    for (size_t pair = first; pair < end; pair++) {
        size_t query = scan->pairs[pair].query;
        uint32_t limit = work->limits[query];
        if (work->action == NEAREST && segment->ascending &&
            segment->ids[block->start] > work->candidates[query].highest)
            limit--; /* from here on, all ids are too high to enter at distance limit - 1 */
        keep(scan, work, buffers, block, query, find_near(scan, buffers, block, query, limit));
    }
    return 0;
}

static int allocate(const Scan *scan, Buffers *buffers)
{
    const Kernel *kernel = scan->kernel;
    size_t words = buffers->words, sliced = 0;
    if (scan->pair_count && slice_rows(scan, &scan->segments[scan->pairs->segment], scan->pair_count))
        sliced = CHOICES;
    buffers->queries = calloc(scan->query_count * words + 1, sizeof *buffers->queries);
    buffers->prepared = malloc(scan->query_count * words * PREPARED + 1);
    buffers->choices = malloc(scan->query_count * words * sliced + 1);
    buffers->heads = calloc(scan->query_count + 1, sizeof *buffers->heads);
    if (!buffers->queries || !buffers->prepared || !buffers->choices || !buffers->heads)
        return -1;
    for (size_t query = 0; query < scan->query_count; query++) {
        uint64_t *asked = buffers->queries + query * words;
        memcpy(asked, scan->queries + query * scan->width, scan->width);
        if (kernel->pack && scan->pair_count >= FEW)
            kernel->prepare(asked, words, buffers->prepared + query * words * PREPARED);
        if (sliced)
            kernel->slicing->choose(asked, words, buffers->choices + query * words * CHOICES);
    }
    return 0;
}

/* Compare the queries of the pairs from `first` to `end` with all codes of their segment. */
static int compare_all(const Scan *scan, const Work *work, Buffers *buffers, size_t first, size_t end)
{
    const Segment *segment = &scan->segments[scan->pairs[first].segment];
    size_t sliced = slice_rows(scan, segment, end - first), whole = sliced ? sliced : buffers->stride;
    /* Without a limit, blocks grow from 64 rows by factors of 4, so that one is known before most codes are
       compared. */
    int unlimited = work->action == NEAREST && work->limits[scan->pairs[first].query] == work->unlimited;
    size_t most = unlimited && whole > FIRST_ROWS ? FIRST_ROWS : whole;
    int failed = 0;
    for (size_t start = 0, n; !failed && start < segment->rows; start += n) {
        n = segment->rows - start < most ? (size_t)(segment->rows - start) : most;
        failed = compare(scan, work, buffers, first, end, &(Block){.segment = segment, .start = start, .n = n});
        most = 4 * most < whole ? 4 * most : whole;
    }
    return failed;
}

/* Compare every query with the segments of its pairs. */
static int run(const Scan *scan, const Work *work)
{
    const Kernel *kernel = scan->kernel;
    size_t words = (scan->width + 7) / 8;
    uint16_t places[BLOCK_ROWS + SLACK], distances[BLOCK_ROWS + SLACK];
    Buffers buffers = {.words = words, .stride = rows_of(8 * words * (kernel->pack ? kernel->spread : 1))};
    buffers.places = places;
    buffers.distances = distances;
    int failed = allocate(scan, &buffers);
    for (size_t first = 0, end; !failed && first < scan->pair_count; first = end) {
        for (end = first + 1; end < scan->pair_count && scan->pairs[end].segment == scan->pairs[first].segment;)
            end++;
        if (end < scan->pair_count)
            fetch(&scan->segments[scan->pairs[end].segment], scan->width);
        failed = compare_all(scan, work, &buffers, first, end);
    }
    free(buffers.memory);
    free(buffers.slices);
    free(buffers.queries);
    free(buffers.prepared);
    free(buffers.choices);
    free(buffers.heads);
    return failed ? -1 : 0;
}

/* Write the k best candidates to a row of the result, and return how many there are. */
static size_t finish(const Work *work, size_t query, int64_t *ids, int32_t *distances)
{
    Candidates *candidates = &work->candidates[query];
    if (work->limits[query] < work->unlimited)
        drop(work, candidates, work->limits[query]);
    sort(candidates->keys, candidates->size, work->spare);
    size_t count = candidates->size < work->k ? candidates->size : work->k;
    for (size_t place = 0; place < count; place++) {
        ids[place] = (int64_t)(candidates->keys[place] & ID_MASK);
        distances[place] = (int32_t)(candidates->keys[place] >> ID_BITS);
    }
    return count;
}

int64_t scan_nearest(const Scan *scan, size_t k, int64_t *ids, int32_t *distances)
{
    size_t room = 2 * k + 256, levels = 8 * scan->width + 1;
    Work work = {.action = NEAREST, .k = k, .room = room, .unlimited = (uint32_t)levels, .ordered = 1};
    for (size_t pair = 0; pair < scan->pair_count; pair++)
        work.ordered &= !scan->segments[scan->pairs[pair].segment].ids;
    work.limits = malloc((scan->query_count + 1) * sizeof *work.limits);
    work.candidates = calloc(scan->query_count + 1, sizeof *work.candidates);
    work.spare = malloc(room * sizeof *work.spare);
    uint64_t *keys = malloc((scan->query_count * room + 1) * sizeof *keys);
    uint32_t *counts = calloc(scan->query_count * levels + 1, sizeof *counts);
    int failed = !work.limits || !work.candidates || !work.spare || !keys || !counts;
    for (size_t query = 0; !failed && query < scan->query_count; query++) {
        work.limits[query] = work.unlimited;
        work.candidates[query] =
            (Candidates){.keys = keys + query * room, .levels = counts + query * levels, .highest = INT64_MAX};
    }
    failed = failed || run(scan, &work);
    int64_t unfilled = failed ? -1 : 0;
    for (size_t query = 0; !failed && query < scan->query_count; query++) {
        size_t count = finish(&work, query, ids + query * k, distances + query * k);
        unfilled += count < k;
        for (; count < k; count++) {
            ids[query * k + count] = -1;
            distances[query * k + count] = INT32_MAX;
        }
    }
    free(work.limits);
    free(work.candidates);
    free(work.spare);
    free(keys);
    free(counts);
    return unfilled;
}

/* Order pairs so that a list is read once for all queries that probe it: first the nearest list of every query, which
   gives a limit that rejects most codes of the others, then all others, each by number. */
static int share(const int64_t *probes, size_t query_count, size_t probe_count, size_t list_count, Pair *pairs)
{
    size_t *ends = malloc((list_count + 1) * sizeof *ends), done = 0;
    for (int nearest = 1; ends && nearest >= 0; nearest--) {
        size_t from = nearest ? 0 : 1, to = nearest ? 1 : probe_count;
        memset(ends, 0, (list_count + 1) * sizeof *ends);
        for (size_t query = 0; query < query_count; query++)
            for (size_t rank = from; rank < to; rank++)
                ends[probes[query * probe_count + rank] + 1]++;
        for (size_t list = 0; list < list_count; list++)
            ends[list + 1] += ends[list];
        for (size_t query = 0; query < query_count; query++)
            for (size_t rank = from; rank < to; rank++) {
                uint64_t list = (uint64_t)probes[query * probe_count + rank];
                pairs[done + ends[list]++] = (Pair){list, query};
            }
        done += query_count;
    }
    free(ends);
    return ends ? 0 : -1;
}

int64_t scan_lists(const Scan *scan, const uint8_t *centroids, size_t list_count, size_t probe_count, size_t k,
                   int64_t *ids, int32_t *distances)
{
    size_t count = scan->query_count * probe_count;
    int64_t *probes = malloc((count + 1) * sizeof *probes), unfilled = -1;
    int32_t *far = malloc((count + 1) * sizeof *far);
    Pair *pairs = malloc((count + scan->query_count + 1) * sizeof *pairs);
    Segment all = {.codes = centroids, .rows = list_count};
    Scan choice = *scan, search = *scan;
    choice.segments = &all;
    choice.allowed = NULL;
    choice.pairs = search.pairs = pairs;
    choice.pair_count = scan->query_count;
    search.pair_count = count;
    int failed = !probes || !far || !pairs;
    for (size_t query = 0; !failed && query < scan->query_count; query++)
        pairs[query] = (Pair){0, query};
    failed = failed || scan_nearest(&choice, probe_count, probes, far) < 0;
    if (!failed && count >= SHARED * list_count)
        failed = share(probes, scan->query_count, probe_count, list_count, pairs);
    else
        for (size_t place = 0; !failed && place < count; place++)
            pairs[place] = (Pair){(uint64_t)probes[place], place / probe_count};
    if (!failed)
        unfilled = scan_nearest(&search, k, ids, distances);
    free(probes);
    free(far);
    free(pairs);
    return unfilled;
}

static int scan_within(const Scan *scan, Work work)
{
    work.limits = malloc((scan->query_count + 1) * sizeof *work.limits);
    for (size_t query = 0; work.limits && query < scan->query_count; query++)
        work.limits[query] = work.radius + 1;
    int failed = !work.limits || run(scan, &work);
    free(work.limits);
    return failed ? -1 : 0;
}

int64_t scan_gather(const Scan *scan, uint32_t radius, size_t room, int64_t *matches)
{
    size_t gathered = 0;
    Work work = {.action = GATHER, .radius = radius, .out = matches, .room = room, .gathered = &gathered};
    return scan_within(scan, work) ? -1 : (int64_t)gathered;
}

int scan_count(const Scan *scan, uint32_t radius, int64_t *counts)
{
    return scan_within(scan, (Work){.action = COUNT, .radius = radius, .cells = counts});
}

int scan_fill(const Scan *scan, uint32_t radius, int64_t *cursors, int64_t *out)
{
    return scan_within(scan, (Work){.action = FILL, .radius = radius, .cells = cursors, .out = out});
}

/* Count distances in turn in COUNTERS arrays: adding twice to the same number has to wait for the first addition. */
static void count_distances(const uint16_t *distances, size_t n, size_t levels, int64_t *cells)
{
    uint32_t counts[COUNTERS][64 * MAX_WORDS + 1];
    size_t place = 0, turns = n >= COUNTERS * levels ? n / COUNTERS * COUNTERS : 0;
    for (size_t counter = 0; turns && counter < COUNTERS; counter++)
        memset(counts[counter], 0, levels * sizeof **counts);
    for (; place < turns; place += COUNTERS)
        for (size_t counter = 0; counter < COUNTERS; counter++)
            counts[counter][distances[place + counter]]++;
    for (; place < n; place++)
        cells[distances[place]]++;
    for (size_t level = 0; turns && level < levels; level++)
        for (size_t counter = 0; counter < COUNTERS; counter++)
            cells[level] += counts[counter][level];
}

int scan_tally(const Kernel *kernel, size_t width, const uint8_t *queries, size_t query_count, const uint8_t *codes,
               size_t n, const uint8_t *hits, int64_t *table)
{
    size_t words = (width + 7) / 8, rows = rows_of(8 * words), levels = 8 * width + 1;
    char *memory = malloc(PLANE_BYTES + LINE);
    uint64_t *planes = aligned(memory);
    uint16_t *distances = malloc((BLOCK_ROWS + SLACK) * sizeof *distances);
    int failed = !memory || !distances;
    for (size_t start = 0; !failed && start < n; start += rows) {
        size_t count = n - start < rows ? n - start : rows;
        kernel->transpose(codes + start * width, width, count, planes, rows);
        for (size_t query = 0; query < query_count; query++) {
            uint64_t words_of[MAX_WORDS] = {0};
            int64_t *cells = table + query * (hits ? 2 : 1) * levels;
            memcpy(words_of, queries + query * width, width);
            kernel->distances(planes, rows, words, count, words_of, distances);
            if (!hits)
                count_distances(distances, count, levels, cells);
            for (size_t place = 0; hits && place < count; place++)
                cells[(hits[query * n + start + place] ? levels : 0) + distances[place]]++;
        }
    }
    free(memory);
    free(distances);
    return failed ? -1 : 0;
}
