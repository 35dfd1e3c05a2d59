#include "stored_tensors.h"

#include "utf8.h"

#include <stdlib.h>
#include <string.h>

/* ---- the list -------------------------------------------------------------------------------- */

static int check_tensor_name(const struct stored_tensors *s, const char *name, size_t length,
                             struct error *e)
{
    size_t i = utf8_valid_prefix_length(name, length);
    if (i < length)
        return error_set(e, "%s: the tensor name %.*s... is not UTF-8 without NUL", s->file,
                         (int)(i < 200 ? i : 200), name);
    return 0;
}

int stored_tensors_check_size(const char *file, const char *name, const struct stored_tensor *t,
                              size_t *elements, size_t *bytes, struct error *e)
{
    size_t bits;
    *elements = 1;
    for (size_t i = 0; i < t->rank; i++)
        if (__builtin_mul_overflow(*elements, t->shape[i], elements))
            return error_set(e, "%s: tensor %.200s: its shape overflows", file, name);
    if (__builtin_mul_overflow(*elements, dtype_bits(t->dtype), &bits))
        return error_set(e, "%s: tensor %.200s: its size overflows", file, name);
    if (bits % 8)
        return error_set(e, "%s: tensor %.200s: %zu elements of %s are not a whole number of bytes",
                         file, name, *elements, dtype_name(t->dtype));
    *bytes = bits / 8;
    return 0;
}

int stored_tensors_add(struct stored_tensors *s, const char *name, size_t name_length,
                       const struct stored_tensor *t, struct error *e)
{
    size_t bytes;
    if (check_tensor_name(s, name, name_length, e) < 0)
        return -1;
    struct stored_tensor new = *t;
    new.name = arena_copy_text_n(&s->arena, name, name_length);
    if (t->rank > STORED_TENSORS_MAX_RANK)
        return error_set(e, "%s: tensor %.200s has %zu dimensions; at most %d are supported",
                         s->file, new.name, t->rank, STORED_TENSORS_MAX_RANK);
    if (stored_tensors_check_size(s->file, new.name, t, &new.elements, &bytes, e) < 0)
        return -1;
    new.shape = arena_copy(&s->arena, t->shape, t->rank * sizeof *t->shape);
    if (t->stride)
        new.stride = arena_copy(&s->arena, t->stride, t->rank * sizeof *t->stride);
    if (s->n == s->capacity) {
        s->capacity = s->capacity ? 2 * s->capacity : 64;
        s->list = mem_resize(s->list, s->capacity, sizeof *s->list);
    }
    s->list[s->n++] = new;
    return 0;
}

void stored_tensors_free(struct stored_tensors *s)
{
    arena_free(&s->arena);
    free(s->list);
    s->list = NULL;
    s->n = s->capacity = 0;
}

/* ---- encoded elements --------------------------------------------------------------------------
 */

/* n elements that are adjacent in the file. */
static void decode_adjacent(const struct stored_tensor *t, size_t first, size_t n, char *to)
{
    const struct tensor_encoding *c = t->encoding;
    size_t size = dtype_bits(t->dtype) / 8, block = c->block_elements;
    double buffer[TENSOR_ENCODING_MAX_BLOCK]; /* wide enough for every dtype */
    if (!c->decode) {
        memcpy(to, t->data + first * size, n * size);
        return;
    }
    while (n > 0) {
        size_t begin = first % block, whole = n - n % block;
        if (begin == 0 && whole > 0) {
            c->decode(t, first, whole, to);
        } else { /* a part of one block */
            whole = block - begin < n ? block - begin : n;
            c->decode(t, first - begin, block, buffer);
            memcpy(to, (const char *)buffer + begin * size, whole * size);
        }
        to += whole * size;
        first += whole;
        n -= whole;
    }
}

static size_t row_length(const struct stored_tensor *t)
{
    return t->elements / t->shape[0];
}

static void decode_elements(const struct stored_tensor *t, size_t first, size_t n, void *to)
{
    char *out = to;
    if (n == 0)
        return;
    if (!t->encoding->interleaved_rows) {
        decode_adjacent(t, first, n, to);
        return;
    }
    for (size_t length = row_length(t); n > 0;) {
        size_t row = first / length, column = first % length;
        size_t run = length - column < n ? length - column : n;
        decode_adjacent(
            t,
            tensor_encoding_interleaved_row(row, t->encoding->interleaved_rows) * length + column,
            run, out);
        out += run * (dtype_bits(t->dtype) / 8);
        first += run;
        n -= run;
    }
}

/* Whole blocks, and whole heads where rows are interleaved. */
static const unsigned char *find_encoded_bytes(const struct stored_tensor *t, size_t first,
                                               size_t n, size_t *size)
{
    const struct tensor_encoding *c = t->encoding;
    size_t unit = c->block_elements, end = first + n;
    if (n == 0) {
        *size = 0;
        return t->data;
    }
    if (c->interleaved_rows)
        unit = c->interleaved_rows * row_length(t);
    first -= first % unit;
    end += (unit - end % unit) % unit;
    *size = (end - first) / c->block_elements * c->block_bytes;
    return t->data + first / c->block_elements * c->block_bytes;
}

/* ---- elements -------------------------------------------------------------------------------- */

/* The index of flat element `flat` in each dimension. */
static void split_flat_index(const struct stored_tensor *t, size_t flat, uint64_t *index)
{
    for (size_t d = t->rank; d-- > 0; flat /= t->shape[d])
        index[d] = flat % t->shape[d];
}

/* Moves to the start of the next row, the last dimension being a row. */
static void advance_index_to_next_row(const struct stored_tensor *t, uint64_t *index)
{
    size_t last = t->rank - 1;
    index[last] = 0;
    for (size_t d = last; d-- > 0;) {
        if (++index[d] < t->shape[d])
            break;
        index[d] = 0;
    }
}

/* The elements of a view, row by row. */
static void copy_strided_elements(const struct stored_tensor *t, size_t first, size_t n,
                                  unsigned char *to)
{
    size_t size = dtype_bits(t->dtype) / 8, last = t->rank - 1;
    uint64_t index[STORED_TENSORS_MAX_RANK];
    split_flat_index(t, first, index);
    while (n > 0) {
        const unsigned char *from = t->data;
        for (size_t d = 0; d < t->rank; d++)
            from += index[d] * t->stride[d] * size;
        size_t run = t->shape[last] - index[last] < n ? t->shape[last] - index[last] : n;
        for (size_t i = 0; i < run; i++, to += size)
            memcpy(to, from + i * t->stride[last] * size, size);
        n -= run;
        advance_index_to_next_row(t, index);
    }
}

void stored_tensors_copy_elements(const struct stored_tensor *t, size_t first, size_t n, void *to)
{
    size_t bits = dtype_bits(t->dtype);
    if (t->encoding)
        decode_elements(t, first, n, to);
    else if (t->stride)
        copy_strided_elements(t, first, n, to);
    else if (n > 0)
        memcpy(to, t->data + first * bits / 8, n * bits / 8);
}

const unsigned char *stored_tensors_byte_range(const struct stored_tensor *t, size_t first,
                                               size_t n, size_t *size)
{
    size_t bits = dtype_bits(t->dtype), reach = 1;
    if (t->encoding)
        return find_encoded_bytes(t, first, n, size);
    if (t->stride) {
        for (size_t d = 0; d < t->rank; d++)
            reach += (t->shape[d] - 1) * t->stride[d];
        *size = reach * bits / 8;
        return t->data;
    }
    *size = n * bits / 8;
    return t->data + first * bits / 8;
}
