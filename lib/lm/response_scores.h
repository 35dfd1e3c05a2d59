/* How well a model predicts the responses of samples, by task: loss, and the tokens and samples
 * that it gets right. One forward pass over prompt and reference response (teacher forcing) shows
 * what greedy decoding generates: up to the first wrong token, the model sees the same input in
 * both. Arithmetic is in F32. Nothing here is owned. */
#ifndef TV_RESPONSE_SCORES_H
#define TV_RESPONSE_SCORES_H

#include "samples.h"
#include "weight_source.h"

#include <stdbool.h>

/* Sums over the samples of a task. Starts zeroed. */
struct response_sums {
    size_t samples, exact_samples; /* exact: every response token is ranked first */
    size_t tokens, top1_tokens;    /* of responses */
    double loss;                   /* -ln p of these tokens */
};

struct response_scores {
    double loss, token_accuracy, exact_match;
};

struct response_scores_inputs {
    const struct arch *arch;
    const struct weight_source *weights;
    const struct samples *samples; /* each with a prompt and a response */
    uint64_t memory;               /* bytes of image features in memory */
    const char *spool;             /* folder of the temporary file; may be NULL */
    bool allow_nonfinite;
};

/* Adds the samples to the sums of their tasks. A loss that is not finite is an error that names the
 * sample, unless it is allowed. */
int response_scores_sum(const struct response_scores_inputs *in, struct response_sums *sums,
                        struct error *e);
struct response_scores response_scores_of_task(const struct response_sums *sums);
/* The mean of n tasks, each with the same weight. */
struct response_scores response_scores_mean(const struct response_sums *sums, size_t n);

#endif
