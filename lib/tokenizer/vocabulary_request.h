/* The vocabulary requested for merged models: mergekit's `tokenizer_source` and `tokenizer:`,
 * together with the models. Filters take it as JSON:
 *
 *     {"source": "union",                    or "base", or the NAME of a model;
 *                                            {"NAME": "PATH"} is one that is not merged
 *      "base": "NAME",                       the base among the models; missing: there is none
 *      "models": {"NAME": "PATH", ...},      in this order; the names are those in streams
 *      "tokens": {"TOKEN": {"source": ..., "force": true}, ...},
 *      "pad_to_multiple_of": N, "other_bpe": true}
 *
 * The source of a token is "NAME", or {"kind": "model_token", "model": "NAME", "token": "TOKEN"},
 * or the same with "token_id": I, or {"kind": "zero"}. A model {"tokenizer": "PATH"} in place of a
 * path is no file: PATH has only its tokenizer. Everything belongs to the arena that is passed in.
 */
#ifndef TV_VOCABULARY_REQUEST_H
#define TV_VOCABULARY_REQUEST_H

#include "error.h"
#include "mem.h"

#include <stdbool.h>
#include <stddef.h>

struct vocabulary_request_model {
    const char *name, *path; /* path: "" if it is unknown */
    bool only_tokenizer;     /* the weights at `path` are not those of the model */
};

enum token_source_kind {
    TOKEN_SOURCE_NONE,
    TOKEN_SOURCE_TOKEN, /* a model's row of a token */
    TOKEN_SOURCE_ROW,   /* a row of a model, by its number */
    TOKEN_SOURCE_ZERO
};

/* Where the default row of a token comes from. */
struct token_source {
    const char *token; /* whose row it is */
    enum token_source_kind kind;
    const char *model;        /* TOKEN, ROW */
    const char *source_token; /* TOKEN */
    size_t row;               /* ROW */
    bool force;               /* all models get the default row */
};

struct vocabulary_request {
    const char *source, *base; /* base: NULL if there is none */
    const char *source_path;   /* of a source that is not among the models; NULL: it is */
    size_t n_models;
    struct vocabulary_request_model *models;
    size_t n_tokens;
    struct token_source *tokens;
    size_t pad_to_multiple_of; /* 0: no padding */
    bool other_bpe;            /* accept the union of different BPEs */
};

#define VOCABULARY_ROWS_MAX ((size_t)1 << 24) /* of a vocabulary, and to pad to */

/* Parses JSON. An error names what is wrong: an unknown key, a value of another type. */
int vocabulary_request_parse(struct vocabulary_request *r, const char *text, struct arena *a,
                             struct error *e);
/* As JSON on one line, without paths if `with_paths` is false: they are null. Names and paths must
 * be UTF-8. */
const char *vocabulary_request_format(const struct vocabulary_request *r, bool with_paths,
                                      struct arena *a);

#endif
