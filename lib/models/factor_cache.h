/* The factors of a LoRA adapter's matrices, decoded to double when they are needed. Those that were
 * not used for the longest time are freed when all together take more than 16 MiB.
 *
 * A factor_cache and its factors belong to the caller; the cache owns what was decoded,
 * until factor_cache_free. Several threads may use a cache at once. */
#ifndef TV_FACTOR_CACHE_H
#define TV_FACTOR_CACHE_H

#include "ckpt.h"

#include <pthread.h>

/* The matrix B A (rows, columns), or its transpose. */
struct factors {
    size_t a, b;       /* tensors of the file: (rank, n) and (m, rank) */
    bool is_transpose; /* (n, m) instead of (m, n) */
    size_t rank, rows, columns;
    /* The cache's: */
    double *left, *packed; /* NULL: not decoded */
    size_t users;
    uint64_t last_use;
};

struct factor_cache {
    const struct ckpt *file;
    pthread_mutex_t lock;
    size_t bytes;
    uint64_t uses;
    size_t n, capacity;
    struct factors **decoded;
};

void factor_cache_init(struct factor_cache *c, const struct ckpt *file);
void factor_cache_free(struct factor_cache *c);
/* Adds scale times n elements of the matrix, from flat index `first` on, to `to`. */
void factor_cache_add_product(struct factor_cache *c, struct factors *f, double scale, size_t first,
                              size_t n, double *to);
/* Writes them, rounded to F32. */
void factor_cache_write_product(struct factor_cache *c, struct factors *f, double scale,
                                size_t first, size_t n, float *to);

#endif
