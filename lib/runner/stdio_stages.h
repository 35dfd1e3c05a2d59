/* The stages at the two ends of a chain that reads and writes streams, as filters. */
#ifndef TV_STDIO_STAGES_H
#define TV_STDIO_STAGES_H

#include "filter.h"

/* Reads a stream from standard input, or from the file or pipe that is its operand. */
extern const struct filter stdio_stages_reader;
/* Writes a stream to standard output; if the run fails, with an error record at its end. */
extern const struct filter stdio_stages_writer;
/* Before the run: opens standard output, so that an error record is written even if the program
 * ends before the writer's turn to be opened. */
void stdio_stages_prepare_writer(struct stage *s);
/* The path of standard input, if the source of a run is the reader and reads a regular file; else
 * NULL. */
const char *stdio_stages_find_stream_file(const struct stage *source);
/* Bytes of payload that an open source copies to a temporary file if the run reads it more than
 * once: those of a stream from a pipe; 0 for other sources. */
uint64_t stdio_stages_copied_bytes(const struct stage *source);
/* A source_for_operand function for a sink that reads no stream: a source without tensors. */
const struct filter *stdio_stages_empty_source(const char *operand, struct error *e);

#endif
