/* Compares what pack copies into a GGUF file from the --like model or the base: its metadata, and
 * the tensors that are settings. */
#ifndef TV_GGUF_COMPARISON_H
#define TV_GGUF_COMPARISON_H

#include "comparison_report.h"
#include "gguf_encoding.h"

/* Adds what differs to the report. `type` is that of the matrices that pack would write. Names of
 * the report point into both models. */
int gguf_comparison_run(struct comparison_report *r, const struct gguf_model *model,
                        const struct gguf_model *like, enum ggml_type type, struct error *e);

#endif
