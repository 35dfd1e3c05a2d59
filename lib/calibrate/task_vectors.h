/* The task vectors of a stream, looked up by the weight of the model that they change, and read at
 * random for merged_model.h: from a spool that is filled as the stream passes, from a saved stream,
 * or as the difference of two mapped checkpoints. A struct task_vectors borrows the models, the
 * header and the saved stream. */
#ifndef TV_TASK_VECTORS_H
#define TV_TASK_VECTORS_H

#include "merged_model.h"
#include "saved_stream.h"

struct task_vectors;

/* Matches the tensors of the stream with the weights of the base. Expert k is model models[k] of
 * the header. A tensor whose shape differs from the base's is an error. */
struct task_vectors *task_vectors_new(const struct model_weights *base, const struct header *h,
                                      size_t experts, const size_t *models, struct error *e);
void task_vectors_free(struct task_vectors *tv);
struct task_vector_source task_vectors_source(struct task_vectors *tv);

/* The index of the stream's tensor for a weight of the model; -1: none. */
long task_vectors_find_stream_tensor(const struct task_vectors *tv, enum weight_kind kind,
                                     size_t layer);
/* The expert that a vector of the stream belongs to; -1: none. */
long task_vectors_expert_of_vector(const struct task_vectors *tv, const struct vector *v);

/* From now on expert k's task vectors are read as the difference of this model and the base. */
void task_vectors_set_expert_file(struct task_vectors *tv, size_t k,
                                  const struct model_weights *expert);
/* From now on all task vectors are read from this stream, which has the header's tensors. */
void task_vectors_set_saved_stream(struct task_vectors *tv, const struct saved_stream *saved);
/* Reserves spool space for the tensors i of the stream with wanted[i]. `memory`: bytes that may be
 * in memory; beyond that the spool is a file in the folder `spool`. */
int task_vectors_reserve_spool(struct task_vectors *tv, const bool *wanted, uint64_t memory,
                               const char *spool, struct error *e);
/* Is spool space reserved for this tensor? */
bool task_vectors_is_stored_tensor(const struct task_vectors *tv, size_t tensor);
/* Writes elements first .. first + n - 1 of a tensor of the stream, of expert k, to the spool, in
 * F32 or in the stream's dtype if that is shorter. */
int task_vectors_write(struct task_vectors *tv, size_t tensor, size_t k, size_t first, size_t n,
                       const float *x, struct error *e);
/* Bytes in the spool, in memory or in its file. */
uint64_t task_vectors_stored_bytes(const struct task_vectors *tv);

#endif
