#include "mih.h"

#include <stdlib.h>
#include <string.h>

#include "kernel.h"
#include "popcount.h"

/* How a search works. If two codes differ in d bits, then in one of m tables their keys differ in at most d / m bits.
   So the buckets around the query's own are visited in the order of (bits that differ, table). After the buckets at r
   bits in table t (from 0), every code up to m * r + t bits from the query has been seen. The search ends when that is
   the distance of the k-th nearest code.

   Nearly all time goes into cache misses, of offsets, rows and codes. So buckets are visited in groups, in stages, each
   of which prefetches what the next one reads. The tables may come from a file that nobody checked: rows and offsets
   are checked where they are used. */

#define GROUP 64   /* buckets visited together */
#define BATCH 256  /* codes compared together */
#define FALL 3     /* factor by which fewer codes are in buckets that differ in one more bit from the query's */
#define TRIED 10   /* the query's own buckets, and others with more codes than usual, may cost this part of the budget */
#define CERTAIN 3  /* standard deviations by which the number of codes near a query must exceed the usual one */
#define MATCH 3    /* cost of a match of a radius search, which must be sorted */
#define REPEATS 4  /* equal codes that cost as much as a cache miss: their rows are consecutive */
#define KEYS 4     /* keys of a near code that cost as much as a cache miss to compare */
#define VISIT 30   /* cost of a visit of a table, whose first misses are waited for one after the other */
#define LINE 64    /* bytes of a cache line */

#if defined(__GNUC__)
#define FETCH(address) __builtin_prefetch(address, 0, 2) /* into the second level: the first fetches fewer at once */
#define INLINE static inline __attribute__((always_inline))
#else
#define FETCH(address) ((void)(address))
#define INLINE static inline
#endif
#if defined(__GNUC__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define SWAP(word) __builtin_bswap64(word)
#endif
#if defined(__GNUC__) && defined(__x86_64__)
#define WITH_POPCOUNT __attribute__((target("popcnt")))
#else
#define WITH_POPCOUNT
#endif

typedef struct {
    const Tables *tables;
    uint64_t words[MAX_WORDS];
    uint32_t keys[MAX_TABLES];
    uint64_t *matches; /* distance << 32 | row: of a k-nearest search a heap with the furthest first, else a list */
    size_t size, room;
    int nearest;    /* whether it is a heap, of at most `room` */
    uint64_t bound; /* matches must be below */
    double cost, budget, trial;
    double limit; /* at which the visit of a table ends */
    double candidate, kept; /* cost of comparing a code, and of moving a match up or down the heap */
    double buckets[2][MAX_KEY_BITS + 1]; /* at each number of bits, in the last table and in one with a longer key */
    double seen, expected; /* candidates in the buckets visited, and how many there would be if codes were uniform */
    uint64_t likely;       /* distance of the k-th nearest code if codes were uniform */
    size_t table;     /* that is being visited */
    uint32_t flipped; /* bits in which its buckets differ from the query's */
    uint32_t visited[MAX_TABLES], candidates[MAX_TABLES]; /* of the last visit of each table */
    int failed;
} Search;

INLINE uint32_t key_of(const uint8_t *code, size_t width, unsigned start, unsigned bits)
{
    uint64_t word = 0;
#ifdef SWAP
    if (width >= 8) {
        size_t first = start / 8 < width - 8 ? start / 8 : width - 8;
        memcpy(&word, code + first, 8);
        return (uint32_t)(SWAP(word) << (start - 8 * first) >> (64 - bits));
    }
#endif
    for (size_t byte = start / 8; byte < start / 8 + 5; byte++) /* 28 bits lie in 5 bytes */
        word = word << 8 | (byte < width ? code[byte] : 0u);
    return (uint32_t)(word >> (40 - start % 8 - bits)) & ((1u << bits) - 1);
}

INLINE uint32_t distance_of(const uint8_t *code, const uint64_t *query, size_t width)
{
    uint32_t bits = 0;
    for (size_t word = 0; word < width / 8; word++) {
        uint64_t part;
        memcpy(&part, code + 8 * word, 8);
        bits += POPCOUNT(part ^ query[word]);
    }
    if (width % 8) {
        uint64_t part = 0;
        memcpy(&part, code + width / 8 * 8, width % 8);
        bits += POPCOUNT(part ^ query[width / 8]);
    }
    return bits;
}

/* Move the match at the top of a heap down to its place. */
static void sift(uint64_t *heap, size_t size)
{
    uint64_t moved = heap[0];
    size_t place = 0;
    for (size_t child; (child = 2 * place + 1) < size; place = child) {
        child += child + 1 < size && heap[child + 1] > heap[child];
        if (heap[child] <= moved)
            break;
        heap[place] = heap[child];
    }
    heap[place] = moved;
}

static void keep(Search *search, uint64_t match)
{
    if (search->nearest && search->size == search->room) {
        search->matches[0] = match;
        sift(search->matches, search->size);
        search->cost += 2 * search->kept;
    } else if (search->nearest) {
        size_t place = search->size++;
        for (; place && search->matches[(place - 1) / 2] < match; place = (place - 1) / 2)
            search->matches[place] = search->matches[(place - 1) / 2];
        search->matches[place] = match;
    } else {
        if (search->size == search->room) {
            size_t room = 2 * search->room + 1024;
            uint64_t *matches = realloc(search->matches, room * sizeof *matches);
            search->failed |= !matches;
            if (!matches)
                return;
            search->matches = matches;
            search->room = room;
        }
        search->matches[search->size++] = match;
        search->cost += MATCH;
    }
    if (search->nearest && search->size == search->room)
        search->bound = search->matches[0];
}

/* Return the place of the first repeated row of bucket [low, high) of the first table whose code is not before `code`. */
static size_t repeats_of(const Tables *tables, size_t low, size_t high, const uint8_t *code)
{
    const uint32_t *rows = tables->tables[0].rows;
    while (low < high) {
        size_t middle = low + (high - low) / 2, row = rows[middle] & ROW;
        if (!(rows[middle] & REPEATED) || row >= tables->n ||
            memcmp(tables->codes + row * tables->width, code, tables->width) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Keep a code that is near enough, and those equal to it. */
static void take(Search *search, uint32_t row, uint32_t distance)
{
    const Tables *tables = search->tables;
    const Table *first = &tables->tables[0];
    uint64_t near = (uint64_t)distance << 32;
    if (!tables->allowed || tables->allowed[row])
        keep(search, near | row);
    if (tables->n == tables->tables[tables->table_count - 1].count && tables->table_count > 1)
        return; /* all codes are distinct */
    const uint8_t *code = tables->codes + row * tables->width;
    uint32_t key = key_of(code, tables->width, first->start, first->bits);
    size_t low = first->offsets[key], high = first->offsets[key + 1];
    if (low >= high || high > first->count || !(first->rows[high - 1] & REPEATED))
        return;
    size_t start = repeats_of(tables, low, high, code), place = start;
    for (; place < high && (place == start || !(first->rows[place] & NEXT)); place++) {
        uint32_t repeat = first->rows[place] & ROW;
        if (repeat >= tables->n || (near | repeat) >= search->bound)
            break; /* rows ascend, so the others are no better */
        if (place == start && memcmp(tables->codes + repeat * tables->width, code, tables->width))
            break; /* of another code */
        if (!tables->allowed || tables->allowed[repeat])
            keep(search, near | repeat);
    }
    search->cost += (double)(place - start) / REPEATS;
}

/* Whether no bucket that was visited before holds a code. */
static int is_new(const Search *search, const uint8_t *code)
{
    const Tables *tables = search->tables;
    for (size_t other = 0; other < tables->table_count; other++) {
        const Table *table = &tables->tables[other];
        uint32_t key = key_of(code, tables->width, table->start, table->bits);
        uint32_t bits = POPCOUNT(key ^ search->keys[other]);
        if (bits < search->flipped || (bits == search->flipped && other < search->table))
            return 0;
    }
    return 1;
}

INLINE void compare(Search *search, size_t width, const uint32_t *rows, size_t count)
{
    const uint8_t *codes = search->tables->codes;
    for (size_t place = 0; place < count && search->cost <= search->limit; place++) {
        const uint8_t *code = codes + rows[place] * width;
        uint32_t distance = distance_of(code, search->words, width);
        if (((uint64_t)distance << 32 | rows[place]) >= search->bound)
            continue;
        search->cost += (double)search->tables->table_count / KEYS;
        if (is_new(search, code))
            take(search, rows[place], distance);
    }
}

/* Return the next larger number with as many bits. */
INLINE uint32_t next_mask(uint32_t mask)
{
    uint32_t lowest = mask & (0u - mask), ripple = mask + lowest;
    return lowest ? (((mask ^ ripple) >> 2) / lowest) | ripple : 0;
}

/* Return the mean number of rows per bucket. */
INLINE double density(const Table *table) { return (double)table->count / (double)(1u << table->bits); }

/* Visit the buckets whose keys differ from the query's in `search->flipped` bits. */
INLINE void visit(Search *search, size_t width)
{
    const Tables *tables = search->tables;
    const Table *table = &tables->tables[search->table];
    uint32_t key = search->keys[search->table], mask = (1u << search->flipped) - 1, end = 1u << table->bits;
    uint32_t keys[GROUP], lows[GROUP], highs[GROUP], rows[BATCH];
    size_t visited = 0, candidates = 0, waiting = 0;
    search->cost += VISIT;
    for (int more = 1; more && search->cost <= search->limit;) {
        size_t count = 0, filled = 0;
        for (; more && count < GROUP; count++) {
            keys[count] = key ^ mask;
            FETCH(&table->offsets[keys[count]]);
            mask = next_mask(mask);
            more = mask && mask < end;
        }
        for (size_t place = 0; place < count; place++) {
            uint32_t low = table->offsets[keys[place]], high = table->offsets[keys[place] + 1];
            if (low >= high || high > table->count)
                continue;
            lows[filled] = low, highs[filled++] = high;
            candidates += high - low;
            FETCH(&table->rows[low]);
        }
        visited += count;
        search->cost += (double)(count + filled);
        for (size_t place = 0; place < filled; place++) {
            for (size_t at = lows[place]; at < highs[place] && search->cost <= search->limit; at++) {
                uint32_t row = table->rows[at];
                if (row & REPEATED)
                    break; /* `take` finds these by the code that they repeat */
                if (row >= tables->n)
                    continue;
                for (size_t byte = 0; byte < width; byte += LINE)
                    FETCH(tables->codes + row * width + byte);
                rows[waiting++] = row;
                if (waiting == BATCH) {
                    search->cost += BATCH * search->candidate;
                    compare(search, width, rows, BATCH);
                    waiting = 0;
                }
            }
        }
    }
    search->cost += (double)waiting * search->candidate;
    compare(search, width, rows, waiting);
    search->seen += (double)candidates;
    search->expected += (double)visited * density(table);
    search->visited[search->table] = (uint32_t)visited;
    search->candidates[search->table] = (uint32_t)candidates;
}

/* Return the cost of comparing a code of `width` bytes: of its cache lines, and of its words. */
static double cost_of_candidate(size_t width) { return (double)((width + LINE - 1) / LINE) + (double)width / LINE; }

/* Fill in the numbers of buckets, and costs. */
static void prepare(Search *search)
{
    search->candidate = cost_of_candidate(search->tables->width);
    for (size_t size = search->nearest ? search->room : 0; size > 1; size /= 2)
        search->kept++;
    unsigned least = search->tables->tables[search->tables->table_count - 1].bits;
    for (unsigned longer = 0; longer < 2; longer++) {
        double count = 1;
        for (unsigned flipped = 0; flipped <= MAX_KEY_BITS; flipped++) {
            search->buckets[longer][flipped] = count;
            count = flipped < least + longer ? count * (least + longer - flipped) / (flipped + 1) : 0;
        }
    }
}

/* Return the expected cost of visiting a table at `flipped` bits. Buckets near the query's own hold more codes;
   how many more falls with each further bit. */
static double cost_of(const Search *search, size_t place, uint32_t flipped)
{
    const Table *table = &search->tables->tables[place];
    double codes = density(table);
    if (search->visited[place]) {
        double found = (double)search->candidates[place] / search->visited[place];
        for (uint32_t bit = search->flipped; found > codes && bit < flipped + (place >= search->table); bit++)
            found /= FALL;
        codes = found > codes ? found : codes;
    }
    if (flipped > MAX_KEY_BITS)
        return 0;
    unsigned longer = table->bits > search->tables->tables[search->tables->table_count - 1].bits;
    return VISIT + search->buckets[longer][flipped] * (1 + (codes < 1 ? codes : 1) + codes * search->candidate);
}

/* Return the largest distance of a code that can still matter. */
static uint64_t furthest(const Search *search)
{
    return search->nearest ? search->bound >> 32 : (search->bound >> 32) - 1;
}

/* Whether the search is worth going on with: little was spent, or it will probably end within the budget. The next
   visit must keep to that, too. */
static int affordable(Search *search)
{
    size_t table_count = search->tables->table_count, place = search->table;
    double cost = search->cost + cost_of(search, place, search->flipped), more = search->seen - search->expected;
    int crowded = search->nearest && more > 0 && more * more > CERTAIN * CERTAIN * search->expected;
    search->limit = crowded || !search->flipped ? search->budget / TRIED : search->trial;
    if (cost <= search->limit)
        return 1; /* without the prediction, which takes long with many tables */
    uint64_t reached = table_count * search->flipped + place, last = furthest(search);
    if (search->nearest && last > search->likely)
        last = search->likely;
    while (cost <= search->budget && reached++ < last)
        cost += cost_of(search, reached % table_count, (uint32_t)(reached / table_count));
    search->limit = search->budget;
    return cost <= search->budget;
}

INLINE int run(Search *search)
{
    const Tables *tables = search->tables;
    unsigned most = tables->tables[0].bits; /* no table has more */
    for (search->flipped = 0; search->flipped <= most; search->flipped++) {
        for (search->table = 0; search->table < tables->table_count; search->table++) {
            if (search->flipped > tables->tables[search->table].bits)
                continue;
            if (!affordable(search))
                return 0;
            switch (tables->width) {
            case 8: visit(search, 8); break;
            case 16: visit(search, 16); break;
            default: visit(search, tables->width);
            }
            if (search->failed || search->cost > search->limit)
                return 0;
            if (furthest(search) <= tables->table_count * search->flipped + search->table)
                return 1;
        }
    }
    return !search->nearest || search->size == search->room; /* damaged tables may lack rows */
}

WITH_POPCOUNT static int run_with_popcount(Search *search) { return run(search); }

/* Search for one query; return whether the matches are complete. */
static int begin(Search *search, const uint8_t *query)
{
    const Tables *tables = search->tables;
    search->seen = search->expected = 0;
    search->cost = search->nearest ? search->kept * (double)search->room : 0;
    memset(search->words, 0, sizeof search->words);
    memset(search->visited, 0, sizeof search->visited);
    memcpy(search->words, query, tables->width);
    for (size_t place = 0; place < tables->table_count; place++) {
        const Table *table = &tables->tables[place];
        search->keys[place] = key_of(query, tables->width, table->start, table->bits);
        FETCH(&table->offsets[search->keys[place]]);
    }
    return tables->popcount ? run_with_popcount(search) : run(search);
}

/* Return the distance within which `k` of `count` uniformly distributed codes are expected. */
static uint64_t distance_within(double count, double k, size_t width)
{
    double share = 1, sum;
    for (size_t bit = 0; bit < 8 * width; bit++)
        share /= 2;
    uint64_t distance = 0;
    for (sum = share; count * sum < k && distance < 8 * width; sum += share, distance++)
        share = share * (double)(8 * width - distance) / (double)(distance + 1);
    return distance;
}

int mih_nearest(const Tables *tables, const uint8_t *queries, size_t query_count, size_t k, double count, double budget,
                double trial, int64_t *ids, int32_t *distances, double *costs)
{
    Search search = {.tables = tables, .room = k, .nearest = 1, .budget = budget, .trial = trial};
    prepare(&search);
    search.likely = distance_within(count, (double)k, tables->width);
    search.matches = malloc(k * sizeof *search.matches);
    if (!search.matches)
        return -1;
    for (size_t query = 0; query < query_count; query++, ids += k, distances += k) {
        search.size = 0;
        search.bound = UINT64_MAX;
        int found = begin(&search, queries + query * tables->width);
        costs[query] = found ? search.cost : -search.cost;
        for (size_t left = found ? search.size : 0; left; left--) {
            ids[left - 1] = search.matches[0] & UINT32_MAX;
            distances[left - 1] = (int32_t)(search.matches[0] >> 32);
            search.matches[0] = search.matches[left - 1];
            sift(search.matches, left - 1);
        }
    }
    free(search.matches);
    return 0;
}

static int ascending(const void *one, const void *other)
{
    uint64_t a = *(const uint64_t *)one, b = *(const uint64_t *)other;
    return (a > b) - (a < b);
}

int64_t mih_within(const Tables *tables, const uint8_t *queries, size_t query_count, uint32_t radius, double budget,
                   int64_t *counts, uint64_t **keys)
{
    Search search = {.tables = tables, .budget = budget, .bound = ((uint64_t)radius + 1) << 32};
    prepare(&search);
    for (size_t query = 0; !search.failed && query < query_count; query++) {
        size_t before = search.size;
        if (begin(&search, queries + query * tables->width)) {
            counts[query] = (int64_t)(search.size - before);
            if (search.size > before)
                qsort(search.matches + before, search.size - before, sizeof *search.matches, ascending);
        } else {
            counts[query] = -1;
            search.size = before;
        }
    }
    *keys = search.matches;
    return search.failed ? -1 : (int64_t)search.size;
}

/* Sort rows by their codes, with ties in the order given, by merging; `spare` is as large. */
static void sort(const uint8_t *codes, size_t width, uint32_t *rows, uint32_t *spare, size_t count)
{
    if (count < 2)
        return;
    size_t half = count / 2, left = 0, right = half;
    sort(codes, width, rows, spare, half);
    sort(codes, width, rows + half, spare, count - half);
    if (memcmp(codes + rows[half - 1] * width, codes + rows[half] * width, width) <= 0)
        return;
    memcpy(spare, rows, half * sizeof *rows);
    for (size_t place = 0; left < half; place++) {
        int later = right < count && memcmp(codes + rows[right] * width, codes + spare[left] * width, width) < 0;
        rows[place] = later ? rows[right++] : spare[left++];
    }
}

/* Move rows with the code of the one before behind the others, and mark them; return how many others there are. */
static size_t part(const uint8_t *codes, size_t width, uint32_t *rows, uint32_t *spare, size_t count)
{
    size_t distinct = 0, repeats = 0;
    uint32_t previous = 0, marks = 0;
    for (size_t place = 0; place < count; place++) {
        uint32_t row = rows[place];
        if (place && !memcmp(codes + row * width, codes + previous * width, width)) {
            spare[repeats++] = row | marks;
            marks = REPEATED;
        } else {
            rows[distinct++] = row;
            marks = REPEATED | NEXT;
        }
        previous = row;
    }
    memcpy(rows + distinct, spare, repeats * sizeof *rows);
    return distinct;
}

/* Make offsets of the sizes of buckets, which are one place too far to the right: offsets[bucket + 1]. */
static void accumulate(uint32_t *offsets, unsigned bits)
{
    for (size_t bucket = 0; bucket < (size_t)1 << bits; bucket++)
        offsets[bucket + 1] += offsets[bucket];
}

int64_t mih_sort(const uint8_t *codes, size_t n, size_t width, unsigned bits, uint32_t *offsets, uint32_t *rows)
{
    size_t buckets = (size_t)1 << bits, largest = 0;
    memset(offsets, 0, (buckets + 1) * sizeof *offsets);
    for (size_t row = 0; row < n; row++)
        offsets[key_of(codes + row * width, width, 0, bits) + 1]++;
    for (size_t bucket = 0; bucket < buckets; bucket++)
        largest = offsets[bucket + 1] > largest ? offsets[bucket + 1] : largest;
    accumulate(offsets, bits);
    uint32_t *spare = malloc((largest + 1) * sizeof *spare), *ends = malloc(buckets * sizeof *ends);
    int64_t distinct = spare && ends ? 0 : -1;
    if (!distinct) {
        memcpy(ends, offsets, buckets * sizeof *ends);
        for (size_t row = 0; row < n; row++)
            rows[ends[key_of(codes + row * width, width, 0, bits)]++] = (uint32_t)row;
        for (size_t bucket = 0; bucket < buckets; bucket++) {
            uint32_t *here = rows + offsets[bucket];
            size_t count = offsets[bucket + 1] - offsets[bucket];
            for (size_t ahead = BATCH; ahead < BATCH + count && offsets[bucket] + ahead < n; ahead++)
                FETCH(codes + here[ahead] * width);
            sort(codes, width, here, spare, count);
            distinct += (int64_t)part(codes, width, here, spare, count);
        }
    }
    free(spare);
    free(ends);
    return distinct;
}

int mih_fill(const uint8_t *codes, size_t n, size_t width, const uint32_t *first, unsigned start, unsigned bits,
             uint32_t *offsets, uint32_t *rows)
{
    size_t buckets = (size_t)1 << bits;
    uint8_t *repeated = calloc(n / 8 + 1, 1);
    uint32_t *ends = malloc(buckets * sizeof *ends);
    int failed = !repeated || !ends;
    if (!failed) {
        for (size_t place = 0; place < n; place++)
            if (first[place] & REPEATED && (first[place] & ROW) < n)
                repeated[(first[place] & ROW) / 8] |= (uint8_t)(1u << first[place] % 8);
        memset(offsets, 0, (buckets + 1) * sizeof *offsets);
        for (size_t row = 0; row < n; row++)
            if (!(repeated[row / 8] >> row % 8 & 1))
                offsets[key_of(codes + row * width, width, start, bits) + 1]++;
        accumulate(offsets, bits);
        memcpy(ends, offsets, buckets * sizeof *ends);
        for (size_t row = 0; row < n; row++)
            if (!(repeated[row / 8] >> row % 8 & 1))
                rows[ends[key_of(codes + row * width, width, start, bits)]++] = (uint32_t)row;
    }
    free(repeated);
    free(ends);
    return failed ? -1 : 0;
}
