/* The stream header that a pipeline of a configuration outputs, found by opening its filters
 * without any payload. */
#ifndef TV_PIPELINE_OUTPUT_HEADER_H
#define TV_PIPELINE_OUTPUT_HEADER_H

#include "pipeline_run.h"
#include "translated_config.h"

/* The name of the command in messages of the stages that are opened for their headers. */
#define PIPELINE_HEADER_TOOL "tv merge"

/* Are all operands files, or results with stand-ins (result_stand_in.h)? Only such a pipeline can
 * be opened. */
bool pipeline_output_header_is_available(const struct translated_config *m,
                                         const struct pipeline *p);
/* The stage of a filter's command in such a pipeline, which the caller frees; its words are in the
 * arena. A usage error ends the process, as when the pipeline is run. */
struct stage *pipeline_output_header_parse(const struct translated_config *m,
                                           const struct pipeline_options *run,
                                           const struct pipeline_command *c, struct arena *a);
/* The header after the first n commands, which the caller frees; NULL on error. */
struct header *pipeline_output_header_read(const struct translated_config *m,
                                           const struct pipeline_options *run,
                                           const struct pipeline *p, size_t n, struct error *e);

#endif
