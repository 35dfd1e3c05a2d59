/* Matches the tensors of several models: finds the tensors that the models have in common, by name
 * in any naming scheme, and the shape in which they are compared. The first model is the reference:
 * its names count, and as the base of task vectors it is subtracted from the others.
 *
 * A tensor_matching owns nothing. What its functions return lives in its arena. */
#ifndef TV_TENSOR_MATCHING_H
#define TV_TENSOR_MATCHING_H

#include "model_set_options.h"
#include "model_source.h"

struct tensor_matching {
    const struct model_set_options *options;
    bool task_vectors;
    size_t n_models;
    struct model_source *const *models;
    const bool *adapts_base; /* [model]: it is the first model with an adapter */
    struct arena *arena;
    const char *tool; /* in warnings */
};

/* The tensor of one model that is read for a matched tensor. */
struct tensor_view {
    size_t model, tensor;
    size_t columns; /* of the model's tensor, if its rows are truncated; 0: they are not */
};

struct tensor_match {
    size_t first_tensor; /* index in the first model */
    size_t rank;
    const uint64_t *shape;   /* the common shape */
    struct tensor_view base; /* task vectors */
    size_t n;                /* views */
    struct tensor_view *views;
    size_t *models; /* [view]: the model that it stands for */
};

/* Is the vector of view k, of task vectors, what an adapter adds to the base's tensor? Then it is
 * known without the elements of the base; it is zero unless model_source_is_adapted. */
bool tensor_matching_is_delta(const struct tensor_matching *m, const struct tensor_match *match,
                              size_t k);
/* Is every vector such a zero? */
bool tensor_matching_is_unchanged(const struct tensor_matching *m,
                                  const struct tensor_match *match);
const struct ckpt_tensor *tensor_matching_view_tensor(const struct tensor_matching *m,
                                                      const struct tensor_view *v);
/* The names to match, sorted: those of the first model, and a head that only another one has. Other
 * tensors that the first model lacks are an error, or with --missing a warning; buffers that not
 * all models have are omitted, with a note. The caller frees *names, also on error. */
int tensor_matching_list_names(const struct tensor_matching *m, const char ***names, size_t *n,
                               struct error *e);
/* Finds the tensors for one of these names. 1: matched; 0: the tensor is omitted; -1: the models
 * differ in a way that the options do not allow. */
int tensor_matching_match(const struct tensor_matching *m, const char *name,
                          struct tensor_match *match, struct error *e);

#endif
