#include "join.h"

#include <stdatomic.h>
#include <stdlib.h>

/* How a join works. Buckets are visited in order, and each is compared with those whose keys differ from its own by a
   mask, so all codes are read nearly in sequence. Of two buckets, the first is compared with the second. Each code of
   one is a query to a kernel, which returns the near codes of the other.

   Where codes are crowded, most pairs are near, and most are in one tree already. After a block returned many of those,
   its codes in the query's tree are left out for all further queries of that tree. */

#define QUERIES 512     /* codes of a bucket that are compared with a block of another */
#define FEW 16          /* queries from which on packing a block pays off, */
#define SHORT 256       /* if the block has at least this many codes */
#define PLANE_BYTES 32768 /* size of a block, which stays in the first-level cache */
#define PREPARED 16     /* bytes for each word of a prepared query */
#define CALL 32         /* comparisons that take as long as a call of a kernel */
#define TREES 4         /* whose codes can be left out of a block */
#define AHEAD 16        /* codes that are prefetched */

typedef _Atomic uint32_t Parent;

/* The codes of a block that are not in a tree. */
typedef struct {
    uint32_t root;
    size_t left;
    uint8_t mask[BLOCK_ROWS / 8];
} Others;

typedef struct {
    const Join *join;
    size_t most; /* codes of a block */
    uint64_t spent;
    uint64_t query[MAX_WORDS];
    _Alignas(LINE) uint8_t prepared[MAX_WORDS * PREPARED];
    _Alignas(LINE) uint8_t packed[PLANE_BYTES];
    uint32_t pairs[QUERIES * CROSSED];
    Head head;
    Others others[TREES];
    size_t tree_count, next;
    uint16_t places[BLOCK_ROWS + SLACK], distances[BLOCK_ROWS + SLACK];
} Worker;

/* Return the root of a code's tree, and shorten the way to it (path halving). */
static uint32_t root_of(Parent *parents, uint32_t code)
{
    for (;;) {
        uint32_t parent = atomic_load_explicit(&parents[code], memory_order_relaxed);
        if (parent == code)
            return code;
        uint32_t grandparent = atomic_load_explicit(&parents[parent], memory_order_relaxed);
        if (grandparent == parent)
            return parent;
        atomic_compare_exchange_weak_explicit(&parents[code], &parent, grandparent, memory_order_relaxed,
                                              memory_order_relaxed);
        code = grandparent;
    }
}

/* Put two codes into one tree, and return its root. A root changes only by becoming the child of a lower one, so there
   are no cycles whatever other threads do (Jayanti and Tarjan, PODC 2016). */
static uint32_t unite(Parent *parents, uint32_t one, uint32_t other)
{
    for (;;) {
        one = root_of(parents, one);
        other = root_of(parents, other);
        if (one == other)
            return one;
        uint32_t higher = one > other ? one : other, lower = one > other ? other : one, expected = higher;
        if (atomic_compare_exchange_strong_explicit(&parents[higher], &expected, lower, memory_order_relaxed,
                                                    memory_order_relaxed))
            return lower;
    }
}

/* Put the codes that a kernel returned into the tree of `code`; return how many were in it. */
static size_t unite_all(Worker *worker, uint32_t code, size_t start, size_t count)
{
    Parent *parents = (Parent *)worker->join->parents;
    uint32_t root = root_of(parents, code);
    size_t known = 0;
    for (size_t place = 0; place < count; place++) {
        uint32_t other = root_of(parents, worker->join->rows[start + worker->places[place]]);
        if (other == root)
            known++;
        else
            root = unite(parents, root, other);
    }
    return known;
}

/* Return the record of `remember` for the tree of a code, or NULL. */
static Others *recall(Worker *worker, uint32_t code)
{
    Parent *parents = (Parent *)worker->join->parents;
    uint32_t root = root_of(parents, code);
    for (size_t tree = 0; tree < worker->tree_count; tree++)
        if (root_of(parents, worker->others[tree].root) == root)
            return &worker->others[tree];
    return NULL;
}

/* Find the codes of a block that are not in the tree of `code`. */
static void remember(Worker *worker, uint32_t code, size_t start, size_t n)
{
    Parent *parents = (Parent *)worker->join->parents;
    Others *others = recall(worker, code);
    if (!others) {
        others = &worker->others[worker->next++ % TREES];
        worker->tree_count += worker->tree_count < TREES;
    }
    uint32_t root = root_of(parents, code);
    others->root = root;
    others->left = 0;
    memset(others->mask, 0, (n + 7) / 8);
    for (size_t place = 0; place < n; place++) {
        unsigned other = root_of(parents, worker->join->rows[start + place]) != root;
        others->left += other;
        others->mask[place / 8] |= (uint8_t)(other << place % 8);
    }
}

/* Compare the codes of a bucket at the places from `from` to `to` with `n` codes of another from `start` on. Return the
   number of pairs in one tree already. */
static size_t cross(Worker *worker, size_t from, size_t to, size_t start, size_t n)
{
    const Join *join = worker->join;
    Parent *parents = (Parent *)join->parents;
    size_t known = 0;
    for (size_t step; n; start += step, n -= step) {
        step = n < CROSSED ? n : CROSSED;
        size_t count = join->kernel->cross(join->planes + from, join->planes + start, join->n, join->words, to - from,
                                           step, join->radius + 1, worker->pairs);
        for (size_t pair = 0; pair < count; pair++) {
            uint32_t one = root_of(parents, join->rows[from + (worker->pairs[pair] >> 16)]);
            uint32_t other = root_of(parents, join->rows[start + (worker->pairs[pair] & 0xffff)]);
            known += one == other;
            if (one != other)
                unite(parents, one, other);
        }
    }
    return known;
}

/* Compare the codes at the places from `from` to `to` with `n` codes from `start` on, or with those of them that follow. */
static void compare(Worker *worker, size_t from, size_t to, size_t start, size_t n)
{
    const Join *join = worker->join;
    const Kernel *kernel = join->kernel;
    int packed = kernel->pack && to - from >= FEW && n >= SHORT;
    size_t known = 0;
    worker->tree_count = worker->next = 0;
    worker->spent += (to - from) * (n + CALL);
    if (packed)
        kernel->pack(join->planes + start, join->n, join->words, n, worker->packed);
    for (size_t place = from; place < to; place++) {
        const Others *others = worker->tree_count ? recall(worker, join->rows[place]) : NULL;
        const uint8_t *mask = others ? others->mask : NULL;
        size_t first = packed || mask || place < start ? start : place + 1, count;
        if (first >= start + n || (others && !others->left))
            continue;
        for (size_t word = 0; word < join->words; word++)
            worker->query[word] = join->planes[word * join->n + place];
        if (packed) {
            kernel->prepare(worker->query, join->words, worker->prepared);
            count = kernel->below_packed(worker->packed, join->words, n, worker->prepared, join->radius + 1, mask,
                                         &worker->head, worker->places, worker->distances);
        } else {
            count = kernel->below(join->planes + first, join->n, join->words, start + n - first, worker->query,
                                  join->radius + 1, mask, worker->places, worker->distances);
        }
        if (count)
            known += unite_all(worker, join->rows[place], first, count);
        if (known > n) {
            remember(worker, join->rows[place], start, n);
            known = 0;
        }
    }
}

/* Return the first mask from `at` on that is at least `least`. */
static size_t first_mask(const Join *join, size_t at, uint32_t least)
{
    size_t end = join->mask_count;
    while (at < end) {
        size_t middle = at + (end - at) / 2;
        if (join->masks[middle] < least)
            at = middle + 1;
        else
            end = middle;
    }
    return at;
}

/* Compare some codes of one half of a bucket with those that follow them and with the later buckets. */
static void visit(Worker *worker, size_t half, size_t from, size_t to, const size_t *firsts)
{
    const Join *join = worker->join;
    const uint32_t *offsets = join->offsets;
    size_t bucket = half / 2, skipped = half % 2 ? 0 : 1; /* halves of other buckets */
    for (size_t bit = 0; bit <= MAX_JOIN_BITS; bit++) {
        if (bit && bucket >> (bit - 1) & 1)
            continue; /* with this as its highest bit, a mask leads to an earlier bucket */
        for (size_t at = firsts[bit]; at < firsts[bit + 1]; at++) {
            size_t other = bucket ^ join->masks[at];
            size_t low = at || skipped ? offsets[2 * other + skipped] : from + 1, high = offsets[2 * other + 2];
            if (at && join->kernel->cross && high - low < SHORT) {
                worker->spent += (to - from) * (high - low + CALL);
                cross(worker, from, to, low, high - low);
                continue;
            }
            for (size_t start = low; start < high; start += worker->most)
                compare(worker, from, to, start, high - start < worker->most ? high - start : worker->most);
        }
    }
}

/* Return the half of a bucket that holds a place. */
static size_t half_of(const Join *join, size_t place)
{
    size_t low = 0, high = 2 * join->buckets;
    while (low + 1 < high) {
        size_t middle = low + (high - low) / 2;
        if (join->offsets[middle] <= place)
            low = middle;
        else
            high = middle;
    }
    return low;
}

int64_t join_link(const Join *join, size_t first, size_t end, uint64_t budget)
{
    size_t spread = join->kernel->pack ? join->kernel->spread : 1;
    size_t firsts[MAX_JOIN_BITS + 2] = {0}; /* of the masks with each highest bit, after 0 */
    for (size_t bit = 0; bit <= MAX_JOIN_BITS; bit++)
        firsts[bit + 1] = first_mask(join, firsts[bit], (uint32_t)1 << bit);
    Worker *worker = aligned_alloc(LINE, (sizeof *worker + LINE - 1) / LINE * LINE);
    if (!worker)
        return -1;
    worker->join = join;
    worker->most = PLANE_BYTES / (8 * join->words * spread) / TILE * TILE;
    worker->spent = 0;
    worker->head = (Head){0};
    size_t place = first;
    for (size_t half = half_of(join, first); place < end && worker->spent <= budget;) {
        while (join->offsets[half + 1] <= place)
            half++;
        size_t stop = join->offsets[half + 1] < end ? join->offsets[half + 1] : end;
        stop = stop - place < QUERIES ? stop : place + QUERIES;
        visit(worker, half, place, stop, firsts);
        place = stop;
    }
    free(worker);
    return (int64_t)place;
}

int join_sort(const uint8_t *codes, size_t n, size_t width, const uint32_t *positions, size_t count,
              const uint8_t *apart, uint32_t *offsets, uint32_t *rows, uint64_t *planes)
{
    size_t halves = (size_t)2 << count, words = (width + 7) / 8;
    uint32_t *keys = malloc((n + 1) * sizeof *keys), *ends = malloc(halves * sizeof *ends);
    int failed = !keys || !ends;
    if (!failed) {
        memset(offsets, 0, (halves + 1) * sizeof *offsets);
        for (size_t row = 0; row < n; row++) {
            const uint8_t *code = codes + row * width;
            uint32_t key = 0;
            for (size_t bit = 0; bit < count; bit++)
                key = key << 1 | (code[positions[bit] / 8] >> (7 - positions[bit] % 8) & 1);
            keys[row] = key << 1 | (apart[row] & 1);
            offsets[keys[row] + 1]++;
        }
        for (size_t half = 0; half < halves; half++)
            offsets[half + 1] += offsets[half];
        memcpy(ends, offsets, halves * sizeof *ends);
        for (size_t row = 0; row < n; row++)
            rows[ends[keys[row]]++] = (uint32_t)row;
        for (size_t place = 0; place < n; place++) {
            if (place + AHEAD < n)
                PREFETCH(codes + rows[place + AHEAD] * width);
            uint64_t code[MAX_WORDS] = {0};
            memcpy(code, codes + rows[place] * width, width);
            for (size_t word = 0; word < words; word++)
                planes[word * n + place] = code[word];
        }
    }
    free(keys);
    free(ends);
    return failed ? -1 : 0;
}
