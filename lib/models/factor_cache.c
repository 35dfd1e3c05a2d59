#include "factor_cache.h"

#include "low_rank.h"

#include <stdlib.h>

#define MAX_BYTES ((size_t)16 << 20)

void factor_cache_init(struct factor_cache *c, const struct ckpt *file)
{
    *c = (struct factor_cache){.file = file};
    pthread_mutex_init(&c->lock, NULL);
}

static size_t decoded_bytes(const struct factors *f)
{
    return ((f->rows + LOW_RANK_PADDING) * f->rank + low_rank_packed_size(f->rank, f->columns)) *
           sizeof(double);
}

/* ---- decoding -------------------------------------------------------------------------------- */

/* The elements of a tensor of the file; the caller frees. */
static double *read_tensor(const struct ckpt *file, size_t i)
{
    const struct ckpt_tensor *t = ckpt_tensor(file, i);
    double *to = mem_alloc_aligned(t->elements * sizeof *to + 1);
    void *stored = mem_alloc_aligned(dtype_bytes(t->dtype, t->elements) + 1);
    ckpt_read_elements(file, i, 0, t->elements, stored);
    dtype_to_f64(t->dtype, stored, to, t->elements);
    ckpt_release_pages(file, i, 0, t->elements);
    free(stored);
    return to;
}

static void decode(const struct ckpt *file, struct factors *f)
{
    double *a = read_tensor(file, f->a), *b = read_tensor(file, f->b);
    f->left = mem_alloc(f->rows + LOW_RANK_PADDING, f->rank * sizeof *f->left);
    f->packed = mem_alloc_aligned(low_rank_packed_size(f->rank, f->columns) * sizeof *f->packed);
    for (size_t i = 0; i < f->rows; i++)
        for (size_t k = 0; k < f->rank; k++)
            f->left[i * f->rank + k] = f->is_transpose ? a[k * f->rows + i] : b[i * f->rank + k];
    if (f->is_transpose)
        low_rank_pack(b, 1, f->rank, f->rank, f->columns, f->packed);
    else
        low_rank_pack(a, f->columns, 1, f->rank, f->columns, f->packed);
    free(a);
    free(b);
}

/* ---- the cache ------------------------------------------------------------------------------- */

static void free_decoded(struct factor_cache *c, size_t i)
{
    struct factors *f = c->decoded[i];
    free(f->left);
    free(f->packed);
    f->left = f->packed = NULL;
    c->bytes -= decoded_bytes(f);
    c->decoded[i] = c->decoded[--c->n];
}

/* The unused factors that were used before all others; n if all are in use. */
static size_t find_oldest(const struct factor_cache *c)
{
    size_t oldest = c->n;
    for (size_t i = 0; i < c->n; i++)
        if (!c->decoded[i]->users &&
            (oldest == c->n || c->decoded[i]->last_use < c->decoded[oldest]->last_use))
            oldest = i;
    return oldest;
}

static void add_decoded(struct factor_cache *c, struct factors *f)
{
    decode(c->file, f);
    if (c->n == c->capacity) {
        c->capacity = c->capacity ? 2 * c->capacity : 16;
        c->decoded = mem_resize(c->decoded, c->capacity, sizeof *c->decoded);
    }
    c->decoded[c->n++] = f;
    c->bytes += decoded_bytes(f);
    for (size_t i; c->bytes > MAX_BYTES && (i = find_oldest(c)) < c->n;)
        free_decoded(c, i);
}

static void acquire(struct factor_cache *c, struct factors *f)
{
    pthread_mutex_lock(&c->lock);
    f->users++;
    f->last_use = ++c->uses;
    if (!f->left)
        add_decoded(c, f);
    pthread_mutex_unlock(&c->lock);
}

static void release(struct factor_cache *c, struct factors *f)
{
    pthread_mutex_lock(&c->lock);
    f->users--;
    pthread_mutex_unlock(&c->lock);
}

static struct low_rank get_product(const struct factors *f, double scale)
{
    return (struct low_rank){f->left, f->packed, f->rank, f->columns, scale};
}

void factor_cache_add_product(struct factor_cache *c, struct factors *f, double scale, size_t first,
                              size_t n, double *to)
{
    acquire(c, f);
    const struct low_rank product = get_product(f, scale);
    low_rank_add(&product, first, n, to);
    release(c, f);
}

void factor_cache_write_product(struct factor_cache *c, struct factors *f, double scale,
                                size_t first, size_t n, float *to)
{
    acquire(c, f);
    const struct low_rank product = get_product(f, scale);
    low_rank_write(&product, first, n, to);
    release(c, f);
}

void factor_cache_free(struct factor_cache *c)
{
    while (c->n)
        free_decoded(c, c->n - 1);
    free(c->decoded);
    if (c->file)
        pthread_mutex_destroy(&c->lock);
    *c = (struct factor_cache){0};
}
