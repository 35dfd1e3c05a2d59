#include "change_counts.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct step {
    _Atomic uint64_t received, kept;
};

struct kind {
    _Atomic double squares;
    _Atomic uint64_t elements;
};

struct change_counts {
    change_counts_kind_of_tensor *kind_of_tensor;
    struct step *steps; /* [stage] */
    struct kind kinds[CHANGE_COUNTS_KINDS];
};

struct change_counts *change_counts_new(size_t n_stages, change_counts_kind_of_tensor *kind)
{
    struct change_counts *c = mem_alloc(1, sizeof *c);
    c->kind_of_tensor = kind;
    c->steps = mem_alloc(n_stages, sizeof *c->steps);
    return c;
}

void change_counts_free(struct change_counts *c)
{
    if (c)
        free(c->steps);
    free(c);
}

#define TILES_PER_SAMPLE 16

/* A tile that is counted. The first one has another place in each block. */
struct tile {
    size_t first, n; /* elements */
};

static struct tile first_tile(const struct block *b)
{
    size_t n = (b->n + VECTOR_MATH_TILE - 1) / VECTOR_MATH_TILE;
    size_t tile = n ? b->index % TILES_PER_SAMPLE % n : 0;
    size_t first = tile * VECTOR_MATH_TILE;
    return (struct tile){first, b->n - first < VECTOR_MATH_TILE ? b->n - first : VECTOR_MATH_TILE};
}

/* False if there is none. */
static bool next_tile(const struct block *b, struct tile *t)
{
    t->first += TILES_PER_SAMPLE * VECTOR_MATH_TILE;
    if (t->first >= b->n)
        return false;
    t->n = b->n - t->first < VECTOR_MATH_TILE ? b->n - t->first : VECTOR_MATH_TILE;
    return true;
}

/* Elements of the block, in all vectors, that are not 0; *all: those that were counted. */
static size_t count_nonzero(const struct block *b, size_t *all)
{
    size_t nonzero = 0;
    struct tile t = first_tile(b);
    *all = 0;
    do {
        for (size_t k = 0; k < b->n_vectors; k++) {
            if (b->dtypes[k] != DTYPE_F32)
                continue;
            nonzero += t.n - vector_math_count_zeros(block_floats(b, k) + t.first, t.n);
            *all += t.n;
        }
    } while (next_tile(b, &t));
    return nonzero;
}

/* The sum of squares of vector 0, estimated from the tiles. */
static double estimate_squares(const struct block *b)
{
    double squares = 0;
    size_t counted = 0;
    struct tile t = first_tile(b);
    do {
        squares += vector_math_sum_squares(block_floats(b, 0) + t.first, t.n);
        counted += t.n;
    } while (next_tile(b, &t));
    return counted ? squares * (double)b->n / (double)counted : 0;
}

void change_counts_add_step(struct change_counts *c, const struct filter *f, size_t s,
                            const struct block *b, size_t *nonzero)
{
    size_t received = *nonzero, all;
    if (f->step == STEP_JOIN)
        *nonzero = CHANGE_COUNTS_UNKNOWN;
    if (!f->only_drops_elements && f->step != STEP_SPARSIFY)
        return;
    *nonzero = count_nonzero(b, &all);
    c->steps[s].received += received == CHANGE_COUNTS_UNKNOWN ? all : received;
    c->steps[s].kept += *nonzero;
}

void change_counts_add_result(struct change_counts *c, const struct header *h,
                              const struct tensor *t, const struct block *b)
{
    if (h->kind != KIND_TASK_VECTORS || b->n_vectors != 1 || b->dtypes[0] != DTYPE_F32)
        return;
    const char *role = h->models[t->vectors[0].model].role;
    if (!role || strcmp(role, "merged") != 0)
        return;
    struct kind *kind = &c->kinds[c->kind_of_tensor(t->name)];
    double squares = kind->squares, more = estimate_squares(b);
    while (!atomic_compare_exchange_weak(&kind->squares, &squares, squares + more))
        ;
    kind->elements += b->n;
}

struct dropped_elements change_counts_of_step(const struct change_counts *c, size_t s)
{
    return (struct dropped_elements){c->steps[s].received, c->steps[s].kept};
}

struct change_norm change_counts_of_kind(const struct change_counts *c, size_t kind)
{
    return (struct change_norm){c->kinds[kind].squares, c->kinds[kind].elements};
}
