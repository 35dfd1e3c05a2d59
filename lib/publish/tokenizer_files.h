/* The files of a tokenizer, and the differences between two tokenizers. */
#ifndef TV_TOKENIZER_FILES_H
#define TV_TOKENIZER_FILES_H

#include "error.h"
#include "mem.h"

/* Is it the name of a file that belongs to a tokenizer? */
bool tokenizer_files_is_tokenizer_file(const char *name);

/* A token with different ids in two models; -1: it has none. */
struct token_difference {
    const char *token;
    long id_in_a, id_in_b;
};
/* Compares the tokenizer.json of two models. 1: found a token of model `a` that has another id, or
 * none, in model `b`; 0: there is none, or one of the models has no such file; -1: error. The token
 * lives in the arena. */
int tokenizer_files_find_difference(const char *a_path, const char *b_path,
                                    struct token_difference *d, struct arena *a, struct error *e);

#endif
