/* The name of a model whose operand gives none: derived from its path. */
#ifndef TV_MODEL_NAME_H
#define TV_MODEL_NAME_H

/* The last component of the path, without .tar.zst, .safetensors and the like, and for a GGUF file
 * without the number of a split; for .../model.safetensors that of its folder; for a model in the
 * Hugging Face cache the name of the repository. "#KEY" of model_path.h is kept, so that two dicts
 * of one file have different names. "BASE+ADAPTER" (model_path.h) has both names. The caller
 * frees. */
char *model_name_from_path(const char *path);
/* name#KEY, with dots in place of what a name must not contain. The caller frees. */
char *model_name_append_key(const char *name, const char *key);

#endif
