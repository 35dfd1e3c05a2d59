/* The tensors of a checkpoint, sorted bytewise by name, each with the shard that stores it. Scales
 * of quantized weights are not among them.
 *
 * A tensor_table owns its list until tensor_table_free; it borrows the shards. Zeroed it is
 * empty. */
#ifndef TV_TENSOR_TABLE_H
#define TV_TENSOR_TABLE_H

#include "ckpt_tensor.h"
#include "shard_list.h"

struct tensor_table_row {
    struct ckpt_tensor tensor;
    struct stored_tensor *stored;
    const struct shard *shard;
};

struct tensor_table {
    struct tensor_table_row *rows;
    size_t n;
    const char *quantization; /* ckpt_quantization (ckpt.h) */
};

/* Lists the tensors of all shards; two of one name are an error. */
int tensor_table_list(struct tensor_table *t, const struct shard_list *s, struct error *e);
/* Checks the list against the index of the weight files: each tensor of the index must be in the
 * shard that the index names. Tensors that it lacks get a note. */
int tensor_table_check_index(const struct tensor_table *t, const struct weight_files *w,
                             struct error *e);
/* Gives quantized tensors their encodings, and removes their scales from the list. Texts are in the
 * arena of `files`, where the config is. */
int tensor_table_resolve_quantized(struct tensor_table *t, struct model_files *files,
                                   const struct weight_files *w, struct error *e);
/* The index of the tensor of that name; -1 if there is none. */
long tensor_table_find(const struct tensor_table *t, const char *name);
void tensor_table_free(struct tensor_table *t);

#endif
