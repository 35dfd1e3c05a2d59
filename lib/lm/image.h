/* The images of samples, as an image processor left them: numbers of patches in a tensor of a file.
 * Borrows the file. */
#ifndef TV_IMAGE_H
#define TV_IMAGE_H

#include "model_source.h"

/* Slices of height x width patches each: Qwen2-VL's are the temporal ones, and the tensor is
 * (slices height width, c), the patches in the order in which they are merged; InternVL's are
 * tiles, and the tensor is (slices, channels, height patch, width patch). Either way a slice has
 * height width c numbers (arch.h). */
struct image {
    const struct model_source *file;
    size_t tensor;
    size_t slices, height, width;
    size_t tokens; /* that it fills in a sample: slices height width / merge^2 */
};

/* All pictures of some samples; no two are the same. */
struct image_list {
    size_t n;
    struct image *images;
};

/* Those of a sample: their tokens take the places of the ids that equal `token`, in order. */
struct sample_images {
    uint32_t token_id;
    size_t n;
    const size_t *indices; /* [n]: among all pictures */
};

#endif
