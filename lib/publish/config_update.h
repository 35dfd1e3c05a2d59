/* Updates config.json for a new checkpoint: the text of the source model's, with the values that
 * the merge changed. */
#ifndef TV_CONFIG_UPDATE_H
#define TV_CONFIG_UPDATE_H

#include "model_source.h"
#include "moe_config.h"

/* What a new config.json depends on. */
struct config_update {
    const struct model_source *source; /* whose config.json it is */
    const struct header *result;       /* the checkpoint's (model_card.h) */
    bool has_own_head;                 /* the stream has a head, so it is not tied */
    const char *layers;                /* the source's layers whose entries lists per layer get:
                                          "FROM:TO,..."; NULL: not known */
    const struct moe_config *moe;      /* adds the keys of a mixture of experts; NULL */
    json_t *tokenizer; /* the config of the model whose tokenizer is used with a new vocabulary: the
                          ids of special tokens are set to those there; NULL: the vocabulary is that
                          of the source */
    const char *tool;  /* for warnings */
};

/* Updates, each if the key is present: the dtype, the number of layers of the text stack and of a
 * vision tower, lists with one entry per layer, the size of the vocabulary, whether head and
 * embedding are tied, and removes the quantization of weights that are no longer quantized. NULL if
 * nothing changes, or if the text is not valid JSON (with a warning): the text stays as it is. The
 * caller frees. */
char *config_update_json(const char *text, size_t size, const struct config_update *u);
/* The text of a generation_config.json with the ids of special tokens in `tokenizer`, for the keys
 * that it has. NULL if nothing changes, or if it is not valid JSON. The caller frees. */
char *config_update_token_ids(const char *text, size_t size, json_t *tokenizer);
/* Is the text "FROM:TO,...", ranges of layers? */
int config_update_check_layers(const char *layers, struct error *e);

#endif
