/* All that takes part when coefficients are learned: base and experts, the task vectors of a stream
 * and which of its tensors are merged, the samples and their order, the experts' states on them,
 * the merged model, its loss, and the coefficients at their start. What is done with it is
 * filters/calibrate.c. A calibration owns it all until calibration_close; it borrows the header. */
#ifndef TV_CALIBRATION_H
#define TV_CALIBRATION_H

#include "task_vectors.h"
#include "examples.h"
#include "experts.h"
#include "training_log.h"
#include "objective.h"
#include "image_features.h"
#include "coefficient_init.h"

enum { TEACHER_VISION_OWN, TEACHER_VISION_BASE };
enum coefficient_granularity { PER_TENSOR, PER_LAYER, PER_MODEL };

struct calibration_options {
    struct experts_options operands;
    struct string_list samples, tasks; /* files; TASK=MODEL */
    struct string_list keep_base, init;
    double otherwise;  /* the start where --init says nothing */
    double max;        /* coefficients lie below it */
    const char *start; /* a table; may be NULL */
    const char *hidden_layers;
    int teacher_vision;   /* whose vision tower the experts see with */
    bool published_names; /* without keep_base: what stays the base's by the published lists, else
                             by role */
    bool responses;
    uint64_t per_task, held_out;
    int per; /* what shares a coefficient */
    struct tensor_rules task_weight;
    struct objective_settings objective;
};

/* A merged tensor: where it is in the model and in the stream. */
struct merged_tensor {
    enum weight_kind part;
    size_t layer, tensor;
};

struct calibration {
    const struct calibration_options *options;
    const struct stage *stage; /* that asks */
    const struct header *header;
    struct experts experts;
    struct task_vectors *task_vectors;
    bool vectors_from_files; /* all vectors are read from the models' files: none need be kept */
    size_t n_merged;
    struct merged_tensor *merged_tensors; /* [merged tensor] */
    const char **tensor_names;            /* [merged tensor] */
    long *merged_index; /* [tensor of the stream]: which merged one it is; -1: none */
    struct samples samples;
    struct examples examples;
    struct coefficient_init init;
    double *task_weights; /* [expert] */
    bool *hidden_states;  /* [h_0 .. h_L] */

    /* From calibration_prepare to calibration_release. */
    struct merged_model *merged_model,
        **teacher_models;                  /* the model that is learned; base + vector k */
    double *unit_coefficients;             /* (experts, experts): the coefficients of those */
    struct image_features *image_features; /* of the base's vision tower */
    struct teachers *teachers;
    struct objective *objective;

    struct coefficients coefficients;
};

/* Opens models, chooses tensors and samples, and makes room for the vectors that have to be kept.
 * `h` is the stream that the stage reads; its history will say the samples. */
int calibration_open(struct calibration *c, const struct calibration_options *o, struct stage *s,
                     const struct header *h, struct error *e);
void calibration_close(struct calibration *c);

/* Makes the merged model and its loss, and lets the experts compute. All vectors are there now. */
int calibration_prepare(struct calibration *c, struct error *e);
/* Losses of n examples, as objective_compute_losses; one that is not finite is an error, unless the
 * stage allows it. */
int calibration_losses(const struct calibration *c, const size_t *which, size_t n, bool gradient,
                       struct loss *losses, struct error *e);
/* Lets go of what only learning needs; the coefficients stay. */
void calibration_release(struct calibration *c);

/* Makes the coefficients, `chunks` of each merged tensor (0: frozen), at their start, and gives
 * them to the merged model; `moved`: then moved to where the table says. */
int calibration_init_coefficients(struct calibration *c, const size_t *chunks, bool moved,
                                  struct error *e);

/* The weights that a vector of a tensor of the stream leaves with: n coefficients, or a 0 where the
 * base stays. */
const double *calibration_vector_weights(const struct calibration *c, size_t tensor,
                                         const struct vector *v, size_t *n);
/* The same of all vectors: lines of tensor, model, chunk and value, with tabs between them. */
void calibration_write_table(const struct calibration *c, FILE *out);

#endif
