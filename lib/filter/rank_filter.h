/* Filters that keep what ranks in a band of each vector (magnitude_band.h): of a tensor, or with
 * scope model of a model's elements in all tensors, as one long vector in the manifest's order. The
 * functions are those of a filter's life (filter.h), with bands as job->state, and stage->data a
 * whole, or NULL where each tensor stands by itself. */
#ifndef TV_RANK_FILTER_H
#define TV_RANK_FILTER_H

#include "magnitude_band.h"
#include "filter.h"

struct rank_filter {
    uint64_t *model_elements;     /* [model]: elements of the tensors that the stage works on */
    struct magnitude_bands bands; /* [model], for the filter to fill in; owned */
    uint64_t *tensor_offset;      /* [tensor][model]: where the tensor begins */
    struct arena arena;
};

struct rank_filter *rank_filter_new(const struct stage *s, const struct header *h);
/* values[model]: the one number that rules give the model in all its tensors, else `missing`. An
 * error where they give several. */
int rank_filter_model_values(const struct stage *s, const struct tensor_rules *r,
                             const struct header *h, double missing, double *values,
                             struct error *e);
/* The bands of a tensor's vectors among those of the whole. */
struct magnitude_bands rank_filter_tensor_bands(const struct rank_filter *w, const struct job *job);

/* The plan, with these bands, which are the job's in the job's arena. What they leave out is
 * recorded as l1_before of vectors that do not say it, except of a whole. */
int rank_filter_begin(struct job *job, struct magnitude_bands bands);
int rank_filter_observe(const struct job *job, const struct block *b, void *work, struct error *e);
int rank_filter_accumulate(struct job *job, const struct block *b, void *work, struct error *e);
int rank_filter_decide(struct job *job, struct error *e);
int rank_filter_end(struct job *job, bool ok, struct error *e);
int rank_filter_close(struct stage *s, bool ok, struct error *e);

#endif
