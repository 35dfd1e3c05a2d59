/* What is written about learning coefficients: the table that `weigh --table` reads, a report of
 * losses and gradients, a log line for each update, and the state from which an interrupted run
 * goes on. Numbers stand there so that they read back as the same. */
#ifndef TV_TRAINING_LOG_H
#define TV_TRAINING_LOG_H

#include "adamw.h"
#include "coefficients.h"
#include "error.h"
#include "objective.h"

#include <stdio.h>

/* Who is who. */
struct training_log_names {
    const char **tensors, **experts;
};

/* A line of the log: update number `n` of `stage`; 0: the losses of the start, without an update.
 */
struct training_log_update {
    int stage; /* 1, 2 of Expert Merging++; 0: there is but one */
    uint64_t epoch, n, samples;
    double lr, grad_norm;
    struct loss mean;
    double regulariser;
};
void training_log_write_update(FILE *out, const struct training_log_update *u,
                               const struct coefficients *c,
                               const struct training_log_names *names);

/* And one for the held out samples after an epoch; 0: before the first. */
void training_log_write_validation(FILE *out, int stage, uint64_t epoch, const struct loss *mean);

/* The losses of each sample and the mean gradients by the coefficients at hand, in c->gradient. */
struct gradient_report {
    const char **tasks;    /* [example] */
    const size_t *numbers; /* [example]: which of its task's samples */
    const struct loss *losses;
    size_t n;
    double gamma;
    bool squared;
};
void training_log_write_gradients(FILE *out, const struct gradient_report *r,
                                  const struct coefficients *c,
                                  const struct training_log_names *names);

/* Where learning stands, between two updates. */
struct training_state {
    uint64_t key; /* of all that must not change in between */
    int phase;
    uint64_t epoch, samples_done; /* of the epoch's samples */
    double best_loss,
        loss_sum; /* the best epoch's mean loss; the sum of this epoch's losses so far */
    uint64_t epochs_since_best; /* epochs since the best */
    double *best_r;             /* r of the best epoch; NULL: the last ones count */
};

/* The same with the numbers: of each tensor the chunks, of each coefficient r and its moments. */
struct saved_training_state {
    struct training_state state;
    struct adamw adamw;
    size_t tensors, *chunks;
    size_t n;
    double *r;
};

/* Replaces the file in one go. */
int training_state_save(const char *path, const struct training_state *s,
                        const struct coefficients *c, const struct adamw *a, struct error *e);
/* Without such a file `s` is empty. One with another key, or of other tensors, is an error. */
int training_state_load(const char *path, uint64_t key, size_t tensors,
                        struct saved_training_state *s, struct error *e);
/* Puts coefficients, which have the saved chunks, and moments to where they were saved. The
 * standing owns what it points to. */
int training_state_restore(const struct saved_training_state *saved, const char *path,
                           struct coefficients *c, struct adamw *a, struct training_state *s,
                           struct error *e);
void saved_training_state_free(struct saved_training_state *s);

#endif
