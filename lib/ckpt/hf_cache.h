/* Models in the local Hugging Face cache. Nothing is ever downloaded. */
#ifndef TV_HF_CACHE_H
#define TV_HF_CACHE_H

#include "error.h"

/* The path itself if it exists; else, if it looks like org/name or name, the snapshot of that
 * model's main revision in the cache ($HF_HUB_CACHE, else $HF_HOME/hub, else
 * $XDG_CACHE_HOME/huggingface/hub, else ~/.cache/huggingface/hub). The caller frees; NULL on
 * error. */
char *hf_cache_resolve_path(const char *path, struct error *e);

#endif
