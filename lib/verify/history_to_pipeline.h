/* Translates the history of a merged model to the pipeline that recomputes its tensors from
 * the inputs that the user gives.
 *
 * A verification_plan lives in an arena. */
#ifndef TV_HISTORY_TO_PIPELINE_H
#define TV_HISTORY_TO_PIPELINE_H

#include "input_search.h"
#include "recorded_merge.h"
#include "recorded_step.h"
#include "translated_config.h"

struct verification_plan {
    /* The pipeline without its last step, pack; and the results of other documents, which must be
     * computed before it. */
    struct translated_config merge;
    struct recorded_step pack;
    struct pipeline_word base;  /* pack's option with the model; `text` is NULL if it has none */
    const char *like;           /* the path of the --like model; NULL: it has none, or not found */
    bool has_other_kernels;     /* a step was run with other matrix kernels than those here */
    bool carries_weights;       /* those of the model stand for a calibration */
    struct string_list inputs;  /* names */
    struct string_list missing; /* inputs that were not found, with fingerprint or hash */
    struct string_list piped;   /* of those, models that were read from standard input: names */
    struct string_list notes;   /* what is not as it was in the merge: sentences */
    const char *other_version;  /* a sentence on a step that another version of tvtools has run;
                                   NULL:  there is none */
};

/* `filters`: all filters, ended by NULL; temporary files go to the folder `spool`. An error for a
 * history that cannot be run. Inputs that were not found are not an error yet: the pipeline has
 * their names. */
int history_to_pipeline(struct verification_plan *p, const struct recorded_merge *m,
                        struct input_search *inputs, const char *spool,
                        const struct filter *const *filters, struct arena *a, struct error *e);

#endif
