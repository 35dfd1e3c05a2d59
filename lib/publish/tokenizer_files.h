/* Tokenizer files and the chat template in them. */
#ifndef TV_TOKENIZER_FILES_H
#define TV_TOKENIZER_FILES_H

#include "error.h"
#include "mem.h"

/* Is a file of that name part of a tokenizer? */
bool tokenizer_files_is_tokenizer_file(const char *name);

/* The Jinja text that `wanted` means: itself, a template that is known by name (alpaca, chatml,
 * exaone, llama3, mistral), or for "auto" the one that most of the models have; NULL where none has
 * one. */
int chat_template_choose(const char *wanted, size_t n, const char *const *models,
                         const char **template, struct arena *a, struct error *e);

/* A tokenizer_config.json with another template in it; the caller frees. NULL: it is no JSON. */
char *chat_template_insert(const char *config, size_t size, const char *template, struct error *e);

/* A token that has another number in model `b` than in model `a`, both read from their
 * tokenizer.json: 1 and the token's text and numbers (-1: it has none); 0 if there is none, or no
 * telling. Tokens that only `b` has are no difference. */
struct token_difference {
    const char *token;
    long id_in_a, id_in_b;
};
int tokenizer_files_find_difference(const char *a_path, const char *b_path,
                                    struct token_difference *d, struct arena *a);

#endif
