/* Checks of a merge before any payload is read. */
#ifndef TV_PREFLIGHT_H
#define TV_PREFLIGHT_H

#include "predicted_output.h"

/* Do required parameters have values for all tensors, and can every mean divide by the sum of its
 * weights? Opens models only if the configuration leaves that open. */
int preflight_check_parameters(struct translated_config *m, const struct pipeline_options *run,
                               struct arena *a, struct error *e);
/* Checks before every merge: those, and is the model there whose tokenizer is used? */
int preflight_check_inputs(struct translated_config *m, const struct pipeline_options *run,
                           struct arena *a, struct error *e);

/* Where a merge would be written. */
struct preflight_target {
    const char *path; /* "-": standard output */
    bool force;       /* replace it if it exists */
    enum dtype dtype; /* of floating tensors; DTYPE_NONE: as configured */
};

/* What the checks found, in the arena. */
struct preflight_result {
    struct predicted_output output;
    uint64_t free_bytes; /* 0: unknown */
    size_t n_warnings;
    struct preflight_warning {
        const char *model, *sentence;
    } * warnings; /* [n_warnings] */
};

/* Checks all that can be checked without payload: opens all models and filters, lists the tensors
 * of the result, and checks the target and the free disk space. */
int preflight_check_without_computing(struct translated_config *m,
                                      const struct pipeline_options *run,
                                      const struct preflight_target *target,
                                      struct preflight_result *result, struct arena *a,
                                      struct error *e);

#endif
