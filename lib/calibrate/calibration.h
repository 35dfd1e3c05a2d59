/* A calibration: everything needed to learn coefficients. This includes the base and the experts,
 * the stream's task vectors and which of its tensors are merged, the training samples, the
 * teachers' states on them, the merged model, the objective, and the coefficients. training.h
 * changes the coefficients. A struct calibration owns all of it until calibration_close; it borrows
 * options, stage and header. */
#ifndef TV_CALIBRATION_H
#define TV_CALIBRATION_H

#include "calibrate_options.h"
#include "coefficient_init.h"
#include "image_features.h"
#include "learned_tensors.h"
#include "teacher_models.h"
#include "training_log.h"

struct calibration {
    const struct calibrate_options *options;
    const struct stage *stage;
    const struct header *header; /* of the stream */
    struct base_and_experts experts;
    struct task_vectors *task_vectors;
    bool vectors_from_files; /* task vectors are read from the models' files: none are stored */
    struct saved_stream *saved_vectors; /* the stream, if its vectors are read in its file */
    struct learned_tensors merged;
    struct training_log_names names; /* of learned tensors and experts */
    struct samples samples;
    struct training_samples training_samples;
    struct coefficient_init init;
    double *task_weights; /* [expert]: beta_k */
    bool *hidden_states;  /* [h_0 .. h_L]: is it in S? */

    /* From calibration_prepare to calibration_release: */
    struct merged_model *merged_model;
    struct image_features *image_features; /* of the base's vision tower */
    struct teacher_models *teacher_weights;
    struct teacher_outputs *teachers;
    struct objective *objective;

    struct coefficients coefficients; /* from calibration_coefficients_init on */
};

/* Opens the models, selects tensors and samples, records both in the history, and reserves space
 * for the task vectors that have to be stored. `h`: the header of the stream that the stage reads.
 */
int calibration_open(struct calibration *c, const struct calibrate_options *o, struct stage *s,
                     const struct header *h, struct error *e);
void calibration_close(struct calibration *c);

/* Must all task vectors be stored before calibration_prepare? */
bool calibration_stores_vectors(const struct calibration *c);

/* Creates the merged model and the objective, and runs the teachers on their samples. All task
 * vectors must have been stored. */
int calibration_prepare(struct calibration *c, struct error *e);
/* Frees what calibration_prepare has created. The coefficients stay. */
void calibration_release(struct calibration *c);

#endif
