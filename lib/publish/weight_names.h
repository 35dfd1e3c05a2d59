/* Names of a checkpoint's weight files: a stem, an ending, and the number of the shard.
 * transformers looks for the stem "model", diffusers for "diffusion_pytorch_model". */
#ifndef TV_WEIGHT_NAMES_H
#define TV_WEIGHT_NAMES_H

#include "mem.h"

#include <stdbool.h>
#include <stddef.h>

#define WEIGHT_STEM_TRANSFORMERS "model"
#define WEIGHT_STEM_DIFFUSERS    "diffusion_pytorch_model"

/* The stem that equals `text`; NULL if there is none. */
const char *weight_names_find_stem(const char *text);

/* In the arena. */
const char *weight_names_of_shard(const char *stem, size_t i, size_t n, struct arena *a);
const char *weight_names_of_index(const char *stem, struct arena *a);
/* Is it the name of a shard? */
bool weight_names_is_shard(const char *name);

#endif
