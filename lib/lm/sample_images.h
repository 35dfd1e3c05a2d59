/* The images of samples, as a model's image processor leaves them: patches of pixel values in a
 * tensor of a file. Images borrow the file. */
#ifndef TV_SAMPLE_IMAGES_H
#define TV_SAMPLE_IMAGES_H

#include "model_source.h"
#include "name_index.h"

/* Slices of height x width patches, each patch of c values (arch.h). For Qwen2-VL a slice has the
 * frames of one temporal patch, and the tensor is (slices height width, c), with the patches that
 * are merged next to each other. For InternVL a slice is a tile, and the tensor is (slices,
 * channels, height patch_size, width patch_size). */
struct image {
    const struct model_source *file;
    size_t tensor;                /* index in the file */
    size_t slices, height, width; /* height, width in patches */
    size_t tokens;                /* of a sample: slices height width / merge_size^2 */
};

/* The distinct images of all samples. */
struct image_list {
    size_t n, capacity;
    struct image *images;
    struct name_index index; /* by what makes them distinct, as text */
};

/* The images of one sample. Their tokens replace, in order, the ids that are token_id. */
struct sample_images {
    uint32_t token_id;
    size_t n;
    const size_t *indices; /* [n]: in the list of all images */
};

#endif
