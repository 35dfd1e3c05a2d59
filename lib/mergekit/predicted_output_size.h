/* How much a merge would write: the tensors of the result, and their bytes. Reads headers only. */
#ifndef TV_PREDICTED_OUTPUT_SIZE_H
#define TV_PREDICTED_OUTPUT_SIZE_H

#include "translated_config.h"
#include "pipeline_run.h"

struct predicted_output_size {
    size_t tensors;
    uint64_t bytes;
    bool incomplete; /* tensors from results of other documents are not included */
};

/* As a side effect this opens every model and filter, so their errors are reported too. */
int predicted_output_size_compute(struct predicted_output_size *size,
                                  const struct translated_config *m,
                                  const struct pipeline_options *run, struct arena *a,
                                  struct error *e);

#endif
