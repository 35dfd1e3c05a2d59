/* A model's config.json, as far as every architecture has it: read, and some of its values found.
 * In multimodal models these stand in a section for the text model. */
#ifndef TV_MODEL_CONFIG_H
#define TV_MODEL_CONFIG_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* Sections for the text model, and keys for its number of layers; each list ends with NULL. */
extern const char *const model_config_text_sections[];
extern const char *const model_config_layer_keys[];

/* The JSON object in `size` bytes, the caller's to drop; NULL if there is none. The last of
 * duplicate keys wins, as in Python; `duplicate` says if there were any. */
json_t *model_config_parse(const char *text, size_t size, bool *duplicate);
/* The integer under a key in the text section, else at the top level; -1 if there is none. */
json_int_t model_config_text_integer(json_t *config, const char *key);

/* The layers of the text model; 0: the config does not say. */
long model_config_layer_count(const char *text, size_t size);
/* Does the config say that the language-model head is the token embedding? */
bool model_config_ties_embeddings(const char *text, size_t size);

#endif
