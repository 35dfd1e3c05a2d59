/* Models in the local Hugging Face cache. Nothing is ever downloaded. */
#ifndef TV_HF_CACHE_H
#define TV_HF_CACHE_H

#include "error.h"

/* Finds the path itself if it exists; else, if it looks like org/name or name, the snapshot of that
 * model's main revision in the cache ($HF_HUB_CACHE, else $HF_HOME/hub, else
 * $XDG_CACHE_HOME/huggingface/hub, else ~/.cache/huggingface/hub). 1: found; the caller frees
 * *found. 0: there is neither; -1: error. In both cases `e` says so. */
int hf_cache_resolve_path(const char *path, char **found, struct error *e);

#endif
