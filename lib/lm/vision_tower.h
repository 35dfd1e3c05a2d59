/* A vision tower, forward: it computes image features from the patches of images, before the
 * projector. The images of a group pass the layers together, so that each layer's weights are
 * loaded once. The vision tower is not learned, so it has no backward pass.
 *
 *     x = patch embeddings                (patch_embedding.h)
 *     x = layer(x), layers_used times     (vision_layer.h)
 *     features: merge_size x merge_size patches side by side */
#ifndef TV_VISION_TOWER_H
#define TV_VISION_TOWER_H

#include "sample_images.h"
#include "weight_source.h"

struct vision_tower;

/* For slices of up to `longest` patches. Architecture and weights are borrowed. */
struct vision_tower *vision_tower_new(const struct arch *a, const struct weight_source *w,
                                      size_t longest);
void vision_tower_free(struct vision_tower *t);

/* Writes the features of n images, one after another: (tokens, P) each. */
int vision_tower_forward(struct vision_tower *t, const struct image *const *images, size_t n,
                         float *features, struct error *e);

#endif
