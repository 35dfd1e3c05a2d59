/* The small files that a model lends to the one that is made from it: config.json brought up to
 * date, the tokenizer's, others that belong to a model of any kind; not its card and its index. */
#ifndef TV_LEND_H
#define TV_LEND_H

#include "input.h"

struct lend {
    const struct input *lender;
    const struct header *result; /* as card.h wants it */
    bool new_head;
    bool no_tokenizer;
    const char *tokenizer;     /* another model that lends its tokenizer; NULL */
    const char *chat_template; /* to be put into the tokenizer's files; NULL */
    const char *spool, *tool;  /* as in input_open */
};

typedef int lend_put(void *to, const char *name, const void *bytes, size_t size, struct error *e);

/* Hands over the files one by one. */
int lend_files(const struct lend *l, lend_put *put, void *to, struct error *e);
/* The text of the lender's config.json; NULL if there is none. Caller frees. */
char *lend_config(const struct input *lender, size_t *size);

#endif
