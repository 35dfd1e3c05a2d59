/* Tokenizer files and the chat template in them. */
#ifndef TV_CHAT_H
#define TV_CHAT_H

#include "error.h"
#include "mem.h"

/* Is a file of that name part of a tokenizer? */
bool chat_is_tokenizer_file(const char *name);

/* The Jinja text that `wanted` means: itself, a template that is known by name (alpaca, chatml,
 * exaone, llama3, mistral), or for "auto" the one that most of the models have; NULL where none has
 * one. */
int chat_find(const char *wanted, size_t n, const char *const *models, const char **template,
              struct arena *a, struct error *e);

/* A tokenizer_config.json with another template in it; the caller frees. NULL: it is no JSON. */
char *chat_set_template(const char *config, size_t size, const char *template, struct error *e);

/* A token that has another number in model `b` than in model `a`, both read from their
 * tokenizer.json: 1 and the token's text and numbers (-1: it has none); 0 if there is none, or no
 * telling. Tokens that only `b` has are no difference. */
struct chat_difference {
    const char *token;
    long a, b;
};
int chat_compare_tokens(const char *a_path, const char *b_path, struct chat_difference *d,
                        struct arena *a);

#endif
