/* What one vision tower makes of the pictures of samples, computed once and kept (in memory up to a
 * limit, beyond it in a temporary file): all that learned coefficients do not change. A sights
 * owns what it keeps until image_features_free; model and pictures are borrowed. */
#ifndef TV_IMAGE_FEATURES_H
#define TV_IMAGE_FEATURES_H

#include "lm.h"
#include "image.h"

struct image_features;

/* Lets a tower see the pictures that are `wanted` (NULL: all n, of which there may be none). NULL
 * on error. */
struct image_features *image_features_compute(const struct arch *a, const struct weight_source *w,
                                              const struct image *pictures, size_t n,
                                              const bool *wanted, uint64_t memory,
                                              const char *spool, struct error *e);
void image_features_free(struct image_features *f);

/* Would the tower of this model, which has the same parts, make the same of them? 1: yes, or
 * nothing was there to see; 0: no; -1: error. Compares weights, one layer at a time, until some
 * differ. */
int image_features_valid_for(const struct image_features *f, const struct arch *a,
                             const struct weight_source *w, struct error *e);

/* Tokens that a picture has. */
size_t image_features_token_count(const struct image_features *f, size_t picture);
/* Tokens first .. first + n - 1 of a picture, to (n, P). */
int image_features_read(const struct image_features *f, size_t picture, size_t first, size_t n,
                        float *to, struct error *e);
/* Bytes that are kept. */
uint64_t image_features_bytes(const struct image_features *f);

#endif
