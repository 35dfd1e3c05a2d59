/* The names of the files that a model's folder holds beside its weights. A folder with anything
 * else in it is more than a checkpoint, and is not replaced. */
#ifndef TV_MODEL_FOLDER_NAMES_H
#define TV_MODEL_FOLDER_NAMES_H

#include <stdbool.h>

/* Is it the name of a config, a tokenizer file, a card, a license or code, as transformers, the
 * Hugging Face Hub and tvtools write them, or one that was added? */
bool model_folder_names_contain(const char *name);
/* Adds the name of a file that is copied from a model to the new folder: the folder that it
 * replaces may have it, too. */
void model_folder_names_add(const char *name);

#endif
