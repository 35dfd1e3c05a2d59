/* Statistics of the models of a stream, such as the Gram matrices that `forward` writes: one file
 * for each model, given by the option --OPTION MODEL=FILE, with a tensor for each of the model's
 * weights, or for some of them. A model_statistics owns its files until model_statistics_close. */
#ifndef TV_MODEL_STATISTICS_H
#define TV_MODEL_STATISTICS_H

#include "filter.h"

struct model_statistics;

/* Can the tensor have a statistic? Sets its rank, and its shape, which has room for
 * TENSOR_RANK_MAX dimensions. */
typedef bool model_statistics_shape(const struct tensor *t, size_t *rank, uint64_t *shape);

/* For the descriptor's check_options: an error if a value of the option is not MODEL=FILE. */
int model_statistics_check_options(const char *option, const struct string_list *files,
                                   struct error *e);
/* In open, before the header changes: opens the files, which are checkpoints or saved streams, and
 * checks all tensors of the stream. An error if a model of a vector has no file, or more than one,
 * or if no file has a statistic of a tensor of the stream. */
struct model_statistics *model_statistics_open(struct stage *s, const char *option,
                                               const struct string_list *files,
                                               model_statistics_shape *shape,
                                               const struct header *h, struct error *e);
/* If `ok`, an error if a file has changed. NULL is allowed. */
int model_statistics_close(struct model_statistics *m, bool ok, struct error *e);

/* Returns 1 if all vectors of a tensor have a statistic; 0 if none has one, or the tensor cannot
 * have one; -1 on error, such as another shape. It is found under the name that the tensor has in
 * the vector's own model, or else under the tensor's name. */
int model_statistics_find(const struct model_statistics *m, const struct tensor *t,
                          struct error *e);
/* Elements first .. first + n - 1 of the statistic of vector k. */
void model_statistics_read_f32(const struct model_statistics *m, const struct tensor *t, size_t k,
                               size_t first, size_t n, float *to);
void model_statistics_read_f64(const struct model_statistics *m, const struct tensor *t, size_t k,
                               size_t first, size_t n, double *to);
/* The file of a model, as it was given. */
const char *model_statistics_file(const struct model_statistics *m, size_t model);

#endif
