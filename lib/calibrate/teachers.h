/* Teachers: what each expert computes on its own training samples. Hidden states are computed once
 * and stored, in memory up to a limit and beyond it in a temporary file; logits are computed again
 * from the last hidden state whenever they are needed. A struct teachers owns what it stores until
 * teachers_free. It borrows the training samples and the experts' weights. */
#ifndef TV_TEACHERS_H
#define TV_TEACHERS_H

#include "lm.h"
#include "training_samples.h"

struct teachers;

struct teachers_inputs {
    const struct arch *arch; /* the base's */
    size_t experts;
    const struct training_sample *samples;
    size_t n;                  /* samples */
    const bool *hidden_states; /* [h_0 .. h_L]: is it stored? h_L, which follows the final norm,
                                  always is */
    uint64_t memory;           /* bytes of states in memory */
    const char *spool;         /* folder of the temporary file; may be NULL */
};

struct teachers *teachers_new(const struct teachers_inputs *in);
void teachers_free(struct teachers *t);

/* Runs an expert on its samples and stores its hidden states. `f`: its features of the samples'
 * images; may be NULL where there are no images. */
int teachers_run_expert(struct teachers *t, size_t expert, const struct arch *a,
                        const struct weight_source *w, const struct image_features *f,
                        struct error *e);

/* Hidden state h_state of a sample, positions from .. from + n - 1, into `to` (n, d). */
int teachers_read_states(const struct teachers *t, size_t sample, size_t state, size_t from,
                         size_t n, float *to, struct error *e);
/* The expert's logits z (n, V) from rows of h_L, h (n, d). */
int teachers_compute_logits(struct teachers *t, size_t expert, const float *h, size_t n, float *z,
                            struct error *e);
/* Bytes of states, in memory or in the temporary file. */
uint64_t teachers_stored_bytes(const struct teachers *t);

#endif
