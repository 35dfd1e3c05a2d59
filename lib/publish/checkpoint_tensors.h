/* The elements of the tensors of a checkpoint: computes them from the blocks of the stream, and
 * passes them to a function that writes or compares them.
 *
 * A checkpoint_tensors borrows all that it refers to. Several threads may use it at once. */
#ifndef TV_CHECKPOINT_TENSORS_H
#define TV_CHECKPOINT_TENSORS_H

#include "block.h"
#include "checkpoint_contents.h"
#include "thread_pool.h"

struct checkpoint_tensors {
    const struct checkpoint_contents *contents;
    const struct base_model *base; /* to add to task vectors; NULL: the stream has weights */
    bool allow_nonfinite;
    /* Receives n elements of tensor `index` of the checkpoint, from flat index `first` on, in the
     * dtype of the contents. */
    int (*receive)(void *receiver, size_t index, size_t first, size_t n, const void *x,
                   struct error *e);
    void *receiver;
};

/* An error unless every tensor of a stream has one vector, as a checkpoint has. */
int checkpoint_tensors_check_vectors(const struct header *h, struct error *e);
/* An error if the tensor's vector has a weight other than 1, which a checkpoint would lose. */
int checkpoint_tensors_check_weight(const struct tensor *t, struct error *e);
/* A block of tensor `index` of the stream: its weights, or its task vectors and the base. NaN and
 * infinity in the result are an error unless they are allowed. */
int checkpoint_tensors_convert_block(const struct checkpoint_tensors *t, size_t index,
                                     const struct block *b, struct error *e);
/* All of tensor `index` of the checkpoint, a tensor of the base that the stream lacks. */
int checkpoint_tensors_copy_base_tensor(const struct checkpoint_tensors *t, size_t index,
                                        struct thread_pool *threads, struct error *e);

#endif
