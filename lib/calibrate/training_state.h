/* The state of training between two updates, which --resume saves after every update, as JSON, and
 * from which an interrupted run continues. */
#ifndef TV_TRAINING_STATE_H
#define TV_TRAINING_STATE_H

#include "adamw.h"
#include "coefficients.h"
#include "filter.h"
#include "model_weights.h"

struct training_state {
    uint64_t key;          /* hash of the inputs and options (training_state_compute_key) */
    int phase;             /* 1 and 2 of Expert Merging++; 0 of Expert Merging */
    uint64_t epoch;        /* epochs done */
    uint64_t samples_done; /* of the present epoch */
    double loss_sum;       /* over these samples */
    double best_loss;      /* the lowest mean loss of an epoch, or of the samples held out */
    uint64_t epochs_since_best;
    double *best_r; /* r of the best epoch; NULL: the last epoch's r is the result */
};

/* A hash of all that must be the same when a run continues: base, models, options and the history
 * of the stream. */
uint64_t training_state_compute_key(struct stage *s, const struct header *h,
                                    const struct model_weights *base);

/* Ends an epoch. If its mean loss is the lowest so far, it becomes best_loss, and r is copied to
 * best_r (unless that is NULL). */
void training_state_end_epoch(struct training_state *s, double mean_loss,
                              const struct coefficients *c);

/* Is it the beginning of a saved state? An atomic_file_recognizer: before a state is replaced it
 * has been loaded, which checks all of it. */
bool training_state_is_state(const char *text, size_t size);
/* Replaces the file atomically. */
int training_state_save(const char *path, const struct training_state *s,
                        const struct coefficients *c, const struct adamw *a, struct error *e);

/* What a file holds. */
struct saved_training_state {
    struct training_state state;
    struct adamw adamw;
    size_t tensors, *chunks; /* [tensor]; 0: frozen */
    size_t n;                /* learned coefficients; 0: there was no file */
    double *r;
};

/* Without a file `s` is empty. Another key, or another number of tensors, is an error. */
int training_state_load(const char *path, uint64_t key, size_t tensors,
                        struct saved_training_state *s, struct error *e);
/* Sets coefficients, which must have the saved chunks, moments and state to the saved values. The
 * caller frees best_r. */
int training_state_restore(const struct saved_training_state *saved, const char *path,
                           struct coefficients *c, struct adamw *a, struct training_state *s,
                           struct error *e);
void saved_training_state_free(struct saved_training_state *s);

#endif
