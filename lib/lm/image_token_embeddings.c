#include "image_token_embeddings.h"

#include "mem.h"
#include "projector.h"

#include <stdlib.h>
#include <string.h>

#define BLOCK 256 /* image tokens that are in the projector at once */

/* A forward or backward pass of a batch's image tokens through the projector. */
struct image_pass {
    const struct arch *arch;
    const struct image_features *features;
    struct layer_weights weights;
    const struct token_batch *batch;
    float *x;                         /* forward: (N, d) */
    const float *dx;                  /* backward: (N, d) */
    const struct gradient_sink *sink; /* backward */
    float *block;                     /* (BLOCK, P): features */
    float *rows;                      /* (BLOCK, d): rows of x or dx */
    float *scratch;                   /* of the projector */
};

/* ---- rows ------------------------------------------------------------------------------------ */

/* The first image token of the batch at t or after it. */
static size_t find_next_image_token(const struct image_pass *p, size_t t)
{
    while (p->batch->ids[t] != TOKEN_BATCH_IMAGE_TOKEN)
        t++;
    return t;
}

/* Copies n rows to the next n image tokens from t on; returns the token after them. */
static size_t scatter_image_rows(const struct image_pass *p, size_t t, size_t n)
{
    size_t d = p->arch->hidden;
    for (size_t i = 0; i < n; i++, t++) {
        t = find_next_image_token(p, t);
        memcpy(p->x + t * d, p->rows + i * d, d * sizeof *p->x);
    }
    return t;
}

/* The reverse: copies the gradients of the next n image tokens to the rows. */
static size_t gather_image_rows(const struct image_pass *p, size_t t, size_t n)
{
    size_t d = p->arch->hidden;
    for (size_t i = 0; i < n; i++, t++) {
        t = find_next_image_token(p, t);
        memcpy(p->rows + i * d, p->dx + t * d, d * sizeof *p->dx);
    }
    return t;
}

/* ---- images ---------------------------------------------------------------------------------- */

/* n features in `block`, for the image tokens from t on; returns the token after them. */
static size_t project_and_scatter(const struct image_pass *p, size_t t, size_t n)
{
    projector_forward(p->arch, &p->weights, p->block, n, p->rows, p->scratch);
    return scatter_image_rows(p, t, n);
}

static size_t gather_and_project_backward(const struct image_pass *p, size_t t, size_t n)
{
    t = gather_image_rows(p, t, n);
    projector_backward(p->arch, &p->weights, p->block, n, p->rows, p->sink, p->scratch);
    return t;
}

/* One image, whose tokens begin at *t or after it; *t becomes the token after them. */
static int run_image_through_projector(const struct image_pass *p, size_t image, size_t *t,
                                       struct error *e)
{
    size_t tokens = image_features_token_count(p->features, image);
    for (size_t first = 0; first < tokens; first += BLOCK) {
        size_t n = tokens - first < BLOCK ? tokens - first : BLOCK;
        if (image_features_read(p->features, image, first, n, p->block, e))
            return -1;
        *t = p->sink ? gather_and_project_backward(p, *t, n) : project_and_scatter(p, *t, n);
    }
    return 0;
}

/* All images of all samples. */
static int run_batch_through_projector(struct image_pass *p, const struct weight_source *w,
                                       struct error *e)
{
    const struct arch *a = p->arch;
    const struct token_batch *b = p->batch;
    if (w->load_layer(w->context, WEIGHT_RANGE_PROJECTOR, 0, &p->weights, e))
        return -1;
    p->block = mem_alloc_aligned(BLOCK * arch_values_per_feature(&a->vision) * sizeof *p->block);
    p->rows = mem_alloc_aligned(BLOCK * a->hidden * sizeof *p->rows);
    p->scratch = mem_alloc_aligned(projector_scratch_floats(a, BLOCK) * sizeof *p->scratch);
    int failed = 0;
    for (size_t s = 0; s < b->samples; s++) {
        size_t t = b->starts[s] - b->starts[0];
        for (size_t i = 0; i < b->images[s].n && !failed; i++)
            failed = run_image_through_projector(p, b->images[s].indices[i], &t, e);
    }
    free(p->block);
    free(p->rows);
    free(p->scratch);
    return failed;
}

static bool batch_has_images(const struct token_batch *b)
{
    for (size_t s = 0; s < b->samples; s++)
        if (b->images[s].n)
            return true;
    return false;
}

int image_token_embeddings_forward(const struct arch *a, const struct weight_source *w,
                                   const struct image_features *f, const struct token_batch *b,
                                   float *x, struct error *e)
{
    struct image_pass p = {.arch = a, .features = f, .batch = b, .x = x};
    return batch_has_images(b) ? run_batch_through_projector(&p, w, e) : 0;
}

bool image_token_embeddings_need_gradient(const struct arch *a, const struct token_batch *b,
                                          const struct gradient_sink *sink)
{
    const struct gradient_emitter m = {a, sink, 0, 0};
    if (!batch_has_images(b))
        return false;
    for (enum weight_kind kind = WEIGHT_PROJECTOR_NORM; kind < WEIGHT_PROJECTOR_END; kind++)
        if (gradient_emitter_wants(&m, kind))
            return true;
    return false;
}

int image_token_embeddings_backward(const struct arch *a, const struct weight_source *w,
                                    const struct image_features *f, const struct token_batch *b,
                                    const float *dx, const struct gradient_sink *sink,
                                    struct error *e)
{
    struct image_pass p = {.arch = a, .features = f, .batch = b, .dx = dx, .sink = sink};
    return run_batch_through_projector(&p, w, e);
}
