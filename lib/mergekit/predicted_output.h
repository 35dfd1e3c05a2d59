/* The tensors that a merge would write, predicted from headers only. */
#ifndef TV_PREDICTED_OUTPUT_H
#define TV_PREDICTED_OUTPUT_H

#include "pipeline_run.h"
#include "translated_config.h"

struct predicted_tensor {
    const char *name;
    enum dtype dtype;
    size_t rank;
    const uint64_t *shape;
};

struct predicted_output {
    size_t n;
    struct predicted_tensor *tensors; /* sorted by name */
    uint64_t bytes;
};

/* Of a pipeline, with floating tensors of `out_dtype` unless that is DTYPE_NONE. The results that
 * it uses have stand-ins. As a side effect this opens every model and filter, so their errors are
 * reported too. The tensors are in the arena. */
int predicted_output_compute(struct predicted_output *o, const struct translated_config *m,
                             const struct pipeline *p, enum dtype out_dtype,
                             const struct pipeline_options *run, struct arena *a, struct error *e);

#endif
