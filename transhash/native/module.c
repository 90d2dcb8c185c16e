/* The Python interface. transhash/hamming.py checks the arguments; lengths are checked again here. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdlib.h>
#include <string.h>

#include "join.h"
#include "mih.h"
#include "scan.h"

static const Kernel *const kernels[] = {
#if defined(__GNUC__) && defined(__x86_64__)
    &avx512_kernel, &avx2_kernel,
#endif
#if defined(__ARM_NEON) && defined(__aarch64__)
    &neon_kernel,
#endif
    &portable_kernel,
};
enum { KERNELS = sizeof kernels / sizeof *kernels };

static const Kernel *find(const char *name)
{
    for (int place = 0; place < KERNELS; place++)
        if (!strcmp(kernels[place]->name, name) && kernels[place]->supported())
            return kernels[place];
    PyErr_Format(PyExc_ValueError, "instruction set %s is not available", name);
    return NULL;
}

static PyObject *names(PyObject *module, PyObject *none)
{
    (void)module, (void)none;
    PyObject *list = PyList_New(0);
    for (int place = 0; list && place < KERNELS; place++) {
        if (!kernels[place]->supported())
            continue;
        PyObject *name = PyUnicode_FromString(kernels[place]->name);
        if (!name || PyList_Append(list, name))
            Py_CLEAR(list);
        Py_XDECREF(name);
    }
    return list;
}

/* Arrays of one call, released together. */
typedef struct {
    Py_buffer held[9];
    int count;
} Arrays;

static void release(Arrays *arrays)
{
    while (arrays->count)
        PyBuffer_Release(&arrays->held[--arrays->count]);
}

/* Return the memory of a contiguous array of `bytes` bytes; of any length if that is negative. */
static void *array(Arrays *arrays, PyObject *from, Py_ssize_t bytes, int writable, Py_ssize_t *length)
{
    Py_buffer *view = &arrays->held[arrays->count];
    if (PyObject_GetBuffer(from, view, writable ? PyBUF_WRITABLE | PyBUF_C_CONTIGUOUS : PyBUF_C_CONTIGUOUS))
        return NULL;
    arrays->count++;
    if (bytes >= 0 && view->len != bytes) {
        PyErr_Format(PyExc_ValueError, "an array of %zd bytes where %zd are expected", view->len, bytes);
        return NULL;
    }
    if (length)
        *length = view->len;
    return view->buf;
}

/* Fill a scan, except its pairs, from (isa, width, queries, segments, allowed). */
static int scan_of(Arrays *arrays, Scan *scan, const char *isa, Py_ssize_t width, PyObject *queries,
                   PyObject *segments, PyObject *allowed, Py_ssize_t *segment_count)
{
    Py_ssize_t bytes;
    *scan = (Scan){.kernel = find(isa), .width = (size_t)width};
    if (!scan->kernel)
        return -1;
    if (width < 1 || width > 8 * MAX_WORDS) {
        PyErr_Format(PyExc_ValueError, "codes of %zd bytes", width);
        return -1;
    }
    scan->queries = array(arrays, queries, -1, 0, &bytes);
    scan->segments = scan->queries ? array(arrays, segments, -1, 0, segment_count) : NULL;
    if (!scan->segments || (allowed != Py_None && !(scan->allowed = array(arrays, allowed, -1, 0, NULL))))
        return -1;
    scan->query_count = (size_t)(bytes / width);
    *segment_count /= (Py_ssize_t)sizeof(Segment);
    return 0;
}

/* The same with pairs. */
static int pairs_of(Arrays *arrays, Scan *scan, const char *isa, Py_ssize_t width, PyObject *queries,
                    PyObject *segments, PyObject *pairs, PyObject *allowed)
{
    Py_ssize_t segment_count, both;
    if (scan_of(arrays, scan, isa, width, queries, segments, allowed, &segment_count) ||
        !(scan->pairs = array(arrays, pairs, -1, 0, &both)))
        return -1;
    scan->pair_count = (size_t)both / sizeof(Pair);
    for (size_t pair = 0; pair < scan->pair_count; pair++) {
        if (scan->pairs[pair].segment >= (size_t)segment_count || scan->pairs[pair].query >= scan->query_count) {
            PyErr_SetString(PyExc_ValueError, "a pair outside the segments or queries");
            return -1;
        }
    }
    return 0;
}

#define SCAN "snOOOO"

static PyObject *done(Arrays *arrays, int failed)
{
    release(arrays);
    if (failed)
        return PyErr_Occurred() ? NULL : PyErr_NoMemory();
    Py_RETURN_NONE;
}

/* Check k and the results (query_count, k) of a search. */
static int results_of(Arrays *arrays, const Scan *scan, Py_ssize_t k, PyObject *ids, PyObject *distances, int64_t **id,
                      int32_t **distance)
{
    if (k < 1) {
        PyErr_SetString(PyExc_ValueError, "k must be at least 1");
        return -1;
    }
    *id = array(arrays, ids, (Py_ssize_t)scan->query_count * k * 8, 1, NULL);
    *distance = *id ? array(arrays, distances, (Py_ssize_t)scan->query_count * k * 4, 1, NULL) : NULL;
    return *distance ? 0 : -1;
}

static PyObject *number(Arrays *arrays, int64_t result)
{
    release(arrays);
    if (result < 0)
        return PyErr_Occurred() ? NULL : PyErr_NoMemory();
    return PyLong_FromLongLong(result);
}

static PyObject *nearest(PyObject *module, PyObject *args)
{
    (void)module;
    Arrays arrays = {.count = 0};
    Scan scan;
    const char *isa;
    Py_ssize_t width, k;
    PyObject *queries, *segments, *pairs, *allowed, *ids, *distances;
    int64_t *id, unfilled = -1;
    int32_t *distance;
    if (!PyArg_ParseTuple(args, SCAN "nOO", &isa, &width, &queries, &segments, &pairs, &allowed, &k, &ids, &distances))
        return NULL;
    if (!pairs_of(&arrays, &scan, isa, width, queries, segments, pairs, allowed) &&
        !results_of(&arrays, &scan, k, ids, distances, &id, &distance)) {
        Py_BEGIN_ALLOW_THREADS
        unfilled = scan_nearest(&scan, (size_t)k, id, distance);
        Py_END_ALLOW_THREADS
    }
    return number(&arrays, unfilled);
}

static PyObject *nearest_lists(PyObject *module, PyObject *args)
{
    (void)module;
    Arrays arrays = {.count = 0};
    Scan scan;
    const char *isa;
    Py_ssize_t width, probe_count, k, list_count;
    PyObject *queries, *segments, *centroids, *allowed, *ids, *distances;
    int64_t *id, unfilled = -1;
    int32_t *distance;
    if (!PyArg_ParseTuple(args, "snOOOnOnOO", &isa, &width, &queries, &segments, &centroids, &probe_count, &allowed, &k,
                          &ids, &distances))
        return NULL;
    int failed = scan_of(&arrays, &scan, isa, width, queries, segments, allowed, &list_count);
    const uint8_t *centroid = failed ? NULL : array(&arrays, centroids, list_count * width, 0, NULL);
    if (centroid && (probe_count < 1 || probe_count > list_count)) {
        PyErr_SetString(PyExc_ValueError, "more probes than lists, or none");
        centroid = NULL;
    }
    if (centroid && !results_of(&arrays, &scan, k, ids, distances, &id, &distance)) {
        Py_BEGIN_ALLOW_THREADS
        unfilled = scan_lists(&scan, centroid, (size_t)list_count, (size_t)probe_count, (size_t)k, id, distance);
        Py_END_ALLOW_THREADS
    }
    return number(&arrays, unfilled);
}

static PyObject *gather(PyObject *module, PyObject *args)
{
    (void)module;
    Arrays arrays = {.count = 0};
    Scan scan;
    const char *isa;
    Py_ssize_t width, radius, bytes;
    PyObject *queries, *segments, *pairs, *allowed, *matches;
    int64_t found = -1;
    if (!PyArg_ParseTuple(args, SCAN "nO", &isa, &width, &queries, &segments, &pairs, &allowed, &radius, &matches))
        return NULL;
    int failed = pairs_of(&arrays, &scan, isa, width, queries, segments, pairs, allowed);
    int64_t *out = failed ? NULL : array(&arrays, matches, -1, 1, &bytes);
    if (out) {
        Py_BEGIN_ALLOW_THREADS
        found = scan_gather(&scan, (uint32_t)radius, (size_t)bytes / (2 * sizeof *out), out);
        Py_END_ALLOW_THREADS
    }
    return number(&arrays, found);
}

static PyObject *count(PyObject *module, PyObject *args)
{
    (void)module;
    Arrays arrays = {.count = 0};
    Scan scan;
    const char *isa;
    Py_ssize_t width, radius;
    PyObject *queries, *segments, *pairs, *allowed, *counts;
    if (!PyArg_ParseTuple(args, SCAN "nO", &isa, &width, &queries, &segments, &pairs, &allowed, &radius, &counts))
        return NULL;
    int failed = pairs_of(&arrays, &scan, isa, width, queries, segments, pairs, allowed);
    int64_t *cells = failed ? NULL : array(&arrays, counts, (Py_ssize_t)scan.query_count * (radius + 1) * 8, 1, NULL);
    failed = failed || !cells;
    if (!failed) {
        Py_BEGIN_ALLOW_THREADS
        failed = scan_count(&scan, (uint32_t)radius, cells);
        Py_END_ALLOW_THREADS
    }
    return done(&arrays, failed);
}

static PyObject *fill(PyObject *module, PyObject *args)
{
    (void)module;
    Arrays arrays = {.count = 0};
    Scan scan;
    const char *isa;
    Py_ssize_t width, radius;
    PyObject *queries, *segments, *pairs, *allowed, *cursors, *ids;
    if (!PyArg_ParseTuple(args, SCAN "nOO", &isa, &width, &queries, &segments, &pairs, &allowed, &radius, &cursors,
                          &ids))
        return NULL;
    int failed = pairs_of(&arrays, &scan, isa, width, queries, segments, pairs, allowed);
    int64_t *cells = failed ? NULL : array(&arrays, cursors, (Py_ssize_t)scan.query_count * (radius + 1) * 8, 1, NULL);
    int64_t *out = cells ? array(&arrays, ids, -1, 1, NULL) : NULL;
    failed = failed || !out;
    if (!failed) {
        Py_BEGIN_ALLOW_THREADS
        failed = scan_fill(&scan, (uint32_t)radius, cells, out);
        Py_END_ALLOW_THREADS
    }
    return done(&arrays, failed);
}

static PyObject *tally(PyObject *module, PyObject *args)
{
    (void)module;
    Arrays arrays = {.count = 0};
    const char *isa;
    Py_ssize_t width, query_bytes, code_bytes;
    PyObject *queries, *codes, *hits, *table;
    if (!PyArg_ParseTuple(args, "snOOOO", &isa, &width, &queries, &codes, &hits, &table))
        return NULL;
    const Kernel *kernel = find(isa);
    int failed = !kernel;
    if (!failed && (width < 1 || width > 8 * MAX_WORDS)) {
        PyErr_Format(PyExc_ValueError, "codes of %zd bytes", width);
        failed = -1;
    }
    const uint8_t *query = failed ? NULL : array(&arrays, queries, -1, 0, &query_bytes);
    const uint8_t *code = query ? array(&arrays, codes, -1, 0, &code_bytes) : NULL;
    Py_ssize_t query_count = code ? query_bytes / width : 0, n = code ? code_bytes / width : 0;
    const uint8_t *hit = code && hits != Py_None ? array(&arrays, hits, query_count * n, 0, NULL) : NULL;
    Py_ssize_t tables = hits == Py_None ? 1 : 2;
    int64_t *cells = NULL;
    if (code && (hit || hits == Py_None))
        cells = array(&arrays, table, query_count * tables * (8 * width + 1) * 8, 1, NULL);
    failed = failed || !cells;
    if (!failed) {
        Py_BEGIN_ALLOW_THREADS
        failed = scan_tally(kernel, (size_t)width, query, (size_t)query_count, code, (size_t)n, hit, cells);
        Py_END_ALLOW_THREADS
    }
    return done(&arrays, failed);
}

/* Check the number of bits of every table, which together are those of a code; return their number, or -1. */
static Py_ssize_t key_bits(Arrays *arrays, PyObject *from, Py_ssize_t width, const uint32_t **bits)
{
    Py_ssize_t bytes = 0;
    uint64_t sum = 0;
    if (width < 1 || width > 8 * MAX_WORDS || !(*bits = array(arrays, from, -1, 0, &bytes))) {
        if (!PyErr_Occurred())
            PyErr_Format(PyExc_ValueError, "codes of %zd bytes", width);
        return -1;
    }
    Py_ssize_t count = bytes / (Py_ssize_t)sizeof **bits;
    for (Py_ssize_t table = 0; table < count; table++)
        sum += (*bits)[table] < 1 || (*bits)[table] > (*bits)[0] || (*bits)[0] > MAX_KEY_BITS ? UINT32_MAX
                                                                                           : (*bits)[table];
    if (count < 1 || count > MAX_TABLES || sum != 8 * (uint64_t)width) {
        PyErr_SetString(PyExc_ValueError, "the tables do not divide the bits of a code");
        return -1;
    }
    return count;
}

/* Fill tables from (isa, width, codes, bits, offsets, rows, allowed). */
static int tables_of(Arrays *arrays, Tables *tables, const char *isa, Py_ssize_t width, PyObject *codes,
                     PyObject *key_lengths, PyObject *offsets, PyObject *rows, PyObject *allowed)
{
    const uint32_t *bits;
    Py_ssize_t code_bytes, row_bytes, buckets = 0, table_count = key_bits(arrays, key_lengths, width, &bits);
    const Kernel *kernel = table_count < 0 ? NULL : find(isa);
    if (!kernel || !(tables->codes = array(arrays, codes, -1, 0, &code_bytes)))
        return -1;
    for (Py_ssize_t table = 0; table < table_count; table++)
        buckets += ((Py_ssize_t)1 << bits[table]) + 1;
    const uint32_t *offset = array(arrays, offsets, 4 * buckets, 0, NULL);
    const uint32_t *row = offset ? array(arrays, rows, -1, 0, &row_bytes) : NULL;
    if (!row)
        return -1;
    Py_ssize_t n = code_bytes / width, others = row_bytes / 4 - n;
    if (n > (Py_ssize_t)ROW + 1 || others < 0 || others % (table_count > 1 ? table_count - 1 : others + 1)) {
        PyErr_SetString(PyExc_ValueError, "the tables do not have the rows of the codes");
        return -1;
    }
    tables->n = (size_t)n;
    tables->width = (size_t)width;
    tables->table_count = (size_t)table_count;
    tables->popcount = kernel != &portable_kernel;
    for (Py_ssize_t table = 0, start = 0; table < table_count; start += bits[table++]) {
        size_t count = table ? (size_t)(others / (table_count - 1)) : tables->n;
        tables->tables[table] = (Table){(unsigned)start, bits[table], offset, row, count};
        offset += ((size_t)1 << bits[table]) + 1;
        row += count;
    }
    tables->allowed = NULL;
    if (allowed != Py_None && !(tables->allowed = array(arrays, allowed, n, 0, NULL)))
        return -1;
    return 0;
}

#define TABLES "snOOOOO"

static PyObject *mih_nearest_(PyObject *module, PyObject *args)
{
    (void)module;
    Arrays arrays = {.count = 0};
    Tables tables;
    const char *isa;
    Py_ssize_t width, k, bytes;
    double count, budget, trial;
    PyObject *codes, *bits, *offsets, *rows, *allowed, *queries, *ids, *distances, *costs;
    if (!PyArg_ParseTuple(args, TABLES "OndddOOO", &isa, &width, &codes, &bits, &offsets, &rows, &allowed, &queries, &k,
                          &count, &budget, &trial, &ids, &distances, &costs))
        return NULL;
    int failed = tables_of(&arrays, &tables, isa, width, codes, bits, offsets, rows, allowed);
    if (!failed && k < 1) {
        PyErr_SetString(PyExc_ValueError, "k must be at least 1");
        failed = -1;
    }
    const uint8_t *query = failed ? NULL : array(&arrays, queries, -1, 0, &bytes);
    Py_ssize_t query_count = query ? bytes / width : 0;
    int64_t *id = query ? array(&arrays, ids, query_count * k * 8, 1, NULL) : NULL;
    int32_t *distance = id ? array(&arrays, distances, query_count * k * 4, 1, NULL) : NULL;
    double *cost = distance ? array(&arrays, costs, query_count * 8, 1, NULL) : NULL;
    failed = failed || !cost;
    if (!failed) {
        Py_BEGIN_ALLOW_THREADS
        failed = mih_nearest(&tables, query, (size_t)query_count, (size_t)k, count, budget, trial, id,
                             distance, cost);
        Py_END_ALLOW_THREADS
    }
    return done(&arrays, failed);
}

static PyObject *mih_within_(PyObject *module, PyObject *args)
{
    (void)module;
    Arrays arrays = {.count = 0};
    Tables tables;
    const char *isa;
    Py_ssize_t width, radius, bytes;
    double budget;
    PyObject *codes, *bits, *offsets, *rows, *allowed, *queries, *counts;
    if (!PyArg_ParseTuple(args, TABLES "OndO", &isa, &width, &codes, &bits, &offsets, &rows, &allowed, &queries,
                          &radius, &budget, &counts))
        return NULL;
    int failed = tables_of(&arrays, &tables, isa, width, codes, bits, offsets, rows, allowed);
    if (!failed && (radius < 0 || radius > 8 * width)) {
        PyErr_SetString(PyExc_ValueError, "the radius must be from 0 to the number of bits");
        failed = -1;
    }
    const uint8_t *query = failed ? NULL : array(&arrays, queries, -1, 0, &bytes);
    Py_ssize_t query_count = query ? bytes / width : 0;
    int64_t *count = query ? array(&arrays, counts, query_count * 8, 1, NULL) : NULL;
    uint64_t *keys = NULL;
    int64_t total = -1;
    if (count) {
        Py_BEGIN_ALLOW_THREADS
        total = mih_within(&tables, query, (size_t)query_count, (uint32_t)radius, budget, count, &keys);
        Py_END_ALLOW_THREADS
    }
    PyObject *out = total < 0 ? NULL : PyBytes_FromStringAndSize((const char *)keys, (Py_ssize_t)total * 8);
    free(keys);
    release(&arrays);
    return out || PyErr_Occurred() ? out : PyErr_NoMemory();
}

static PyObject *mih_sort_(PyObject *module, PyObject *args)
{
    (void)module;
    Arrays arrays = {.count = 0};
    Py_ssize_t width, bytes;
    const uint32_t *bits;
    PyObject *codes, *key_lengths, *offsets, *rows;
    if (!PyArg_ParseTuple(args, "nOOOO", &width, &codes, &key_lengths, &offsets, &rows))
        return NULL;
    int failed = key_bits(&arrays, key_lengths, width, &bits) < 0;
    const uint8_t *code = failed ? NULL : array(&arrays, codes, -1, 0, &bytes);
    uint32_t *offset = code ? array(&arrays, offsets, (((Py_ssize_t)1 << bits[0]) + 1) * 4, 1, NULL) : NULL;
    uint32_t *row = offset ? array(&arrays, rows, bytes / width * 4, 1, NULL) : NULL;
    int64_t distinct = -1;
    if (row && bytes / width > (Py_ssize_t)ROW + 1) {
        PyErr_SetString(PyExc_ValueError, "too many codes");
    } else if (row) {
        Py_BEGIN_ALLOW_THREADS
        distinct = mih_sort(code, (size_t)(bytes / width), (size_t)width, bits[0], offset, row);
        Py_END_ALLOW_THREADS
    }
    return number(&arrays, distinct);
}

static PyObject *mih_fill_(PyObject *module, PyObject *args)
{
    (void)module;
    Arrays arrays = {.count = 0};
    Py_ssize_t width, table, bytes, distinct = 0;
    const uint32_t *bits;
    PyObject *codes, *key_lengths, *first, *offsets, *rows;
    if (!PyArg_ParseTuple(args, "nOOOnOO", &width, &codes, &key_lengths, &first, &table, &offsets, &rows))
        return NULL;
    Py_ssize_t table_count = key_bits(&arrays, key_lengths, width, &bits);
    int failed = table_count < 0;
    if (!failed && (table < 1 || table >= table_count)) {
        PyErr_SetString(PyExc_ValueError, "no such table");
        failed = -1;
    }
    const uint8_t *code = failed ? NULL : array(&arrays, codes, -1, 0, &bytes);
    const uint32_t *sorted = code ? array(&arrays, first, bytes / width * 4, 0, NULL) : NULL;
    uint32_t *offset = sorted ? array(&arrays, offsets, (((Py_ssize_t)1 << bits[table]) + 1) * 4, 1, NULL) : NULL;
    uint32_t *row = NULL;
    if (offset) {
        for (Py_ssize_t place = 0; place < bytes / width; place++)
            distinct += !(sorted[place] & REPEATED);
        row = array(&arrays, rows, distinct * 4, 1, NULL);
    }
    failed = failed || !row;
    if (!failed) {
        unsigned start = 0;
        for (Py_ssize_t before = 0; before < table; before++)
            start += bits[before];
        Py_BEGIN_ALLOW_THREADS
        failed = mih_fill(code, (size_t)(bytes / width), (size_t)width, sorted, start, bits[table], offset, row);
        Py_END_ALLOW_THREADS
    }
    return done(&arrays, failed);
}

/* Return the number of buckets for a key of `bits` bits; 0, with an exception, if it is too long. */
static Py_ssize_t buckets_of(Py_ssize_t width, Py_ssize_t bits)
{
    if (width >= 1 && width <= 8 * MAX_WORDS && bits >= 0 && bits <= MAX_JOIN_BITS)
        return (Py_ssize_t)1 << bits;
    PyErr_Format(PyExc_ValueError, "a key of %zd bits for codes of %zd bytes", bits, width);
    return 0;
}

static PyObject *join_sort_(PyObject *module, PyObject *args)
{
    (void)module;
    Arrays arrays = {.count = 0};
    Py_ssize_t width, bytes, key_bytes;
    PyObject *codes, *positions, *apart, *offsets, *rows, *planes;
    int failed = -1;
    if (!PyArg_ParseTuple(args, "nOOOOOO", &width, &codes, &positions, &apart, &offsets, &rows, &planes))
        return NULL;
    const uint32_t *position = array(&arrays, positions, -1, 0, &key_bytes);
    Py_ssize_t count = key_bytes / 4, buckets = position ? buckets_of(width, count) : 0;
    const uint8_t *code = buckets ? array(&arrays, codes, -1, 0, &bytes) : NULL;
    Py_ssize_t n = code ? bytes / width : 0;
    const uint8_t *flag = code ? array(&arrays, apart, n, 0, NULL) : NULL;
    uint32_t *offset = flag ? array(&arrays, offsets, (2 * buckets + 1) * 4, 1, NULL) : NULL;
    uint32_t *row = offset ? array(&arrays, rows, n * 4, 1, NULL) : NULL;
    uint64_t *plane = row ? array(&arrays, planes, (width + 7) / 8 * n * 8, 1, NULL) : NULL;
    for (Py_ssize_t bit = 0; plane && bit < count; bit++) {
        if (position[bit] >= 8 * (size_t)width) {
            PyErr_SetString(PyExc_ValueError, "a bit outside the codes");
            plane = NULL;
        }
    }
    if (plane && n > (Py_ssize_t)UINT32_MAX) {
        PyErr_SetString(PyExc_ValueError, "too many codes");
    } else if (plane) {
        Py_BEGIN_ALLOW_THREADS
        failed = join_sort(code, (size_t)n, (size_t)width, position, (size_t)count, flag, offset, row, plane);
        Py_END_ALLOW_THREADS
    }
    return done(&arrays, failed);
}

static PyObject *join_link_(PyObject *module, PyObject *args)
{
    (void)module;
    Arrays arrays = {.count = 0};
    const char *isa;
    Py_ssize_t width, key_bits, bytes, mask_bytes, first, end, radius, budget;
    int64_t reached = -1;
    PyObject *planes, *rows, *offsets, *masks, *parents;
    if (!PyArg_ParseTuple(args, "snnOOOOOnnnn", &isa, &width, &key_bits, &planes, &rows, &offsets, &masks, &parents,
                          &radius, &first, &end, &budget))
        return NULL;
    Py_ssize_t buckets = buckets_of(width, key_bits);
    Join join = {.kernel = buckets ? find(isa) : NULL, .words = (size_t)(width + 7) / 8, .buckets = (size_t)buckets};
    join.rows = join.kernel ? array(&arrays, rows, -1, 0, &bytes) : NULL;
    Py_ssize_t n = join.rows ? bytes / 4 : 0;
    join.planes = join.rows ? array(&arrays, planes, (Py_ssize_t)join.words * n * 8, 0, NULL) : NULL;
    join.offsets = join.planes ? array(&arrays, offsets, (2 * buckets + 1) * 4, 0, NULL) : NULL;
    join.masks = join.offsets ? array(&arrays, masks, -1, 0, &mask_bytes) : NULL;
    join.parents = join.masks ? array(&arrays, parents, n * 4, 1, NULL) : NULL;
    if (join.parents && (radius < 0 || radius > 8 * width || first < 0 || first > end || end > n || budget < 0 ||
                         mask_bytes < 4 || join.masks[0] || join.masks[mask_bytes / 4 - 1] >= (size_t)buckets ||
                         join.offsets[2 * buckets] != (size_t)n)) {
        PyErr_SetString(PyExc_ValueError, "a radius, places or masks outside the codes");
    } else if (join.parents) {
        join.n = (size_t)n;
        join.radius = (uint32_t)radius;
        join.mask_count = (size_t)mask_bytes / 4;
        Py_BEGIN_ALLOW_THREADS
        reached = join_link(&join, (size_t)first, (size_t)end, (uint64_t)budget);
        Py_END_ALLOW_THREADS
    }
    return number(&arrays, reached);
}

static PyMethodDef methods[] = {
    {"names", names, METH_NOARGS, NULL},
    {"nearest", nearest, METH_VARARGS, NULL},
    {"nearest_lists", nearest_lists, METH_VARARGS, NULL},
    {"gather", gather, METH_VARARGS, NULL},
    {"count", count, METH_VARARGS, NULL},
    {"fill", fill, METH_VARARGS, NULL},
    {"tally", tally, METH_VARARGS, NULL},
    {"mih_nearest", mih_nearest_, METH_VARARGS, NULL},
    {"mih_within", mih_within_, METH_VARARGS, NULL},
    {"mih_sort", mih_sort_, METH_VARARGS, NULL},
    {"mih_fill", mih_fill_, METH_VARARGS, NULL},
    {"join_sort", join_sort_, METH_VARARGS, NULL},
    {"join_link", join_link_, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_scan", NULL, 0, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__scan(void) { return PyModule_Create(&definition); }
