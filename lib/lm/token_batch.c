#include "token_batch.h"

#include "mem.h"
#include "rope.h"
#include "parallel_for.h"

#include <stdlib.h>

/* ---- positions ------------------------------------------------------------------------------- */

/* The tokens of a picture from number t on. Returns how far the text behind it has moved on. */
static uint32_t place_picture(const struct image *picture, size_t merge, uint32_t p, size_t t,
                              size_t n, uint32_t *positions)
{
    size_t rows = picture->height / merge, columns = picture->width / merge;
    for (size_t i = 0; i < picture->tokens; i++) {
        positions[t + i] = p + (uint32_t)(i / (rows * columns));
        positions[n + t + i] = p + (uint32_t)(i / columns % rows);
        positions[2 * n + t + i] = p + (uint32_t)(i % columns);
    }
    size_t most = rows > columns ? rows : columns;
    return (uint32_t)(most > picture->slices ? most : picture->slices);
}

/* Time, row and column of every token, (3, n). */
static void place_tokens(const struct sequence *s, size_t merge, uint32_t *positions)
{
    uint32_t p = 0;
    size_t image = 0;
    for (size_t t = 0; t < s->n;) {
        if (s->images.n && s->ids[t] == s->images.token_id) {
            const struct image *picture = &s->all_images[s->images.indices[image++]];
            p += place_picture(picture, merge, p, t, s->n, positions);
            t += picture->tokens;
        } else {
            for (size_t i = 0; i < 3; i++)
                positions[i * s->n + t] = p;
            p++;
            t++;
        }
    }
}

static void fill_angles(const struct arch *a, const struct sequence *s, float *cos_, float *sin_)
{
    uint32_t *positions = NULL;
    if (a->rope.mrope_section[0] && s->images.n) {
        positions = mem_alloc(3 * s->n, sizeof *positions);
        place_tokens(s, a->vision.merge, positions);
    }
    rope_tables(a, s->n, positions, cos_, sin_);
    free(positions);
}

/* ---- the pack -------------------------------------------------------------------------------- */

struct filling {
    struct token_batch *pack;
    const struct arch *arch;
    const struct sequence *sequences;
};

static void fill_sample(void *context, size_t s, size_t member)
{
    const struct filling *f = context;
    const struct token_batch *p = f->pack;
    const struct sequence *q = &f->sequences[s];
    size_t at = p->starts[s], half = f->arch->head_dim / 2;
    p->images[s] = q->images;
    for (size_t t = 0; t < q->n; t++) {
        bool visual = q->images.n && q->ids[t] == q->images.token_id;
        p->ids[at + t] = visual ? TOKEN_BATCH_IMAGE_TOKEN : q->ids[t];
    }
    if (q->n)
        fill_angles(f->arch, q, p->cos_ + at * half, p->sin_ + at * half);
}

void token_batch_build(struct token_batch *p, const struct arch *a,
                       const struct sequence *sequences, size_t samples)
{
    size_t half = a->head_dim / 2;
    p->samples = samples;
    p->starts = mem_alloc(samples + 1, sizeof *p->starts);
    for (size_t s = 0; s < samples; s++)
        p->starts[s + 1] = p->starts[s] + sequences[s].n;
    size_t tokens = p->starts[samples];
    p->ids = mem_alloc(tokens, sizeof *p->ids);
    p->images = mem_alloc(samples, sizeof *p->images);
    p->cos_ = mem_alloc(tokens * half, sizeof *p->cos_);
    p->sin_ = mem_alloc(tokens * half, sizeof *p->sin_);
    if (samples)
        parallel_for(samples, tokens / samples * half, fill_sample,
                     &(struct filling){p, a, sequences});
}

void token_batch_free(struct token_batch *p)
{
    free(p->starts);
    free(p->ids);
    free(p->images);
    free(p->cos_);
    free(p->sin_);
    *p = (struct token_batch){0};
}

struct token_batch token_batch_slice(const struct token_batch *p, const struct arch *a,
                                     size_t first, size_t room)
{
    size_t n = 1, at = p->starts[first] - p->starts[0], half = a->head_dim / 2;
    while (first + n < p->samples && p->starts[first + n + 1] - p->starts[first] <= room)
        n++;
    return (struct token_batch){.samples = n,
                                .starts = p->starts + first,
                                .ids = p->ids + at,
                                .images = p->images + first,
                                .cos_ = p->cos_ + at * half,
                                .sin_ = p->sin_ + at * half};
}

size_t token_batch_longest(const struct token_batch *p)
{
    size_t most = 0;
    for (size_t s = 0; s < p->samples; s++)
        if (p->starts[s + 1] - p->starts[s] > most)
            most = p->starts[s + 1] - p->starts[s];
    return most;
}
