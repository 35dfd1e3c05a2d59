/* One layer of a vision tower (a ViT of Qwen2-VL or InternVL), forward, over the slices of a group
 * of images:
 *
 *     x += [layerscale1] O attention(norm1(x))
 *     x += [layerscale2] FC2 gelu(FC1 norm2(x))
 *
 * Tokens attend to all tokens of their slice (sample_images.h). There is no backward pass, because
 * the vision tower is not learned. A vision_workspace owns its memory until vision_workspace_free.
 */
#ifndef TV_VISION_LAYER_H
#define TV_VISION_LAYER_H

#include "weight_source.h"

/* The tokens of a group of slices: slice s has the tokens starts[s] .. starts[s + 1] - 1. */
struct vision_tokens {
    size_t slices;
    size_t *starts;             /* [slices + 1] */
    float *x;                   /* (N, E) */
    float *rope_cos, *rope_sin; /* Qwen2-VL: (N, E / heads / 2) */
};

struct vision_workspace;

/* For slices of up to `longest` tokens. */
struct vision_workspace *vision_workspace_new(const struct vision_arch *v, size_t longest);
void vision_workspace_free(struct vision_workspace *w);

/* x = layer(x);  weights: those of WEIGHT_RANGE_VISION_LAYER. */
void vision_layer_forward(const struct vision_arch *v, const struct layer_weights *weights,
                          const struct vision_tokens *t, struct vision_workspace *w);

#endif
