/* The keys tokenizer_source and tokenizer of a merge configuration, read from YAML.
 * Everything belongs to the arena of the YAML tree that it is read from. */
#ifndef TV_CONFIG_TOKENIZER_H
#define TV_CONFIG_TOKENIZER_H

#include "vocabulary_request.h"
#include "yaml_tree.h"

struct config_tokenizer {
    const char *source; /* "union", "base" or a model; NULL: neither key is there */
    size_t line;
    size_t n_tokens;
    struct token_source *tokens; /* `model` is a path */
    size_t *token_lines;         /* [token] */
    size_t pad_to_multiple_of;   /* 0: no padding */
};

int config_tokenizer_read(const struct yaml_tree *t, const yaml_node_t *map,
                          struct config_tokenizer *out);

#endif
