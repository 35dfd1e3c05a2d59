/* What one vision tower makes of the pictures of samples, computed once and kept (in memory up to a
 * limit, beyond it in a temporary file): all that learned coefficients do not change. A sights
 * owns what it keeps until sights_free; model and pictures are borrowed. */
#ifndef TV_SIGHTS_H
#define TV_SIGHTS_H

#include "lm.h"
#include "picture.h"

struct sights;

/* Lets a tower see the pictures that are `wanted` (NULL: all n, of which there may be none). NULL
 * on error. */
struct sights *sights_new(const struct arch *a, const struct lm_weights *w,
                          const struct picture *pictures, size_t n, const bool *wanted,
                          uint64_t memory, const char *spool, struct error *e);
void sights_free(struct sights *f);

/* Would the tower of this model, which has the same parts, make the same of them? 1: yes, or
 * nothing was there to see; 0: no; -1: error. Compares weights, one layer at a time, until some
 * differ. */
int sights_hold_for(const struct sights *f, const struct arch *a, const struct lm_weights *w,
                    struct error *e);

/* Tokens that a picture has. */
size_t sights_tokens(const struct sights *f, size_t picture);
/* Tokens first .. first + n - 1 of a picture, to (n, P). */
int sights_read(const struct sights *f, size_t picture, size_t first, size_t n, float *to,
                struct error *e);
/* Bytes that are kept. */
uint64_t sights_size(const struct sights *f);

#endif
