/* Filters that keep the elements whose magnitudes rank in a band (magnitude_band.h): of each
 * tensor's vectors, or with SCOPE_MODEL of each model, its tensors taken as one long vector in the
 * order of the manifest. job->state is a struct magnitude_bands. stage->data is NULL, or with
 * SCOPE_MODEL the struct rank_filter; rank_filter_close frees both it and its bands. */
#ifndef TV_RANK_FILTER_H
#define TV_RANK_FILTER_H

#include "magnitude_band.h"
#include "filter.h"

struct rank_filter {
    uint64_t *model_elements;     /* [model]: in the tensors that the stage processes */
    struct magnitude_bands bands; /* [model]; the filter sets them in open */
    uint64_t *tensor_offset;      /* [tensor][model]: elements of the model before that tensor */
    struct arena arena;
};

/* ---- SCOPE_MODEL: in open ------------------------------------------------------------------ */

struct rank_filter *rank_filter_new(const struct stage *s, const struct header *h);
/* values[model]: the number that the rules give the model, the same in all its tensors (`missing`
 * where none matches). An error if they give it several. */
int rank_filter_find_model_values(const struct stage *s, const struct tensor_rules *r,
                                  const struct header *h, double missing, double *values,
                                  struct error *e);

/* ---- one tensor ------------------------------------------------------------------------------ */

/* SCOPE_MODEL: the bands of the tensor's vectors, which are stretches of the models' bands. */
struct magnitude_bands rank_filter_make_tensor_bands(const struct rank_filter *r,
                                                     const struct job *job);
/* For `begin_tensor`: sets job->state and returns the plan. What the bands drop is recorded, unless
 * SCOPE_MODEL, as l1_before of vectors that have none. */
int rank_filter_begin(struct job *job, struct magnitude_bands bands);
/* For the descriptor. */
int rank_filter_observe(const struct job *job, const struct block *b, void *work, struct error *e);
int rank_filter_accumulate(struct job *job, const struct block *b, void *work, struct error *e);
int rank_filter_decide(struct job *job, struct error *e);
int rank_filter_transform(const struct job *job, struct block *b, struct error *e);
int rank_filter_end(struct job *job, bool ok, struct error *e);
int rank_filter_close(struct stage *s, bool ok, struct error *e);

#endif
