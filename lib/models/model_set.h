/* Several models side by side, as the payload of a stream: opens the models named on the command
 * line, matches their tensors (tensor_matching.h), and reads them block by block.
 *
 * A model_set owns its models until model_set_close. After model_set_open several threads may use
 * it at once. `index` is always a tensor of the header that model_set_open filled in. */
#ifndef TV_MODEL_SET_H
#define TV_MODEL_SET_H

#include "layer_slice.h"
#include "model_set_options.h"

struct model_set;

/* Do the options fit the operands? For the descriptor's check_options. */
int model_set_check_options(const struct stage *s, const struct model_set_options *o,
                            struct error *e);
/* Opens the models that the stage's operands name and fills in the empty header: the models, and
 * for each tensor its layer and a vector per model, in the stored dtype or the --dtype. As task
 * vectors the first model is the base, the vectors of the others are F32, and
 * non-floating-point tensors are omitted. NULL on error. */
struct model_set *model_set_open(struct stage *s, const struct model_set_options *o,
                                 bool task_vectors, struct header *h, struct error *e);
void model_set_close(struct model_set *m);
/* For the descriptor: is a model read as it arrives through standard input, in stream order? It is
 * copied to a temporary file at once if the order of its tensors is another one, and otherwise when
 * the source is rewound. stage->data is the model_set. */
bool model_set_is_one_pass(const struct stage *s);
int model_set_rewind(struct stage *s, struct error *e);

/* Reads a block of vector k (MODEL_SET_BASE_VECTOR: of the base): in the dtype of the stream, or as
 * F32 or F64 rounded to the --dtype. Also hashes the block's stored bytes, and tells the kernel
 * that they will not be read again soon. Only a model that arrives through a pipe can fail. */
#define MODEL_SET_BASE_VECTOR SIZE_MAX
int model_set_read_block(struct model_set *m, size_t index, size_t k, const struct block *b,
                         void *to, struct error *e);
int model_set_read_block_f32(struct model_set *m, size_t index, size_t k, const struct block *b,
                             float *to, struct error *e);
int model_set_read_block_f64(struct model_set *m, size_t index, size_t k, const struct block *b,
                             double *to, struct error *e);
/* Is task vector k what an adapter adds to the base? Then model_set_read_delta reads it, and
 * nothing else is needed of vector k or the base. */
bool model_set_is_delta(const struct model_set *m, size_t index, size_t k);
void model_set_read_delta(struct model_set *m, size_t index, size_t k, const struct block *b,
                          float *to);
/* The dtype of vector k or the base, as model_set_read_block reads it. */
enum dtype model_set_dtype(const struct model_set *m, size_t index, size_t k);
/* The block of vector k or the base in the memory of its mapped file, which is only read; NULL if
 * it must be read: its numbers are not stored there in that dtype, or are not aligned. Hashes the
 * block as the functions that read do. */
const void *model_set_map_block(struct model_set *m, size_t index, size_t k, const struct block *b);
/* Is vector k or the base stored in F64, or changed by an adapter, whose sums are F64? */
bool model_set_needs_f64(const struct model_set *m, size_t index, size_t k);

/* The hash_block of a source: hashes what the block would be read from. */
int model_set_hash_block(const struct job *job, const struct block *b, struct error *e);
/* For the descriptor's end_tensor: hashes the tensor after its last block and reports the hash to
 * the run, if that is `ok`, and tells the kernel that no block will be read again soon. */
void model_set_end_tensor(struct model_set *m, size_t index, bool ok, struct stage *s);
/* Reports the full hash of every model after the last tensor, and the bytes read. An error if a
 * file of a model has changed since it was opened. */
int model_set_report_hashes(const struct model_set *m, struct stage *s, struct error *e);

#endif
