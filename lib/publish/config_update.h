/* Updates config.json for a new checkpoint: the text of the source model's, with the values that
 * the merge changed. */
#ifndef TV_CONFIG_UPDATE_H
#define TV_CONFIG_UPDATE_H

#include "model_source.h"
#include "moe_config.h"

/* Updates, each if the key is present: the dtype, the number of layers of the text stack, the size
 * of the vocabulary, whether head and embedding are tied (`has_own_head`: the stream has a head),
 * and removes the quantization of weights that are no longer quantized; if `moe` is not NULL, adds
 * the keys of a mixture of experts. `h` describes the checkpoint (model_card.h). NULL if nothing
 * changes, or if the text is not valid JSON (with a warning under the name `tool`): the text stays
 * as it is. The caller frees. */
char *config_update_json(const char *text, size_t size, const struct model_source *source,
                         const struct header *h, bool has_own_head, const struct moe_config *moe,
                         const char *tool);

#endif
