/* Reader of model.safetensors.index.json and the like: which shard contains which tensor. */
#ifndef TV_SHARD_INDEX_H
#define TV_SHARD_INDEX_H

#include "model_files.h"

#include <jansson.h>

/* The weight_map of an index, {"tensor": "file", ...}, after checking that every file is in
 * `files`. `path` names the model in messages. The caller drops the reference; NULL on error. */
json_t *shard_index_read(const struct model_files *files, struct model_file *index,
                         const char *path, struct error *e);

#endif
