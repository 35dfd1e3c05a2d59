#include "token_batch.h"

#include "mem.h"
#include "parallel_for.h"
#include "rope.h"

#include <stdlib.h>

/* ---- positions of M-RoPE --------------------------------------------------------------------- */

/* Writes the positions (3, n) of an image's tokens from token t on; the image begins at position p.
 * Returns how many positions it takes. */
static uint32_t set_mrope_image_positions(const struct image *image, size_t merge_size, uint32_t p,
                                          size_t t, size_t n, uint32_t *positions)
{
    size_t rows = image->height / merge_size, columns = image->width / merge_size;
    for (size_t i = 0; i < image->tokens; i++) {
        positions[t + i] = p + (uint32_t)(i / (rows * columns));
        positions[n + t + i] = p + (uint32_t)(i / columns % rows);
        positions[2 * n + t + i] = p + (uint32_t)(i % columns);
    }
    size_t largest = rows > columns ? rows : columns;
    return (uint32_t)(largest > image->slices ? largest : image->slices);
}

/* Writes time, row and column of every token, to positions (3, n). */
static void set_mrope_positions(const struct sequence *s, size_t merge_size, uint32_t *positions)
{
    uint32_t p = 0;
    size_t next_image = 0;
    for (size_t t = 0; t < s->n;) {
        if (s->images.n && s->ids[t] == s->images.token_id) {
            const struct image *image = &s->all_images[s->images.indices[next_image++]];
            p += set_mrope_image_positions(image, merge_size, p, t, s->n, positions);
            t += image->tokens;
        } else {
            for (size_t i = 0; i < 3; i++)
                positions[i * s->n + t] = p;
            p++;
            t++;
        }
    }
}

static void compute_sequence_rope(const struct arch *a, const struct sequence *s, float *cos_,
                                  float *sin_)
{
    uint32_t *positions = NULL;
    if (a->rope.mrope_section[0] && s->images.n) {
        positions = mem_alloc(3 * s->n, sizeof *positions);
        set_mrope_positions(s, a->vision.merge_size, positions);
    }
    rope_compute_tables(a, s->n, positions, cos_, sin_);
    free(positions);
}

/* ---- the batch ------------------------------------------------------------------------------- */

struct build {
    struct token_batch *batch;
    const struct arch *arch;
    const struct sequence *sequences;
};

static void copy_sequence_to_batch(void *context, size_t s, size_t thread)
{
    const struct build *f = context;
    const struct token_batch *b = f->batch;
    const struct sequence *q = &f->sequences[s];
    size_t at = b->starts[s], half = f->arch->head_dim / 2;
    b->images[s] = q->images;
    for (size_t t = 0; t < q->n; t++) {
        bool image = q->images.n && q->ids[t] == q->images.token_id;
        b->ids[at + t] = image ? TOKEN_BATCH_IMAGE_TOKEN : q->ids[t];
    }
    if (q->n)
        compute_sequence_rope(f->arch, q, b->rope_cos + at * half, b->rope_sin + at * half);
}

void token_batch_build(struct token_batch *b, const struct arch *a,
                       const struct sequence *sequences, size_t samples)
{
    size_t half = a->head_dim / 2;
    b->samples = samples;
    b->starts = mem_alloc(samples + 1, sizeof *b->starts);
    for (size_t s = 0; s < samples; s++)
        b->starts[s + 1] = b->starts[s] + sequences[s].n;
    size_t tokens = b->starts[samples];
    b->ids = mem_alloc(tokens, sizeof *b->ids);
    b->images = mem_alloc(samples, sizeof *b->images);
    b->rope_cos = mem_alloc(tokens * half, sizeof *b->rope_cos);
    b->rope_sin = mem_alloc(tokens * half, sizeof *b->rope_sin);
    if (samples)
        parallel_for(samples, tokens / samples * half, copy_sequence_to_batch,
                     &(struct build){b, a, sequences});
}

void token_batch_free(struct token_batch *b)
{
    free(b->starts);
    free(b->ids);
    free(b->images);
    free(b->rope_cos);
    free(b->rope_sin);
    *b = (struct token_batch){0};
}

struct token_batch token_batch_slice(const struct token_batch *b, const struct arch *a,
                                     size_t first, size_t room)
{
    size_t n = 1, at = b->starts[first] - b->starts[0], half = a->head_dim / 2;
    while (first + n < b->samples && b->starts[first + n + 1] - b->starts[first] <= room)
        n++;
    return (struct token_batch){.samples = n,
                                .starts = b->starts + first,
                                .ids = b->ids + at,
                                .images = b->images + first,
                                .rope_cos = b->rope_cos + at * half,
                                .rope_sin = b->rope_sin + at * half};
}

size_t token_batch_longest(const struct token_batch *b)
{
    size_t longest = 0;
    for (size_t s = 0; s < b->samples; s++)
        if (b->starts[s + 1] - b->starts[s] > longest)
            longest = b->starts[s + 1] - b->starts[s];
    return longest;
}
