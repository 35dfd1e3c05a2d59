/* The task vectors of a stream, found by the part of the model that they change, and read at random
 * as merged.h asks: from a spool that is filled as the stream passes, or as the difference of two
 * mapped files. A deltas borrows the models and the header. */
#ifndef TV_DELTAS_H
#define TV_DELTAS_H

#include "merged.h"

struct deltas;

/* Finds the tensors of the stream among the parts of the base. Expert k is model models[k] of the
 * header. One of another shape than the base's is an error. */
struct deltas *deltas_new(const struct backbone *base, const struct header *h, size_t experts,
                          const size_t *models, struct error *e);
void deltas_free(struct deltas *d);
struct vectors deltas_vectors(struct deltas *d);

/* The tensor of the stream that changes this part; -1: none does. */
long deltas_tensor(const struct deltas *d, enum part part, size_t layer);
/* Which expert vector k of a tensor of the stream belongs to; -1: none. */
long deltas_expert(const struct deltas *d, const struct vector *v);

/* Reads expert k's vectors as the difference of this model and the base from now on. */
void deltas_map(struct deltas *d, size_t k, const struct backbone *expert);
/* Room for the tensors of the stream for which `wanted` says so. */
int deltas_reserve(struct deltas *d, const bool *wanted, uint64_t memory, const char *spool,
                   struct error *e);
bool deltas_is_wanted(const struct deltas *d, size_t tensor);
/* Elements first .. first + n - 1 of a tensor of the stream, for expert k. */
int deltas_keep(struct deltas *d, size_t tensor, size_t k, size_t first, size_t n, const float *x,
                struct error *e);
/* Bytes that are kept. */
uint64_t deltas_size(const struct deltas *d);

#endif
