/* Samples packed one after another, so that a matrix product takes the tokens of all of them. A
 * pack owns its arrays until token_batch_free, but for its parts, which borrow from the whole. */
#ifndef TV_TOKEN_BATCH_H
#define TV_TOKEN_BATCH_H

#include "arch.h"
#include "image.h"

#include <stdint.h>

#define TOKEN_BATCH_IMAGE_TOKEN UINT32_MAX

/* N tokens in all: sample s has the tokens starts[s] - starts[0] .. starts[s + 1] - starts[0] - 1.
 */
struct token_batch {
    size_t samples;
    size_t *starts; /* [samples + 1] */
    uint32_t
        *ids; /* (N); TOKEN_BATCH_IMAGE_TOKEN: an image's token, which is no row of the embedding */
    struct sample_images *images; /* [sample] */
    float *cos_, *sin_;           /* (N, D/2): the angles of each token's position (rope.h) */
};

struct sequence {
    const uint32_t *ids;
    size_t n;
    struct sample_images images;    /* as many places for their tokens as they have */
    const struct image *all_images; /* all that there are */
};

/* `samples` sequences, copied but for the lists of images, with positions 0, 1, ... in each; with
 * M-RoPE those of Qwen2-VL: an image's tokens have the time of its slice, their row and their
 * column on top of the position p behind the text before, and the text behind goes on at p + the
 * largest of slices, rows and columns. */
void token_batch_build(struct token_batch *p, const struct arch *a,
                       const struct sequence *sequences, size_t samples);
void token_batch_free(struct token_batch *p);

/* The part that begins with sample `first` and has as many as fit into `room` tokens, at least
 * one. */
struct token_batch token_batch_slice(const struct token_batch *p, const struct arch *a,
                                     size_t first, size_t room);

static inline size_t token_batch_tokens(const struct token_batch *p)
{
    return p->starts[p->samples] - p->starts[0];
}

size_t token_batch_longest(const struct token_batch *p);

#endif
