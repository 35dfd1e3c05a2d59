/* What a checkpoint says of itself beside its weights: config.json brought up to date, the model
 * card, and the metadata of its safetensors files. All are made from a header that describes the
 * checkpoint (one vector per tensor, its dtype that of the file), so that the same merge gives the
 * same bytes: no date, host or folder. Texts that are returned are the caller's to free. */
#ifndef TV_CARD_H
#define TV_CARD_H

#include "input.h"

/* `text` is the config.json of `lender`. In the new one stand the dtype of most elements, the
 * number of layers of the text stack, the rows of the embedding, and whether the head is tied, each
 * where the old one has such a key; `new_head`: the head comes from the stream. Without a
 * difference the text stays as it is. One that cannot be read stays too, and a warning is printed
 * under the name of `tool`. */
char *card_config(const char *text, size_t size, const struct input *lender, const struct header *h,
                  bool new_head, const char *tool);

/* The layers of the text stack that the config speaks of; 0: it does not say. */
long card_layers(const char *text, size_t size);
/* Does the config say that head and embedding are one? */
bool card_says_tied(const char *text, size_t size);

/* The full hashes that a run knows at its end; those of other models count as unknown. */
struct card_hashes {
    size_t n;
    const char *const *models;
    const uint64_t *hashes;
};

/* The models' full hashes as JSON, of the same length whether they are known or not. */
char *card_hashes_text(const struct header *h, const struct card_hashes *hashes);
/* The history as compact JSON. */
char *card_history_text(const struct header *h);

/* README.md. The last `n_filled` tensors of the header came from the base as they were; `onto` is
 * another base than the stream's, or NULL. */
char *card_readme(const struct header *h, const struct card_hashes *hashes, size_t n_filled,
                  const struct model *onto);

#endif
