/* The loss that tv tune minimizes: how far a merged model is from the experts on their samples, as
 * calibrate measures it (objective.h), or the loss of the reference responses (response_scores.h).
 * Every task has the same weight.
 *
 * A tuning_loss owns its models, samples and teachers until tuning_loss_close. */
#ifndef TV_TUNING_LOSS_H
#define TV_TUNING_LOSS_H

#include "base_and_experts.h"

#include <stdint.h>

enum tuning_target {
    TUNING_EXPERTS, /* hidden loss + logit loss: no answers are needed */
    TUNING_ANSWERS  /* -ln p of the responses */
};

struct tuning_loss_options {
    int target;                 /* enum tuning_target */
    struct string_list samples; /* files, as for samples_read */
    struct string_list tasks;   /* TASK=MODEL */
    uint64_t per_task;          /* samples of each task, at most */
    int positions;              /* enum compared_positions */
    const char *hidden_layers;  /* as for calibrate */
    double hidden_weight, logit_weight;
};

#define TUNING_LOSS_COLUMNS 3

struct tuning_loss;

/* Opens base and experts, and reads the samples. NULL on error. `models`: the experts' checkpoints
 * are `files`. Borrows all of them. */
struct tuning_loss *tuning_loss_open(const struct tuning_loss_options *o,
                                     const struct base_and_experts_options *models,
                                     const struct common_options *common, const char *tool,
                                     struct error *e);
void tuning_loss_close(struct tuning_loss *t);
/* Runs the experts on their samples, once for all evaluations. */
int tuning_loss_run_teachers(struct tuning_loss *t, struct error *e);

/* The columns of a result: the first is the loss, the others are parts or companions of it. Returns
 * their number; `names` may be NULL. */
size_t tuning_loss_columns(const struct tuning_loss *t, const char *names[TUNING_LOSS_COLUMNS]);
/* Measures the model in a safetensors file that has the base's config. A loss that is not finite is
 * an error. */
int tuning_loss_compute(struct tuning_loss *t, const char *file, double values[TUNING_LOSS_COLUMNS],
                        struct error *e);

/* A hash of models, samples and options. */
uint64_t tuning_loss_key(const struct tuning_loss *t);
/* The bytes of the base's tensors, which are also those of a merged model, with floating-point
 * elements as `dtype`, or as they are stored (DTYPE_NONE). */
uint64_t tuning_loss_model_bytes(const struct tuning_loss *t, enum dtype dtype);

#endif
