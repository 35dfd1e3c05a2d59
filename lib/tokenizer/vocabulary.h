/* The vocabulary of a merged model: the tokens that vocabulary_request.h asks for, with their ids,
 * and the row that each token has in each of the models. Models whose vocabularies differ are
 * merged by moving their rows to these ids; token_rows.h says which rows the tokens get that a
 * model lacks.
 *
 * The first model of the request gives the start of a union, and of "base". A token whose id is not
 * below the model's vocab_size does not exist. A vocabulary owns what it refers to until
 * vocabulary_free. */
#ifndef TV_VOCABULARY_H
#define TV_VOCABULARY_H

#include "tokenizer.h"
#include "vocabulary_request.h"

struct vocabulary_model {
    const char *name, *path;
    bool only_tokenizer;    /* as in the request */
    size_t rows;            /* vocab_size of config.json; SIZE_MAX: unknown */
    size_t matched, tokens; /* its tokens that the vocabulary has; all of its tokens */
    const int32_t *row_of;  /* [id of the vocabulary]: its row of the token; -1: it has none */
};

/* A token of the vocabulary. */
struct vocabulary_token {
    const char *text;
    bool is_added;                     /* an added token of the start, or a new one */
    struct token_flags flags;          /* if it is added */
    const struct token_source *source; /* as in the request; NULL: it is not in `tokens` there */
};

struct vocabulary {
    struct vocabulary_request request;
    size_t n;                        /* tokens; their ids are 0 ... n - 1 */
    struct vocabulary_token *tokens; /* [id] */
    struct name_index index;         /* of `tokens` by their texts */
    size_t n_start;                  /* the first ones are those of the start */
    size_t n_rows;                   /* n, padded to the multiple */
    size_t n_models;
    struct vocabulary_model *models;
    struct vocabulary_model start; /* the model whose tokenizer.json the result begins with */
    bool start_is_cut;             /* tokens that the start's embedding lacks are taken out of it */
    uint64_t start_hash;           /* XXH3 of its tokenizer.json */
    long base;                     /* of `models`; -1: there is none */
    struct arena arena;
};

/* Reads tokenizer.json and config.json of the models. `text` is the request as JSON. Warnings are
 * printed under the name `tool`, unless it is NULL. NULL on error: a model has a tokenizer but no
 * tokenizer.json; the ids have gaps; the union is one of different BPEs. */
struct vocabulary *vocabulary_new(const char *text, const char *tool, struct error *e);
void vocabulary_free(struct vocabulary *v);

/* The model of that name; -1 if there is none. */
long vocabulary_find_model(const struct vocabulary *v, const char *name);
/* Adds a model that the request does not have: its tokens are taken to be those of the first one,
 * with a warning. Returns its index. */
size_t vocabulary_add_model(struct vocabulary *v, const char *name, const char *tool);
/* Prints a note: how many tokens of the vocabulary each model has. */
void vocabulary_print_note(const struct vocabulary *v, const char *tool);

#endif
