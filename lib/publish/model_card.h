/* The model card (README.md) of a new checkpoint, and the metadata of its safetensors files: how it
 * was made, and from which models.
 *
 * Both are made from a header that describes the checkpoint: one vector per tensor, in the dtype of
 * the file. They contain no date, host or folder, so that the same merge gives the same bytes. The
 * caller frees the texts that are returned. */
#ifndef TV_MODEL_CARD_H
#define TV_MODEL_CARD_H

#include "model_source.h"
#include "used_weights.h"

/* The full hashes that a run knows at its end; those of other models are unknown. */
struct model_hashes {
    size_t n;
    const char *const *models;
    const uint64_t *hashes;
};

/* What a card takes over from other files. */
struct card_texts {
    const char *metadata; /* lines of card_metadata.h */
    const char *config;   /* the mergekit configuration (mergekit_config.yml); NULL */
};

/* The full hashes of the header's models as JSON: {MODEL: HASH, ...}. Unknown ones are dashes, so
 * that the length does not depend on what is known. */
char *model_card_hashes_json(const struct header *h, const struct model_hashes *hashes);
/* What identifies the models of the header that were merged, as JSON: {MODEL: {"role": ...,
 * "fingerprint": ..., "hub": ..., "commit": ...}, ...}, without what is unknown. */
char *model_card_models_json(const struct header *h);
/* The same of one model. */
char *model_card_model_json(const struct model *m);

/* README.md. The last `n_filled` tensors of the header are unchanged ones of the base. `other_base`
 * is the model that task vectors were added to if it is not the one that was subtracted; else
 * NULL. */
char *model_card_readme_text(const struct header *h, const struct model_hashes *hashes,
                             const struct used_weights *weights, size_t n_filled,
                             const struct model *other_base, const struct card_texts *texts);
/* The same of a LoRA adapter, without its tensors. */
char *model_card_adapter_text(const struct header *h, const struct model_hashes *hashes,
                              const struct used_weights *weights, const struct model *other_base,
                              const struct card_texts *texts);

#endif
