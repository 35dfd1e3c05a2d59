/* The auxiliary files of a checkpoint: config.json, tokenizer files, code, licenses; not weights,
 * indexes, sub-folders or hidden files.
 *
 * An auxiliary_list owns its list until auxiliary_list_free; files and texts belong to the
 * model_files that it was made from. Zeroed it is empty. */
#ifndef TV_AUXILIARY_LIST_H
#define TV_AUXILIARY_LIST_H

#include "gguf_model.h"
#include "weight_files.h"

struct auxiliary_list {
    struct model_file **files;
    size_t n;
    const struct model_files *all; /* NULL: empty */
    const char *omitted;           /* hidden files and sub-folders, for messages; NULL: none */
};

/* Lists the auxiliary files among all files. A GGUF model without a config.json has one from its
 * metadata; if these are not those of a whole model, reading it is an error that says why. `gguf`
 * is NULL if the weights are in other files. */
void auxiliary_list_init(struct auxiliary_list *l, struct model_files *all,
                         const struct weight_files *w, const struct gguf_model *gguf);
void auxiliary_list_free(struct auxiliary_list *l);
/* ckpt_read_auxiliary_file (ckpt.h). */
int auxiliary_list_read(const struct auxiliary_list *l, const char *name, char **text, size_t *size,
                        struct error *e);

#endif
