#include "npz.h"

#include "little_endian.h"
#include "zip.h"

#include <string.h>

#define MAX_HEADER ((size_t)1 << 20) /* bytes of the header of an array */

/* ---- recognition ----------------------------------------------------------------------------- */

static bool is_npy_name(const char *name)
{
    size_t n = strlen(name);
    return n > 4 && strcmp(name + n - 4, ".npy") == 0;
}

bool npz_recognize(const char *file, const unsigned char *bytes, size_t size)
{
    struct zip z;
    struct error ignored;
    if (zip_open(&z, file, bytes, size, &ignored))
        return false;
    bool all = z.n > 0;
    for (size_t i = 0; all && i < z.n; i++)
        all = is_npy_name(z.entries[i].name);
    zip_free(&z);
    return all;
}

/* ---- the header of an array ------------------------------------------------------------------ */

/* {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), } */
struct npy_header {
    const char *p, *end; /* what is left to parse */
    char descr[64];
    bool has_descr, has_order, has_shape, fortran_order;
    size_t rank;
    uint64_t shape[STORED_TENSORS_MAX_RANK];
};

static void skip_spaces(struct npy_header *h)
{
    while (h->p < h->end && strchr(" \t\n", *h->p))
        h->p++;
}

/* Accepts these characters after spaces. */
static bool accept(struct npy_header *h, const char *text)
{
    size_t n = strlen(text);
    skip_spaces(h);
    if ((size_t)(h->end - h->p) < n || memcmp(h->p, text, n) != 0)
        return false;
    h->p += n;
    return true;
}

/* A string in quotes without escapes, of less than `size` bytes. */
static bool parse_string(struct npy_header *h, char *to, size_t size)
{
    skip_spaces(h);
    if (h->p == h->end || (*h->p != '\'' && *h->p != '"'))
        return false;
    char quote = *h->p++;
    size_t n = 0;
    while (h->p < h->end && *h->p != quote && *h->p != '\\' && n + 1 < size)
        to[n++] = *h->p++;
    to[n] = '\0';
    return h->p < h->end && *h->p++ == quote;
}

static bool parse_integer(struct npy_header *h, uint64_t *value)
{
    skip_spaces(h);
    const char *start = h->p;
    for (*value = 0; h->p < h->end && *h->p >= '0' && *h->p <= '9'; h->p++)
        if (__builtin_mul_overflow(*value, 10, value) ||
            __builtin_add_overflow(*value, (uint64_t)(*h->p - '0'), value))
            return false;
    bool found = h->p > start;
    if (h->p < h->end && *h->p == 'L') /* Python 2 */
        h->p++;
    return found;
}

/* (), (3,) or (3, 4) */
static bool parse_shape(struct npy_header *h)
{
    if (!accept(h, "("))
        return false;
    while (!accept(h, ")")) {
        if (h->rank == STORED_TENSORS_MAX_RANK || !parse_integer(h, &h->shape[h->rank++]))
            return false;
        if (!accept(h, ",")) /* needed after the only dimension, allowed after the last */
            return h->rank > 1 && accept(h, ")");
    }
    return true;
}

static bool parse_value(struct npy_header *h, const char *key)
{
    if (strcmp(key, "descr") == 0 && !h->has_descr) {
        h->has_descr = true;
        if (accept(h, "[")) { /* a list of fields: reported by its dtype */
            strcpy(h->descr, "[");
            return true;
        }
        return parse_string(h, h->descr, sizeof h->descr);
    }
    if (strcmp(key, "fortran_order") == 0 && !h->has_order) {
        h->has_order = true;
        h->fortran_order = accept(h, "True");
        return h->fortran_order || accept(h, "False");
    }
    if (strcmp(key, "shape") != 0 || h->has_shape)
        return false;
    h->has_shape = true;
    return parse_shape(h);
}

static bool parse_header(struct npy_header *h)
{
    char key[32];
    if (!accept(h, "{"))
        return false;
    while (!accept(h, "}")) {
        if (!parse_string(h, key, sizeof key) || !accept(h, ":") || !parse_value(h, key))
            return false;
        if (h->descr[0] == '[')
            return true;
        if (!accept(h, ","))
            return accept(h, "}") && h->has_descr && h->has_order && h->has_shape;
    }
    return h->has_descr && h->has_order && h->has_shape;
}

/* ---- dtypes ---------------------------------------------------------------------------------- */

static enum dtype find_dtype(const char *descr)
{
    static const struct {
        const char *descr;
        enum dtype dtype;
    } all[] = {{"f2", DTYPE_F16}, {"f4", DTYPE_F32}, {"f8", DTYPE_F64}, {"i1", DTYPE_I8},
               {"i2", DTYPE_I16}, {"i4", DTYPE_I32}, {"i8", DTYPE_I64}, {"u1", DTYPE_U8},
               {"u2", DTYPE_U16}, {"u4", DTYPE_U32}, {"u8", DTYPE_U64}, {"b1", DTYPE_BOOL},
               {"c8", DTYPE_C64}};
    for (size_t i = 0; *descr && i < sizeof all / sizeof *all; i++)
        if (strchr("<|=", *descr) && strcmp(descr + 1, all[i].descr) == 0)
            return all[i].dtype;
    return DTYPE_NONE;
}

static int reject_dtype(const char *file, const char *name, const char *descr, struct error *e)
{
    if (*descr == '[')
        return error_set(e, "%s: array %.200s has a structured dtype; save each field as an array",
                         file, name);
    if (*descr == '>')
        return error_set(e,
                         "%s: array %.200s has the big-endian dtype %s; save it in little-endian "
                         "order (x.astype(x.dtype.newbyteorder('<')))",
                         file, name, descr);
    if (strcmp(descr, "|O") == 0)
        return error_set(e, "%s: array %.200s contains Python objects, which are not read", file,
                         name);
    if (strchr("<|", *descr) && strcmp(descr + (*descr != '\0'), "V2") == 0)
        return error_set(e,
                         "%s: array %.200s has dtype %s, as numpy stores bfloat16 without its "
                         "name; save it as float32",
                         file, name, descr);
    return error_set(e, "%s: array %.200s has dtype %s, which is not supported", file, name, descr);
}

/* ---- arrays ---------------------------------------------------------------------------------- */

/* magic 6, version 2, header length 2 (version 1) or 4, header, data. -1: no such file. */
static int find_header(const unsigned char *bytes, size_t size, struct npy_header *h)
{
    if (size < 10 || memcmp(bytes, "\x93NUMPY", 6) != 0 || bytes[6] < 1 || bytes[6] > 3)
        return -1;
    size_t start = bytes[6] == 1 ? 10 : 12;
    if (size < start)
        return -1;
    size_t length = little_endian_read(bytes + 8, start - 8);
    if (length > size - start || length > MAX_HEADER)
        return -1;
    *h = (struct npy_header){.p = (const char *)bytes + start,
                             .end = (const char *)bytes + start + length};
    return 0;
}

/* Fortran order: the first dimension is the one whose elements are adjacent. */
static void set_strides(const struct npy_header *h, struct stored_tensor *t, uint64_t *stride)
{
    uint64_t step = 1;
    for (size_t d = 0; d < h->rank; step *= h->shape[d++])
        stride[d] = step;
    t->stride = stride;
}

static int add_array(struct stored_tensors *s, const char *record, const unsigned char *bytes,
                     size_t size, struct error *e)
{
    struct npy_header h;
    uint64_t stride[STORED_TENSORS_MAX_RANK];
    size_t elements, needed, length = strlen(record) - 4;
    if (find_header(bytes, size, &h))
        return error_set(e, "%s: %.200s is not a .npy file of version 1 to 3", s->file, record);
    const unsigned char *data = (const unsigned char *)h.end;
    if (!parse_header(&h))
        return error_set(e, "%s: %.200s has a damaged header", s->file, record);
    struct stored_tensor t = {
        .dtype = find_dtype(h.descr), .rank = h.rank, .shape = h.shape, .data = data};
    if (t.dtype == DTYPE_NONE)
        return reject_dtype(s->file, record, h.descr, e);
    if (stored_tensors_check_size(s->file, record, &t, &elements, &needed, e) < 0)
        return -1;
    if (needed != size - (size_t)(data - bytes))
        return error_set(e, "%s: array %.200s needs %zu bytes, but its record has %zu", s->file,
                         record, needed, size - (size_t)(data - bytes));
    if (h.fortran_order && h.rank > 1 && elements > 0)
        set_strides(&h, &t, stride);
    return stored_tensors_add(s, record, length, &t, e);
}

int npz_list_tensors(struct stored_tensors *s, const unsigned char *bytes, size_t size,
                     struct error *e)
{
    struct zip z;
    int failed = 0;
    if (zip_open(&z, s->file, bytes, size, e) < 0)
        return -1;
    for (size_t i = 0; !failed && i < z.n; i++) {
        const unsigned char *record = zip_find_entry_bytes(&z, &z.entries[i], e);
        failed = record ? add_array(s, z.entries[i].name, record, z.entries[i].size, e) : -1;
    }
    s->header = bytes + z.directory_start; /* the names and checksums of all records */
    s->header_size = size - z.directory_start;
    zip_free(&z);
    return failed;
}
