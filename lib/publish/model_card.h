/* What a checkpoint says of itself beside its weights: config.json brought up to date, the model
 * card, and the metadata of its safetensors files. All are made from a header that describes the
 * checkpoint (one vector per tensor, its dtype that of the file), so that the same merge gives the
 * same bytes: no date, host or folder. Texts that are returned are the caller's to free. */
#ifndef TV_MODEL_CARD_H
#define TV_MODEL_CARD_H

#include "model_source.h"

/* The full hashes that a run knows at its end; those of other models count as unknown. */
struct model_hashes {
    size_t n;
    const char *const *models;
    const uint64_t *hashes;
};

/* The models' full hashes as JSON, of the same length whether they are known or not. */
char *model_card_hashes_json(const struct header *h, const struct model_hashes *hashes);
/* The history as compact JSON. */
char *model_card_history_json(const struct header *h);

/* README.md. The last `n_filled` tensors of the header came from the base as they were; `onto` is
 * another base than the stream's, or NULL. */
char *model_card_readme_text(const struct header *h, const struct model_hashes *hashes,
                             size_t n_filled, const struct model *onto);

#endif
