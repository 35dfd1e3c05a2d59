/* The small files that a model lends to the one that is made from it: config.json brought up to
 * date, the tokenizer's, others that belong to a model of any kind; not its card and its index. */
#ifndef TV_AUXILIARY_FILES_H
#define TV_AUXILIARY_FILES_H

#include "model_source.h"

struct auxiliary_files {
    const struct model_source *source;
    const struct header *result; /* as model_card.h wants it */
    bool new_head;
    bool no_tokenizer;
    const char *tokenizer;     /* another model that lends its tokenizer; NULL */
    const char *chat_template; /* to be put into the tokenizer's files; NULL */
    const char *spool, *tool;  /* as in model_source_open */
};

typedef int auxiliary_file_writer(void *to, const char *name, const void *bytes, size_t size,
                                  struct error *e);

/* Hands over the files one by one. */
int auxiliary_files_copy(const struct auxiliary_files *l, auxiliary_file_writer *put, void *to,
                         struct error *e);
/* The text of the lender's config.json; NULL if there is none. Caller frees. */
char *auxiliary_files_read_config(const struct model_source *lender, size_t *size);

#endif
