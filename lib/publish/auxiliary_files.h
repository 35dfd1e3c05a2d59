/* The auxiliary files of a new checkpoint, copied from a source model: an updated config.json, the
 * tokenizer files, and others that belong to any model (code, licenses, settings). README.md and
 * the index are not copied, nor are tokenizer files in formats other than tokenizer.json if the
 * vocabulary changes. */
#ifndef TV_AUXILIARY_FILES_H
#define TV_AUXILIARY_FILES_H

#include "model_source.h"
#include "moe_config.h"
#include "vocabulary.h"

/* What to copy. */
struct auxiliary_files {
    const struct model_source *source;
    const struct header *result;  /* the checkpoint's (model_card.h) */
    const struct moe_config *moe; /* config.json gets the keys of a mixture of experts; NULL */
    bool has_own_head;            /* the stream has a head, so it is not tied */
    const char *layers;           /* of the source, as for config_update_json; NULL */
    bool no_tokenizer;
    const char *tokenizer; /* operand of another model for the tokenizer files; NULL */
    const struct vocabulary
        *vocabulary;           /* starts with the tokens of `tokenizer`; NULL: unchanged */
    const char *chat_template; /* to set in the tokenizer files; NULL */
    const char *spool, *tool;  /* as for model_source_open */
};

typedef int auxiliary_file_writer(void *to, const char *name, const void *bytes, size_t size,
                                  struct error *e);

/* Adds the names of the files that are copied from a model to those that a folder may have which
 * --force replaces. */
void auxiliary_files_add_names(const struct model_source *source);
/* Passes the files to `write` one by one. */
int auxiliary_files_copy(const struct auxiliary_files *a, auxiliary_file_writer *write, void *to,
                         struct error *e);
/* The model_type in the model's config.json, in the arena; NULL: there is none. */
int auxiliary_files_read_model_type(const struct model_source *source, const char **type,
                                    struct arena *a, struct error *e);
/* Is it a model of diffusers, whose config.json names its class as _class_name? -1: error. */
int auxiliary_files_is_of_diffusers(const struct model_source *source, struct error *e);

#endif
