/* Teachers: what each expert computes on its own training samples. Hidden states are computed once
 * and stored, in memory up to a limit and beyond it in a temporary file; logits are computed again
 * from the last hidden state whenever they are needed. A struct teacher_outputs owns what it stores
 * until teacher_outputs_free. It borrows the training samples and the experts' weights. */
#ifndef TV_TEACHER_OUTPUTS_H
#define TV_TEACHER_OUTPUTS_H

#include "lm.h"
#include "training_samples.h"

struct teacher_outputs;

struct teacher_outputs_inputs {
    const struct arch *arch; /* the base's */
    size_t experts;
    const struct training_sample *samples;
    size_t n;                  /* samples */
    const bool *hidden_states; /* [h_0 .. h_L]: is it stored? h_L, which follows the final norm,
                                  always is */
    uint64_t memory;           /* bytes of states in memory */
    const char *spool;         /* folder of the temporary file; may be NULL */
};

struct teacher_outputs *teacher_outputs_new(const struct teacher_outputs_inputs *in);
void teacher_outputs_free(struct teacher_outputs *t);

/* Runs an expert on its samples and stores its hidden states. `f`: its features of the samples'
 * images; may be NULL where there are no images. */
int teacher_outputs_run_expert(struct teacher_outputs *t, size_t expert, const struct arch *a,
                               const struct weight_source *w, const struct image_features *f,
                               struct error *e);

/* Hidden state h_state of a sample, positions from .. from + n - 1, into `to` (n, d). */
int teacher_outputs_read_states(const struct teacher_outputs *t, size_t sample, size_t state,
                                size_t from, size_t n, float *to, struct error *e);
/* The expert's logits z (n, V) from rows of h_L, h (n, d). */
int teacher_outputs_compute_logits(struct teacher_outputs *t, size_t expert, const float *h,
                                   size_t n, float *z, struct error *e);
/* Bytes of states, in memory or in the temporary file. */
uint64_t teacher_outputs_stored_bytes(const struct teacher_outputs *t);

#endif
