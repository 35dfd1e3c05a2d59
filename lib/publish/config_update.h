/* The config.json of a checkpoint that is written: that of the model it is made from, with the
 * values that the merge changed. */
#ifndef TV_CONFIG_UPDATE_H
#define TV_CONFIG_UPDATE_H

#include "model_source.h"

/* `text` is the config.json of `lender`. In the new one stand the dtype of most elements, the
 * number of layers of the text stack, the rows of the embedding, and whether the head is tied, each
 * where the old one has such a key; `new_head`: the head comes from the stream. Without a
 * difference the text stays as it is. One that cannot be read stays too, and a warning is printed
 * under the name of `tool`. */
char *config_update_json(const char *text, size_t size, const struct model_source *lender,
                         const struct header *h, bool new_head, const char *tool);

#endif
