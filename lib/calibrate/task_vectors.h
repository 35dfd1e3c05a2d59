/* The task vectors of a stream, found by the part of the model that they change, and read at random
 * as merged_model.h asks: from a spool that is filled as the stream passes, or as the difference of
 * two mapped files. A deltas borrows the models and the header. */
#ifndef TV_TASK_VECTORS_H
#define TV_TASK_VECTORS_H

#include "merged_model.h"

struct task_vectors;

/* Finds the tensors of the stream among the parts of the base. Expert k is model models[k] of the
 * header. One of another shape than the base's is an error. */
struct task_vectors *task_vectors_new(const struct model_weights *base, const struct header *h,
                                      size_t experts, const size_t *models, struct error *e);
void task_vectors_free(struct task_vectors *d);
struct task_vector_source task_vectors_source(struct task_vectors *d);

/* The tensor of the stream that changes this part; -1: none does. */
long task_vectors_stream_tensor(const struct task_vectors *d, enum weight_kind part, size_t layer);
/* Which expert vector k of a tensor of the stream belongs to; -1: none. */
long task_vectors_expert_of_vector(const struct task_vectors *d, const struct vector *v);

/* Reads expert k's vectors as the difference of this model and the base from now on. */
void task_vectors_set_expert_file(struct task_vectors *d, size_t k,
                                  const struct model_weights *expert);
/* Room for the tensors of the stream for which `wanted` says so. */
int task_vectors_reserve_spool(struct task_vectors *d, const bool *wanted, uint64_t memory,
                               const char *spool, struct error *e);
bool task_vectors_is_stored(const struct task_vectors *d, size_t tensor);
/* Elements first .. first + n - 1 of a tensor of the stream, for expert k. */
int task_vectors_write(struct task_vectors *d, size_t tensor, size_t k, size_t first, size_t n,
                       const float *x, struct error *e);
/* Bytes that are kept. */
uint64_t task_vectors_stored_bytes(const struct task_vectors *d);

#endif
