#include "patch_embedding.h"

#include "bicubic.h"
#include "linear.h"
#include "mem.h"
#include "residual.h"

#include <stdlib.h>
#include <string.h>

#define BLOCK 1024 /* patches that are read at once for Qwen2-VL */

size_t patch_embedding_slice_tokens(const struct vision_arch *v, size_t patches)
{
    return patches + (v->kind == VISION_INTERNVL ? 1 : 0);
}

/* A block of patches; or a tile and its patches. */
size_t patch_embedding_scratch_floats(const struct vision_arch *v, size_t longest)
{
    return (v->kind == VISION_INTERNVL ? 2 * longest : BLOCK) * arch_values_per_patch(v);
}

/* x = W patch + b;  patches (n, c), x (n, E) */
static void project_patches(const struct vision_arch *v, const struct layer_weights *w,
                            const float *patches, size_t n, float *x)
{
    linear_forward(patches, w->at[WEIGHT_VISION_PATCH_EMBEDDING],
                   w->at[WEIGHT_VISION_PATCH_EMBEDDING_BIAS], n, arch_values_per_patch(v),
                   v->hidden, x);
}

/* ---- Qwen2-VL -------------------------------------------------------------------------------- */

/* The file's tensor has a row for each patch. */
static void embed_qwen2vl_patches(const struct vision_arch *v, const struct layer_weights *w,
                                  const struct image *image, float *x, float *patches)
{
    size_t c = arch_values_per_patch(v), N = image->slices * image->height * image->width;
    for (size_t first = 0; first < N; first += BLOCK) {
        size_t n = N - first < BLOCK ? N - first : BLOCK;
        model_source_read_f32(image->file, image->tensor, first * c, n * c, DTYPE_NONE, patches);
        project_patches(v, w, patches, n, x + first * v->hidden);
    }
}

/* ---- InternVL -------------------------------------------------------------------------------- */

/* A tile (channels, height patch_size, width patch_size) as patches (height width, c). */
static void split_tile_into_patches(const struct vision_arch *v, const struct image *image,
                                    const float *tile, float *patches)
{
    size_t size = v->patch_size, line = image->width * size;
    for (size_t i = 0; i < image->height * image->width; i++)
        for (size_t channel = 0; channel < v->channels; channel++)
            for (size_t y = 0; y < size; y++) {
                size_t row = (channel * image->height + i / image->width) * size + y;
                memcpy(patches, tile + row * line + i % image->width * size,
                       size * sizeof *patches);
                patches += size;
            }
}

/* The position table (1 + height width, E) for an image's grid; NULL if it is the model's own. */
static float *interpolate_position_table(const struct vision_arch *v, const struct layer_weights *w,
                                         const struct image *image)
{
    const float *own = w->at[WEIGHT_VISION_POSITION_EMBEDDING];
    size_t E = v->hidden;
    if (image->height == v->position_grid && image->width == v->position_grid)
        return NULL;
    float *table = mem_alloc((1 + image->height * image->width) * E, sizeof *table);
    memcpy(table, own, E * sizeof *table);
    bicubic_resize(own + E, v->position_grid, E, image->height, image->width, table + E);
    return table;
}

/* A class token, then the patches of the tile, each with its position. */
static void embed_internvl_tiles(const struct vision_arch *v, const struct layer_weights *w,
                                 const struct image *image, float *x, float *tile)
{
    size_t n = image->height * image->width, E = v->hidden, pixels = n * arch_values_per_patch(v);
    float *patches = tile + pixels, *interpolated = interpolate_position_table(v, w, image);
    const float *positions = interpolated ? interpolated : w->at[WEIGHT_VISION_POSITION_EMBEDDING];
    for (size_t s = 0; s < image->slices; s++, x += (1 + n) * E) {
        model_source_read_f32(image->file, image->tensor, s * pixels, pixels, DTYPE_NONE, tile);
        split_tile_into_patches(v, image, tile, patches);
        memcpy(x, w->at[WEIGHT_VISION_CLASS_EMBEDDING], E * sizeof *x);
        project_patches(v, w, patches, n, x + E);
        residual_add(positions, (1 + n) * E, x);
    }
    free(interpolated);
}

void patch_embedding_forward(const struct vision_arch *v, const struct layer_weights *w,
                             const struct image *image, float *x, float *scratch)
{
    if (v->kind == VISION_QWEN2VL)
        embed_qwen2vl_patches(v, w, image, x, scratch);
    else
        embed_internvl_tiles(v, w, image, x, scratch);
}
