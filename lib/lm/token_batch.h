/* A batch of token sequences, one after another without padding, so that one matrix product covers
 * all their tokens. A token_batch owns its arrays until token_batch_free; a slice of it borrows
 * them. */
#ifndef TV_TOKEN_BATCH_H
#define TV_TOKEN_BATCH_H

#include "arch.h"
#include "sample_images.h"

#include <stdint.h>

#define TOKEN_BATCH_IMAGE_TOKEN UINT32_MAX

/* N tokens: sample s has the tokens starts[s] - starts[0] .. starts[s + 1] - starts[0] - 1. */
struct token_batch {
    size_t samples;
    size_t *starts;               /* [samples + 1] */
    uint32_t *ids;                /* (N); TOKEN_BATCH_IMAGE_TOKEN for a token of an image */
    struct sample_images *images; /* [sample] */
    float *rope_cos, *rope_sin;   /* (N, D/2): for each token's position (rope.h) */
};

/* The tokens of one sample; the number of ids equal to images.token_id is the number of tokens of
 * its images. */
struct sequence {
    const uint32_t *ids;
    size_t n;
    struct sample_images images;
    const struct image *all_images; /* that images.indices refers to */
};

/* Copies the sequences, except the lists of images. Positions are 0, 1, ... in each sequence. With
 * M-RoPE they are Qwen2-VL's: a text token has one position for time, row and column; the tokens of
 * an image that begins at position p have p + slice, p + row and p + column; the text after it
 * continues at p + the largest of its numbers of slices, rows and columns. */
void token_batch_build(struct token_batch *b, const struct arch *a,
                       const struct sequence *sequences, size_t samples);
void token_batch_free(struct token_batch *b);

/* The samples from `first` on, as many as have up to `room` tokens, but at least one. */
struct token_batch token_batch_slice(const struct token_batch *b, const struct arch *a,
                                     size_t first, size_t room);

/* N */
static inline size_t token_batch_tokens(const struct token_batch *b)
{
    return b->starts[b->samples] - b->starts[0];
}

/* The tokens of the longest sample. */
size_t token_batch_longest(const struct token_batch *b);

#endif
