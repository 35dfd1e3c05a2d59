/* The training log (--log), a line of JSON per update, and the JSON report of losses and gradients
 * (--gradients). Numbers are written with the digits that read back as the same double; non-finite
 * ones are null. */
#ifndef TV_TRAINING_LOG_H
#define TV_TRAINING_LOG_H

#include "coefficients.h"
#include "objective.h"

#include <stdio.h>

struct training_log_names {
    const char **tensors, **experts; /* by the indices of struct coefficients */
};

/* Is it the beginning of a log? A complete report of losses and gradients? Both are
 * atomic_file_recognizers. */
bool training_log_is_log(const char *text, size_t size);
bool training_log_is_gradients(const char *text, size_t size);

/* An update; or, with update 0, the losses at the initial coefficients. */
struct training_log_update {
    int phase; /* "stage" in the log: 1 and 2 of Expert Merging++; 0: left out */
    uint64_t epoch, update, samples;
    double lr, grad_norm; /* left out if update is 0 */
    struct loss mean;
    double regularizer; /* gamma R */
};
/* Writes a line. Returns -1 with the reason in errno. */
int training_log_write_update(FILE *log, const struct training_log_update *u,
                              const struct coefficients *c, const struct training_log_names *names);

/* The mean loss of the samples held out, after an epoch; epoch 0: before the first.
 * Returns -1 with the reason in errno. */
int training_log_write_validation(FILE *log, int phase, uint64_t epoch, const struct loss *mean);

/* What --gradients reports, besides the coefficients with their gradients summed over samples. */
struct gradient_report {
    const char **tasks;           /* [sample] */
    const size_t *sample_numbers; /* [sample]: its position among its expert's samples */
    const struct loss *losses;    /* [sample] */
    size_t n;
    double gamma;
    bool squared; /* of the regularizer */
};
void training_log_write_gradients(FILE *out, const struct gradient_report *r,
                                  const struct coefficients *c,
                                  const struct training_log_names *names);

#endif
