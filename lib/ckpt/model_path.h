/* A model as the user names it: a path or a name in the Hugging Face cache, optionally with the key
 * of the dict that holds its tensors, in files of torch.save (state_dict.h): "PATH#KEY". A LoRA
 * adapter follows its base: "BASE+ADAPTER". */
#ifndef TV_MODEL_PATH_H
#define TV_MODEL_PATH_H

#include "error.h"

#include <stddef.h>

/* The length of the path, without "#KEY". A path that exists with all its '#' has no key; else the
 * longest part before a '#' that is a path or a cached model is the path. */
size_t model_path_length(const char *path);
/* The path of the adapter in "BASE+ADAPTER", after the '+': the longest part before a '+' that is a
 * path or a cached model, while the rest is one too, is the base. NULL: the path has no adapter,
 * because it exists with all its '+', or because there are no such two models. */
const char *model_path_adapter(const char *path);
/* A copy of BASE, which is the whole path if `adapter` is NULL; the caller frees. */
char *model_path_copy_base(const char *path, const char *adapter);
/* Finds the path (hf_cache.h), and its key in `path`, NULL if there is none. 1: found; the caller
 * frees *found. 0: there is no such model; -1: error. In both cases `e` says so. */
int model_path_resolve(const char *path, char **found, const char **key, struct error *e);

#endif
