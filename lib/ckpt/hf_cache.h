/* Models in the local Hugging Face cache. Nothing is ever downloaded. */
#ifndef TV_HF_CACHE_H
#define TV_HF_CACHE_H

#include "error.h"
#include "mem.h"

#include <stdbool.h>

/* Finds the path itself if it exists; of the folder models--org--name of a cache, the snapshot of
 * the main revision, else the only one. If the path does not exist and it looks like org/name or
 * name, the snapshot of that model's main revision, or with @REVISION behind it of that branch, tag
 * or commit (or its first 7 digits or more), in the cache ($HF_HUB_CACHE, else $HF_HOME/hub,
 * else $XDG_CACHE_HOME/huggingface/hub, else ~/.cache/huggingface/hub). Of PATH@REVISION where PATH
 * exists, PATH itself: a folder has no revisions. 1: found; the caller frees
 * *found. 0: there is neither; -1: error. In both cases `e` says so. */
int hf_cache_resolve_path(const char *path, char **found, struct error *e);

/* Lists the names of the models in the cache, sorted, in the arena; how many. */
size_t hf_cache_list_models(const char ***names, struct arena *a);

/* A model on the Hugging Face Hub. */
struct hub_model {
    const char *name, *commit; /* org/name or name, and 40 hexadecimal digits; NULL: unknown */
};

/* The model whose snapshot is the folder, or contains the file, at a path that
 * hf_cache_resolve_path has found: .../models--ORG--NAME/snapshots/COMMIT. In the arena. */
struct hub_model hf_cache_identify_model(const char *path, struct arena *a);

/* The folder of that snapshot in the cache, in the arena; NULL if it is not there, or if name or
 * commit are not those of a model. Opens nothing else. */
const char *hf_cache_find_snapshot(const struct hub_model *m, struct arena *a);

/* What follows an error about a file that the model at `path` lacks: that its download is
 * incomplete, if it is a snapshot in a cache; else "". In the arena. */
const char *hf_cache_download_hint(const char *path, struct arena *a);

#endif
