/* The result of a document that other documents use more than once. It is computed first, by a
 * separate process, into a temporary folder, which is removed as soon as the result is open. */
#ifndef TV_SHARED_RESULT_H
#define TV_SHARED_RESULT_H

#include "pipeline_run.h"
#include "translated_config.h"

/* Computes a result and replaces it in the merge by the open file, which remains open for the
 * pipelines that read it. Its name becomes part of a path in run->spool. A signal that ends this
 * process ends the computing one too, and what it made is removed; what SIGKILL leaves,
 * $TMPDIR/tvtools-XXXXXX, is removed here by the next merge that has such a result. Returns the
 * exit status; an error has been printed, after `tool`. */
int shared_result_compute(struct translated_config *m, const struct document_result *result,
                          const struct pipeline_options *run, const char *tool, struct arena *a);

#endif
