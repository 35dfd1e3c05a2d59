/* The pipeline that tv tune is given: where its numbers go, which experts it merges, and how it is
 * run without writing its checkpoint.
 *
 * A tuned_pipeline lives in the arena that it was read into. */
#ifndef TV_TUNED_PIPELINE_H
#define TV_TUNED_PIPELINE_H

#include "dtype.h"
#include "pipeline_run.h"
#include "pipeline_template.h"

struct tuned_pipeline {
    struct pipeline_template template;
    const struct pipeline_options *run;
    const char *base;           /* the model of pack's --base, --onto or --like */
    enum dtype dtype;           /* of pack's --dtype; DTYPE_NONE: not given */
    struct string_list experts; /* operands of tv-extract and unpack, without their bases */
    struct string_list notes;   /* what an evaluation does again: sentences */
};

/* An error if the pipeline cannot be parsed, does not end with pack, or has no placeholder. A wrong
 * command line of one of its filters ends the process. */
int tuned_pipeline_read(struct tuned_pipeline *t, const char *text,
                        const struct pipeline_options *run, struct arena *a, struct error *e);
/* The pipeline with these numbers. */
struct pipeline *tuned_pipeline_with_numbers(const struct tuned_pipeline *t,
                                             const char *const *values, struct arena *a,
                                             struct error *e);
/* The same, ending with a pack that writes a safetensors file to standard output. */
struct pipeline *tuned_pipeline_to_standard_output(const struct tuned_pipeline *t,
                                                   const char *const *values, struct arena *a,
                                                   struct error *e);

#endif
