/* A vision tower: what it makes of images, before the projector. Images of a group pass it layer by
 * layer together, one layer's weights at a time. There is no way back: a tower is not learned.
 *
 * Qwen2-VL: a patch is a token, turned by its row and column; InternVL: a class token stands before
 * the patches of a tile, and all have a place in a table of positions. Tokens see those of their
 * own slice (image.h).
 *
 *     x += [scale1] O attention(layernorm(x))
 *     x += [scale2] Down gelu(Up layernorm(x)) */
#ifndef TV_VISION_TOWER_H
#define TV_VISION_TOWER_H

#include "lm.h"
#include "image.h"

struct vision_tower;

/* For slices of up to `longest` patches. Arch and weights are borrowed. */
struct vision_tower *vision_tower_new(const struct arch *a, const struct weight_source *w,
                                      size_t longest);
void vision_tower_free(struct vision_tower *t);

/* The features of n pictures, one after another: (tokens, P) each, the P = merge^2 E numbers of the
 * patches that become one token side by side. */
int vision_tower_forward(struct vision_tower *t, const struct image *const *pictures, size_t n,
                         float *features, struct error *e);

#endif
