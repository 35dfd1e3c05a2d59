/* Training samples: the first samples of each task, each with the expert that teaches it, and the
 * order in which updates use them. A struct training_samples owns its arrays until
 * training_samples_free and borrows the samples. */
#ifndef TV_TRAINING_SAMPLES_H
#define TV_TRAINING_SAMPLES_H

#include "samples.h"

struct base_and_experts;

struct training_sample {
    const uint32_t *ids;
    size_t n;
    size_t first_position, last_position; /* the positions that the loss compares */
    size_t expert;
    bool on_other_rank; /* another process computes it (mpi.h) */
    struct sample_images images;
    const struct image *all_images; /* of all samples; `images` refers to them */
};

static inline struct sequence training_sample_sequence(const struct training_sample *x)
{
    return (struct sequence){x->ids, x->n, x->images, x->all_images};
}

struct training_samples {
    size_t n;
    struct training_sample *list; /* by expert: those of the first expert first */
    const char **tasks;           /* [sample] */
    size_t *sample_numbers;       /* [sample]: its position among its expert's samples */
    size_t longest;               /* tokens of the longest */
    size_t n_order, *order;       /* an epoch, round robin: one sample of each expert in turn; an
                                     expert with fewer samples repeats them */
    size_t n_held_out, *held_out; /* for validation: the last ones of each expert */
};

struct training_sample_selection {
    const struct base_and_experts *experts;
    const struct string_list *tasks; /* TASK=MODEL; other tasks are named after their expert */
    size_t per_task;                 /* use at most this many samples of each expert */
    size_t held_out;                 /* and hold out so many of them, the last ones */
    bool response_only; /* compare only the positions that predict a token of the response, if the
                           sample gives the length of its prompt */
};

/* An expert without samples is an error, and so is a sample that belongs to no expert. */
int training_samples_select(struct training_samples *x, const struct samples *s,
                            const struct training_sample_selection *w, struct error *e);
/* Divides the samples among `count` processes, of which this is number `rank`: consecutive samples
 * of the order, and of the held-out samples, are assigned to consecutive processes. */
void training_samples_assign_to_ranks(struct training_samples *x, size_t count, size_t rank);
void training_samples_free(struct training_samples *x);

#endif
