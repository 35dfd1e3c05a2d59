/* Information that a stage, mostly a source or sink, exchanges with its run: full hashes of the
 * models, and properties of the other stages. The stage must be open; what these functions return
 * belongs to the run. */
#ifndef TV_SOURCE_SINK_SERVICES_H
#define TV_SOURCE_SINK_SERVICES_H

#include "filter.h"
#include "collected_hashes.h"

/* For sources: the full hash of a model that was read, for the end record and the model card. */
void source_sink_services_add_model_hash(struct stage *s, const char *model, uint64_t hash);
/* For a sink's close: all of them; their number. */
size_t source_sink_services_get_model_hashes(const struct stage *s, const char *const **models,
                                             const uint64_t **hashes);

/* For sources that read models in any order: the hash of what was read of a model for tensor
 * `index` of the source's manifest, as soon as it is known. */
void source_sink_services_add_tensor_hash(struct stage *s, const char *model, size_t index,
                                          uint64_t hash);
/* For sinks: those that are known so far; their number. */
size_t source_sink_services_get_tensor_hashes(const struct stage *s,
                                              const struct tensor_hash **hashes);

/* For the open of a sink: the name of a stage that must see the whole model first; NULL: none. */
const char *source_sink_services_find_model_scope_stage(const struct stage *s);
/* Does the source read models in any order, and does the header contain a fingerprint of each? */
bool source_sink_services_has_model_fingerprints(const struct stage *s);
/* For a sink's close: was the stream that the run read written without all its checksums? */
bool source_sink_services_lacks_checksums(const struct stage *s);
/* For the open of any stage: the source of the run. */
const struct stage *source_sink_services_source(const struct stage *s);
/* For stages that compute for a long time without reading or writing: ends the process, as a write
 * would, if the reader of its output has exited. */
void source_sink_services_exit_if_reader_gone(const struct stage *s);

#endif
