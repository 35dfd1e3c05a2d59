/* Statistics of the models of a stream, such as the Gram matrices that `forward` writes: one file
 * for each model, given by the option --OPTION MODEL=FILE, with a tensor for each of the model's
 * weights, or for some of them. A model_statistics owns its files until model_statistics_close. */
#ifndef TV_MODEL_STATISTICS_H
#define TV_MODEL_STATISTICS_H

#include "filter.h"

struct model_statistics;

/* For the descriptor's check_options: an error if a value of the option is not MODEL=FILE. */
int model_statistics_check_options(const char *option, const struct string_list *files,
                                   struct error *e);
/* In open, before the header changes: opens the files, which are checkpoints or saved streams. An
 * error if a model of a vector has no file, or more than one. */
struct model_statistics *model_statistics_open(struct stage *s, const char *option,
                                               const struct string_list *files,
                                               const struct header *h, struct error *e);
void model_statistics_close(struct model_statistics *m);
/* After the last read: an error if a file has changed. NULL is unchanged. */
int model_statistics_check_unchanged(const struct model_statistics *m, struct error *e);

/* Returns 1 if all vectors of a tensor have a statistic, with this shape; 0 if none has one; -1 on
 * error. It is found under the name that the tensor has in the vector's own model, or else under
 * the tensor's name. */
int model_statistics_find(const struct model_statistics *m, const struct tensor *t, size_t rank,
                          const uint64_t *shape, struct error *e);
/* Elements first .. first + n - 1 of the statistic of vector k. */
void model_statistics_read_f32(const struct model_statistics *m, const struct tensor *t, size_t k,
                               size_t first, size_t n, float *to);
void model_statistics_read_f64(const struct model_statistics *m, const struct tensor *t, size_t k,
                               size_t first, size_t n, double *to);
/* The file of a model, as it was given. */
const char *model_statistics_file(const struct model_statistics *m, size_t model);

#endif
