/* The tokens of a tokenizer.json (the format of Hugging Face's tokenizers library): those of its
 * model, here called plain, and the added ones; and what two tokenizers are compared by.
 *
 * A tokenizer owns its tokens until tokenizer_free. */
#ifndef TV_TOKENIZER_H
#define TV_TOKENIZER_H

#include "error.h"
#include "name_index.h"

#include <stdbool.h>
#include <stdint.h>

/* How an added token is found in text. */
struct token_flags {
    bool special, normalized, lstrip, rstrip, single_word;
};

struct token {
    const char *text;
    int32_t id;
    bool is_plain;            /* in the model's vocabulary */
    bool is_added;            /* one of added_tokens, whose id counts then */
    struct token_flags flags; /* if it is added */
};

struct tokenizer {
    const char *type; /* of the model: "BPE", "Unigram", "WordPiece", "WordLevel" */
    size_t n;
    struct token *tokens;    /* plain ones first, each in the order of the file */
    struct name_index index; /* of `tokens` by their texts */
    uint64_t text_hash;      /* XXH3 of the file */
    uint64_t rules;          /* XXH3 of the merges of BPE, of the scores of Unigram; else 0 */
    struct arena arena;
};

/* Parses a tokenizer.json of `size` bytes, followed by a zero byte. `model` is the name in
 * messages. NULL on error: it is not valid JSON, or has no vocabulary; a token has no valid id. */
struct tokenizer *tokenizer_parse(const char *text, size_t size, const char *model,
                                  struct error *e);
void tokenizer_free(struct tokenizer *t);
/* NULL if there is no such token. */
const struct token *tokenizer_find(const struct tokenizer *t, const char *text);

#endif
