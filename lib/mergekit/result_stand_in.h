/* Stand-ins for the results of documents, so that pipelines that use them can be opened before
 * anything is computed: checkpoints with the tensors of each result, but without their data. They
 * are unlinked temporary files that take no space. */
#ifndef TV_RESULT_STAND_IN_H
#define TV_RESULT_STAND_IN_H

#include "pipeline_run.h"
#include "translated_config.h"

/* Makes those of all results that have none. This opens every model and filter that they need, so
 * their errors are reported. */
int result_stand_in_make_all(struct translated_config *m, const struct pipeline_options *run,
                             struct arena *a, struct error *e);
void result_stand_in_close_all(struct translated_config *m);

#endif
