/* Values of config.json that every architecture has: the number of layers, and whether head and
 * embedding are tied. Multimodal models keep them in a section for the text model. */
#ifndef TV_MODEL_CONFIG_H
#define TV_MODEL_CONFIG_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* The keys of text model sections, and those of the number of layers; both lists end with NULL. */
extern const char *const model_config_text_sections[];
extern const char *const model_config_layer_keys[];

/* Parses a JSON object of `size` bytes; NULL if it is none. The last of duplicate keys wins, as in
 * Python; *has_duplicates tells if there are any. The caller drops the reference. */
json_t *model_config_parse(const char *text, size_t size, bool *has_duplicates);
/* The integer of a key in the text section, else at the top level; -1 if there is none. */
json_int_t model_config_text_integer(json_t *config, const char *key);

/* The number of layers of the text model; 0 if the config has no such key. */
long model_config_layer_count(const char *text, size_t size);
/* Is the language-model head the token embedding? As the config says, or else as it is in
 * transformers for models of this type; unknown if the config has no type. */
enum tied_embeddings { TIED_EMBEDDINGS_UNKNOWN, TIED_EMBEDDINGS_YES, TIED_EMBEDDINGS_NO };
enum tied_embeddings model_config_tied_embeddings(const char *text, size_t size);

#endif
