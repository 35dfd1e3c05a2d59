/* What can be known of a merge before any data is read. */
#ifndef TV_PREFLIGHT_H
#define TV_PREFLIGHT_H

#include "config_to_pipeline.h"
#include "pipeline_run.h"

/* What every merge is checked for: that each tensor gets the weights that its method requires, and
 * that the tokenizer which was asked for numbers the tokens as the models do. */
int preflight_check_inputs(const struct merge_pipeline *r, const struct pipeline_options *run,
                           struct arena *a, struct error *e);

/* What a merge would write. */
struct preflight_totals {
    size_t tensors;
    uint64_t bytes, free_bytes; /* `free` on the disk; 0: not known */
    bool size_unknown;          /* a part of it is known only when the merge runs */
};

/* Opens all models and filters, and looks at the target: what would fail in the first second of a
 * merge fails here. */
int preflight_dry_run(const struct merge_pipeline *r, const struct pipeline_options *run,
                      const char *out, bool force, struct preflight_totals *sum, const char *tool,
                      struct arena *a, struct error *e);

#endif
