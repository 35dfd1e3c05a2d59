/* Image features: the output of one vision tower for the images of samples. They do not depend on
 * learned coefficients, so they are computed once and stored, in memory up to a limit and otherwise
 * in a temporary file. A struct image_features owns them until image_features_free; architecture,
 * weights and images are borrowed. */
#ifndef TV_IMAGE_FEATURES_H
#define TV_IMAGE_FEATURES_H

#include "sample_images.h"
#include "weight_source.h"

struct image_features;

/* Computes the features of the images that are `wanted` ([n]; NULL: all). n may be 0. `memory`:
 * bytes to keep in memory; `spool`: folder of the temporary file. NULL on error. */
struct image_features *image_features_compute(const struct arch *a, const struct weight_source *w,
                                              const struct image *images, size_t n,
                                              const bool *wanted, uint64_t memory,
                                              const char *spool, struct error *e);
void image_features_free(struct image_features *f);

/* 1: the vision tower of this model, with weights of the same shapes, computes the same features,
 * or there are none. 0: it does not. -1: error. Compares weights, one layer at a time, up to the
 * first difference. */
int image_features_are_valid_for_model(const struct image_features *f, const struct arch *a,
                                       const struct weight_source *w, struct error *e);

/* Features (that is, tokens) of an image. */
size_t image_features_token_count(const struct image_features *f, size_t image);
/* Features first .. first + n - 1 of an image, to (n, P). */
int image_features_read(const struct image_features *f, size_t image, size_t first, size_t n,
                        float *to, struct error *e);
/* Bytes of all features. */
uint64_t image_features_bytes(const struct image_features *f);

#endif
