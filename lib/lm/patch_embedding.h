/* The embeddings of an image's patches: the input of the vision tower's first layer.
 *
 *     Qwen2-VL:  x = W patch                       a row for each patch
 *     InternVL:  x = [class; W patch + b] + position, for each tile
 *
 * InternVL's position table belongs to a square grid; for another grid it is interpolated. */
#ifndef TV_PATCH_EMBEDDING_H
#define TV_PATCH_EMBEDDING_H

#include "sample_images.h"
#include "weight_source.h"

/* Tokens of a slice: its patches, and InternVL's class token. */
size_t patch_embedding_slice_tokens(const struct vision_arch *v, size_t patches);

/* Floats of scratch memory for images with slices of up to `longest` patches. */
size_t patch_embedding_scratch_floats(const struct vision_arch *v, size_t longest);

/* x (slices slice_tokens, E); w: the weights of WEIGHT_RANGE_VISION_OUTSIDE_LAYERS. */
void patch_embedding_forward(const struct vision_arch *v, const struct layer_weights *w,
                             const struct image *image, float *x, float *scratch);

#endif
