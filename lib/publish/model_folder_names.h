/* The names of the files that a model's folder holds beside its weights. A folder with anything
 * else in it is more than a checkpoint, and is not replaced. */
#ifndef TV_MODEL_FOLDER_NAMES_H
#define TV_MODEL_FOLDER_NAMES_H

#include <stdbool.h>

/* Is it the name of a config, a tokenizer file, a card, a licence or code, as transformers, the
 * Hugging Face Hub and tvtools write them? */
bool model_folder_names_contain(const char *name);

#endif
