#include "tensor.h"

#include <string.h>

#define BLOCK_ELEMENTS ((size_t)65536)
#define LONG_ROW       ((size_t)1 << 20)

struct unknown_keys unknown_keys_copy(struct arena *a, struct unknown_keys x)
{
    if (x.n)
        x.bytes = arena_copy(a, x.bytes, x.size);
    return x;
}

struct joined_vector *joined_vectors_copy(struct arena *a, size_t n,
                                          const struct joined_vector *from, size_t levels)
{
    struct joined_vector *to = arena_copy(a, from, n * sizeof *from);
    for (size_t i = 0; i < n; i++) {
        struct joined_vector *v = &to[i];
        v->name = arena_copy_text(a, v->name);
        v->weights = arena_copy(a, v->weights, v->n_weights * sizeof *v->weights);
        v->unknown_keys = unknown_keys_copy(a, v->unknown_keys);
        v->n_joined = levels > 1 ? v->n_joined : 0;
        v->joined = v->n_joined ? joined_vectors_copy(a, v->n_joined, v->joined, levels - 1) : NULL;
    }
    return to;
}

struct tensor tensor_copy(struct arena *a, const struct tensor *from)
{
    struct tensor t = *from;
    t.name = arena_copy_text(a, from->name);
    t.base_name = arena_copy_text(a, from->base_name);
    t.shape = arena_copy(a, from->shape, from->rank * sizeof *from->shape);
    t.unknown_keys = unknown_keys_copy(a, from->unknown_keys);
    t.vectors = arena_copy(a, from->vectors, from->n_vectors * sizeof *from->vectors);
    for (size_t k = 0; k < t.n_vectors; k++) {
        struct vector *v = &t.vectors[k];
        /* Usually the source's name is the output's name: then one copy is enough. */
        bool same_name = v->source && strcmp(v->source, from->name) == 0;
        v->source = same_name ? t.name : arena_copy_text(a, v->source);
        vector_set_weights(v, a, v->n_weights, v->weights);
        v->joined = joined_vectors_copy(a, v->n_joined, v->joined, SIZE_MAX);
        v->unknown_payload_keys = unknown_keys_copy(a, v->unknown_payload_keys);
        v->unknown_keys = unknown_keys_copy(a, v->unknown_keys);
    }
    return t;
}

/* ---- shapes ---------------------------------------------------------------------------------- */

size_t tensor_elements(const struct tensor *t)
{
    size_t n = 1;
    for (size_t i = 0; i < t->rank; i++)
        n *= t->shape[i];
    return n;
}

size_t tensor_columns(const struct tensor *t)
{
    return t->rank ? t->shape[t->rank - 1] : 1;
}

const char *tensor_format_shape(struct arena *a, size_t rank, const uint64_t *shape)
{
    const char *text = "(";
    for (size_t i = 0; i < rank; i++)
        text = arena_printf(a, "%s%s%llu", text, i ? ", " : "", (unsigned long long)shape[i]);
    return arena_printf(a, "%s%s)", text, rank == 1 ? "," : "");
}

int tensor_check_shape(const char *name, size_t rank, const uint64_t *shape, struct error *e)
{
    if (rank > TENSOR_RANK_MAX)
        return error_set(e, "tensor %s has %zu dimensions; the maximum is %d", name, rank,
                         TENSOR_RANK_MAX);
    bool empty = false;
    uint64_t bytes = 8;
    bool overflow = false;
    for (size_t i = 0; i < rank; i++) {
        empty |= shape[i] == 0;
        overflow |= shape[i] != 0 && __builtin_mul_overflow(bytes, shape[i], &bytes);
    }
    if (overflow || bytes > INT64_MAX)
        return error_set(e, "the shape of tensor %s exceeds 2^63 bytes%s", name,
                         empty ? " without its dimensions of 0" : "");
    return 0;
}

bool tensor_same_shape(const struct tensor *a, const struct tensor *b)
{
    return a->rank == b->rank && memcmp(a->shape, b->shape, a->rank * sizeof *a->shape) == 0;
}

bool tensor_is_float(const struct tensor *t)
{
    for (size_t k = 0; k < t->n_vectors; k++)
        if (!dtype_is_float(t->vectors[k].dtype))
            return false;
    return true;
}

/* ---- blocks ---------------------------------------------------------------------------------- */

/* A tensor with elements of less than a byte is a single block. */
static bool has_sub_byte_elements(const struct tensor *t)
{
    for (size_t k = 0; k < t->n_vectors; k++)
        if (dtype_bits(t->vectors[k].dtype) % 8)
            return true;
    return false;
}

size_t tensor_block_elements(const struct tensor *t)
{
    size_t n = tensor_elements(t), columns = tensor_columns(t);
    if (n == 0 || has_sub_byte_elements(t))
        return n;
    if (columns > LONG_ROW)
        return BLOCK_ELEMENTS;
    size_t rows = columns < BLOCK_ELEMENTS ? BLOCK_ELEMENTS / columns : 1;
    return rows * columns < n ? rows * columns : n;
}

static size_t divide_rounding_up(size_t n, size_t by)
{
    return n / by + (n % by != 0);
}

size_t tensor_block_count(const struct tensor *t)
{
    size_t n = tensor_elements(t), columns = tensor_columns(t), block = tensor_block_elements(t);
    if (n == 0)
        return 0;
    if (columns > LONG_ROW && block < n)
        return n / columns * divide_rounding_up(columns, block);
    return divide_rounding_up(n, block);
}

void tensor_block_range(const struct tensor *t, size_t index, size_t *first, size_t *n)
{
    size_t all = tensor_elements(t), columns = tensor_columns(t), block = tensor_block_elements(t);
    size_t end = all;
    *first = index * block;
    if (columns > LONG_ROW && block < all) {
        size_t per_row = divide_rounding_up(columns, block), row = index / per_row;
        *first = row * columns + index % per_row * block;
        end = (row + 1) * columns;
    }
    *n = end - *first < block ? end - *first : block;
}

size_t tensor_block_containing(const struct tensor *t, size_t element)
{
    size_t columns = tensor_columns(t), block = tensor_block_elements(t);
    if (columns > LONG_ROW && block < tensor_elements(t))
        return element / columns * divide_rounding_up(columns, block) + element % columns / block;
    return element / block;
}

/* ---- vectors --------------------------------------------------------------------------------- */

static const double ONE[1] = {1.0};

struct vector vector_with_defaults(size_t model, const char *source, enum dtype dtype,
                                   enum dtype stored_dtype)
{
    return (struct vector){.model = model,
                           .source = source,
                           .dtype = dtype,
                           .stored_dtype = stored_dtype,
                           .n_weights = 1,
                           .weights = ONE,
                           .l1_before = NAN,
                           .l1 = NAN,
                           .keep_probability = NAN};
}

void vector_set_attributes(struct vector *v, double l1_before, double keep_probability)
{
    v->l1_before = l1_before;
    v->l1 = NAN;
    v->keep_probability = keep_probability;
    v->unknown_payload_keys = (struct unknown_keys){0};
}

void vector_set_weights(struct vector *v, struct arena *a, size_t n, const double *weights)
{
    v->n_weights = n;
    v->weights = n == 1 && weights[0] == 1 ? ONE : arena_copy(a, weights, n * sizeof *weights);
}

bool tensor_can_split_into_chunks(const struct tensor *t, size_t m)
{
    size_t n = tensor_elements(t);
    return m == 1 || (m && m <= n && (m - 1) * divide_rounding_up(n, m) < n);
}

size_t tensor_find_weights_at(const struct tensor *t, size_t first, size_t n, double *w)
{
    size_t all = tensor_elements(t);
    for (size_t k = 0; k < t->n_vectors; k++) {
        const struct vector *v = &t->vectors[k];
        size_t chunk = divide_rounding_up(all, v->n_weights), end = (first / chunk + 1) * chunk;
        w[k] = v->weights[v->n_weights == 1 ? 0 : first / chunk];
        if (v->n_weights > 1 && end - first < n)
            n = end - first;
    }
    return n;
}

bool vector_is_weighted(const struct vector *v)
{
    for (size_t i = 0; i < v->n_weights; i++)
        if (v->weights[i] != 1)
            return true;
    return false;
}
